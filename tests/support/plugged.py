"""Plug-ins that are installed for a test, and a monitor of real numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from davy.codec import dump_any, load_any
from davy.config import DetectSettings
from davy.errors import DecodeError
from davy.event import Evidence
from davy_detectors import installed
from davy_detectors.aggregates import Counts, Several, Sums
from davy_detectors.base import Alarm, Reading
from davy_detectors.reference import Reference


class MeanShift:
    """A monitor whose statistic is made of real numbers: a CUSUM of one input, clipped."""

    name = "mean-shift"
    aggregate_type = Several

    def __init__(self, reference: Reference, settings: DetectSettings) -> None:
        self.reference, self._height = reference, 60.0 * np.log10(settings.false_alarm_every)
        self._sum, self._done = 0.0, 0

    def aggregate(self, scored, windows, total):
        column = next(
            (c for p, c in scored.batch.fields.items() if p in {("inputs", "length"), ("inputs", "income")}),
            None,
        )
        values = np.zeros(len(scored)) if column is None else column.values.astype(float)
        values = np.clip(np.nan_to_num(values, posinf=5, neginf=-5), -5, 5)
        sums = Sums.of_rows(values[:, None], windows, total)
        sizes = np.bincount(windows, minlength=total)
        return [Several({"sum": one, "seen": Counts([size])}) for one, size in zip(sums, sizes, strict=True)]

    def test(self, aggregates, sizes):
        alarms = []
        for one, size in zip(aggregates, sizes, strict=True):
            assert one["seen"].values.tolist() == [size]
            self._done += size
            self._sum = max(0.0, self._sum + float(one["sum"].values[0]) - size)
            if self._sum > self._height:
                found = [Evidence("inputs.income", "larger", 0.0, 2.0, 1.0)]
                alarms.append(
                    Alarm("mean", self._done - 1, max(0, self._done - 60), self._sum, self._height, found)
                )
                self._sum = 0.0
        return alarms

    def reading(self):
        return Reading(self._sum / self._height, {"inputs.income": self._sum / self._height})

    def sample_scores(self, scored, alarm):
        column = next(
            (c for p, c in scored.batch.fields.items() if p in {("inputs", "length"), ("inputs", "income")}),
            None,
        )
        return np.zeros(len(scored)) if column is None else np.nan_to_num(column.values.astype(float))

    def to_bytes(self):
        return dump_any([self.reference.version, self._sum, self._done])

    def restore(self, data):
        try:
            version, total, done = load_any(data)
        except Exception as error:
            raise DecodeError("mean-shift", "state", "start anew") from error
        if version != self.reference.version:
            raise DecodeError("mean-shift", "reference", "start anew")
        self._sum, self._done = total, done


class _Point:
    """An entry point of a distribution that is not installed."""

    def __init__(self, kind: type, version: str) -> None:
        self.name, self.plugin = kind.name, kind
        self.dist = type("Dist", (), {"version": version, "name": f"davy-{kind.name}"})()

    def load(self) -> Any:
        return self.plugin

    def __lt__(self, other: Any) -> bool:
        return bool(self.name < other.name)


Install = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Let these plug-ins, and no others, be installed beside Davy's own."""
    ours = installed.entry_points

    def only(*kinds: type, version: str = "1") -> None:
        mine = [_Point(kind, version) for kind in kinds]

        def found(group: str) -> list[Any]:
            wanted = [one for one in mine if hasattr(one.plugin, "score") == (group == "davy.scorers")]
            return [*ours(group=group), *wanted]

        monkeypatch.setattr(installed, "entry_points", found)

    return only
