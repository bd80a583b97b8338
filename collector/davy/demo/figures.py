"""What the demo measures, with the keys that scripts read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from davy.demo.data import Frames
from davy.demo.model import DigitModel


@dataclass(frozen=True, slots=True)
class AlarmFigures:
    """When the alarm came and what it named; `clean_alarms` are those of an equally long clean run."""

    raised: bool
    onset_event: int | None
    true_onset_event: int
    delay_events: int | None
    features: list[str]
    clean_alarms: int


@dataclass(frozen=True, slots=True)
class Labels:
    """What a number of labels bought."""

    labels: int
    failures: int
    distinct_failures: int


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Accuracy on held-out digits before retraining, after mined labels, after as many random labels."""

    before: float
    mined: float
    random: float


@dataclass(frozen=True, slots=True)
class Run:
    """One seed."""

    seed: int
    wall_s: float
    alarm: AlarmFigures
    mined: Labels
    random: Labels
    accuracy: dict[str, Accuracy]
    ledger: dict[str, int]
    label_studio: dict[str, int] | None

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def judge_alarm(
    incidents: Sequence[Mapping[str, Any]], clean_incidents: Sequence[Mapping[str, Any]], true_onset: int
) -> AlarmFigures:
    """Find the incident of the failure; one raised before it began is a false alarm."""
    early = [one for one in incidents if one["raised_event"] < true_onset]
    true = sorted((one for one in incidents if one not in early), key=lambda one: one["raised_event"])
    first = true[0] if true else None
    return AlarmFigures(
        raised=first is not None,
        onset_event=first["onset_event"] if first else None,
        true_onset_event=true_onset,
        delay_events=first["raised_event"] - true_onset if first else None,
        features=[feature["feature"] for feature in first["features"]] if first else [],
        clean_alarms=len(early) + len(clean_incidents),
    )


def count_failures(frames: Frames, answers: NDArray[np.int64]) -> Labels:
    """Count the labelled frames that the model got wrong, and how many different sources they came from."""
    wrong = answers != frames.digits
    return Labels(len(frames), int(wrong.sum()), len(np.unique(frames.sources[wrong])))


def judge_accuracy(
    before: DigitModel, mined: DigitModel, random: DigitModel, frames: Mapping[str, Frames]
) -> dict[str, Accuracy]:
    """Judge three models on the same held-out frames."""
    return {
        name: Accuracy(*(model.accuracy(some.images, some.digits) for model in (before, mined, random)))
        for name, some in frames.items()
    }
