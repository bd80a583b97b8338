"""Small events travel by field name, so that versions can differ by a field."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.inference_strategies import containers, intact, names

from davy.codec import dump, dump_any, load, load_any
from davy.errors import DecodeError, InvalidInference
from davy.event import Alert, Draw, Evidence, Feedback, Flag, Label

pytestmark = pytest.mark.fast

numbers = st.floats(allow_nan=False)
ids = st.binary(min_size=16, max_size=16)
times = st.integers(0, 2**63 - 1)
draws = st.builds(Draw, kind=names, name=names, probability=numbers, score=numbers)
evidence = st.builds(
    Evidence, feature=names, change=names, reference=numbers, current=numbers, log_evidence=numbers
)
flags = st.builds(
    Flag,
    id=names, inference_id=ids, model=names, at=times, draws=st.lists(draws, max_size=3),
    scores=st.dictionaries(names, numbers), inference=st.binary(), incident=st.one_of(st.none(), names),
)  # fmt: skip
alerts = st.builds(
    Alert,
    id=names, model=names, cause=names, state=names, at=times, onset_at=times, onset_event=times, raised_event=times,
    features=st.lists(evidence, max_size=3), statistic=numbers, threshold=numbers, samples=st.lists(ids, max_size=3),
)  # fmt: skip
labels = st.builds(
    Label, candidate=names, inference_id=ids, model=names, answer=st.one_of(st.none(), names), revision=times,
    at=times, seconds=st.one_of(st.none(), numbers),
)  # fmt: skip


@given(st.one_of(flags, alerts, labels))
def test_flags_alerts_and_labels_come_back_as_given(event: Any) -> None:
    assert load(type(event), dump(event)) == event


@given(ids, containers, times, names)
def test_feedback_brings_any_truth(id: bytes, truth: Any, at: int, kind: str) -> None:
    found = load(Feedback, dump(Feedback(id=id, truth=truth, at=at, kind=kind)))
    assert (found.id, found.at, found.kind) == (id, at, kind)
    assert intact(truth, found.truth)


@given(containers)
def test_plain_values_come_back_as_given(value: Any) -> None:
    assert intact(value, load_any(dump_any(value)))


def test_arrays_inside_containers_are_read_only_views() -> None:
    found = load_any(dump_any({"x": np.arange(3)}))["x"]
    assert found.tolist() == [0, 1, 2]
    assert not found.flags.writeable


@dataclass(frozen=True)
class FeedbackOfTomorrow(Feedback):
    """As `Feedback`, with a field that this version does not know."""

    certainty: float = 0.5


@dataclass(frozen=True)
class FeedbackOfYesterday:
    """As `Feedback` was before it knew of kinds and models."""

    id: bytes
    truth: Any
    at: int
    forgotten: list[int] = field(default_factory=list)


def test_fields_from_a_newer_version_are_ignored() -> None:
    data = dump(FeedbackOfTomorrow(id=bytes(16), truth="cat", at=7))
    assert load(Feedback, data) == Feedback(id=bytes(16), truth="cat", at=7)


def test_fields_missing_in_an_older_version_get_their_defaults() -> None:
    data = dump(FeedbackOfYesterday(id=bytes(16), truth="cat", at=7))
    assert load(Feedback, data) == Feedback(
        id=bytes(16), truth="cat", at=7, kind="truth", model="", source=""
    )


def test_a_missing_field_without_default_is_refused() -> None:
    with pytest.raises(DecodeError, match="Feedback"):
        load(Feedback, dump_any({"v": 1, "id": bytes(16), "at": 7}))


@pytest.mark.parametrize(("version", "read"), [(0, False), (1, True), (2, True), (3, False), ("1", False)])
def test_events_of_the_next_version_are_read_and_later_ones_refused(version: Any, read: bool) -> None:
    data = dump_any({"v": version, "id": bytes(16), "truth": 3, "at": 7})
    if read:
        assert load(Feedback, data).truth == 3
    else:
        with pytest.raises(DecodeError):
            load(Feedback, data)


@pytest.mark.parametrize("value", [object(), 1j, {(1,): 2}, {2**80: 1}])
def test_values_that_cannot_travel_are_refused(value: Any) -> None:
    with pytest.raises(InvalidInference):
        dump_any(value)
