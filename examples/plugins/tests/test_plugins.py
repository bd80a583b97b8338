"""A third party's tests: what the contract asks, and what these plug-ins are for."""

from __future__ import annotations

import numpy as np
from davy_example_plugins.monitor import FarShare
from davy_example_plugins.scorer import FarInput

import davy.testing
from davy_detectors.checks import check_monitor, check_scorer
from davy_detectors.testing import detect, fit, send


def test_the_scorer_keeps_the_contract() -> None:
    check_scorer(FarInput)


def test_the_monitor_keeps_the_contract() -> None:
    check_monitor(FarShare)


def test_the_monitor_opens_an_incident_on_inputs_that_lie_far() -> None:
    world, rng = davy.testing.runtime(), np.random.default_rng(0)
    fit(world, "fraud:3", {"inputs.amount": rng.normal(size=2_000)})
    send(world, "fraud:3", {"inputs.amount": rng.normal(size=1_000)})
    assert detect(world) == []
    send(world, "fraud:3", {"inputs.amount": rng.normal(scale=3.0, size=1_000)})
    (incident,) = (one for one in detect(world) if one.cause == "far")
    assert 950 < incident.onset_event < incident.raised_event < 1_200
    assert incident.samples
