"""docs/metrics.md documents every metric and every alert, and nothing that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from davy.metrics import CATALOGUE, Metric
from davy_dashboards.rules import RULES

pytestmark = pytest.mark.fast
TEXT = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_every_metric_is_documented_with_its_kind_and_labels(metric: Metric) -> None:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    assert f"| `{metric.name}` | {metric.kind} | {labels} |" in TEXT


def test_no_metric_is_documented_that_does_not_exist() -> None:
    assert set(re.findall(r"`(davy_[a-z_]+)`", TEXT)) == {metric.name for metric in CATALOGUE}


def test_every_alert_is_documented_with_its_severity() -> None:
    sections = dict(re.findall(r"^## (Davy\w+)\n\n(.+?)$", TEXT, re.MULTILINE))
    assert set(sections) == {rule.name for rule in RULES}
    for rule in RULES:
        assert sections[rule.name].startswith(f"Severity `{rule.severity}`")
