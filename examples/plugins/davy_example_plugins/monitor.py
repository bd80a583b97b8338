"""Whether more inferences than before have an input far from the reference."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from davy.codec import dump_any, load_any
from davy.config import DetectSettings
from davy.errors import DecodeError
from davy.event import Evidence
from davy_detectors import Alarm, Reading, Reference
from davy_detectors.aggregates import Counts
from davy_detectors.base import Floats
from davy_detectors.reference.scored import ScoredBatch
from davy_example_plugins.scorer import FarInput

_VERSION = 1
_SHARE = 0.02
"""An inference is far when so few of the reference are as far."""
_MANY = 0.2
"""The share of far ones that the monitor bets on."""


class FarShare:
    """A CUSUM over windows on the number of inferences whose `far-input` score is among the highest of the reference.

    Where a share of at most `p` is far, the likelihood ratio of a window, `q` against `p`, is one on average or less:
    an e-value. The mean time to a false alarm of their CUSUM, in windows, is then at least its threshold, so the
    threshold is the accepted number of inferences between false alarms. `p` is four standard errors above the share
    that was asked for, because the reference is a sample, too.

    References
    ----------
    Shin, Ramdas and Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", NEJSDS 2024.

    Parameters
    ----------
    reference
        What is normal.
    settings
        With this monitor's share of the accepted false alarms.
    """

    name = "far-share"
    aggregate_type = Counts

    def __init__(self, reference: Reference, settings: DetectSettings) -> None:
        self.reference = reference
        self._threshold = math.log(settings.false_alarm_every)
        self._null = _SHARE
        if FarInput.name in reference.scorers:
            least = float(
                reference.rank(FarInput.name, np.array([np.inf]))[0]
            )  # one over the reference's size
            self._null = min(_MANY / 2, _SHARE + 4.0 * math.sqrt(_SHARE * least))
        self._evidence, self._done, self._since = 0.0, 0, 0

    def aggregate(self, scored: ScoredBatch, windows: NDArray[np.int64], total: int) -> Sequence[Counts]:
        """Count for each window how many inferences are far, and how many were looked at."""
        ranks = scored.ranks.get(FarInput.name, np.full(len(scored), np.nan))
        far = np.bincount(windows[ranks <= _SHARE], minlength=total)
        seen = np.bincount(windows[np.isfinite(ranks)], minlength=total)
        return [Counts(pair) for pair in np.stack([far, seen], axis=1)]

    def test(self, aggregates: Sequence[Counts], sizes: Sequence[int]) -> list[Alarm]:
        """Take in windows in order; return the alarms raised."""
        alarms = []
        for one, size in zip(aggregates, sizes, strict=True):
            far, seen = one.values.tolist()
            self._evidence += far * math.log(_MANY / self._null)
            self._evidence += (seen - far) * math.log((1 - _MANY) / (1 - self._null))
            self._done += size
            if self._evidence <= 0:
                self._evidence, self._since = 0.0, self._done
            elif self._evidence > self._threshold:
                found = Evidence(FarInput.name, "more often", _SHARE, far / seen, self._evidence)
                alarms.append(
                    Alarm("far", self._done - 1, self._since, self._evidence, self._threshold, [found])
                )
                self._evidence, self._since = 0.0, self._done
        return alarms

    def reading(self) -> Reading:
        """Return the evidence over the threshold."""
        ratio = self._evidence / self._threshold
        return Reading(ratio, {FarInput.name: ratio})

    def sample_scores(self, scored: ScoredBatch, alarm: Alarm) -> Floats:
        """Return how rare the distance of each inference is in the reference, as minus the log of its rank."""
        del alarm
        ranks = scored.ranks.get(FarInput.name, np.ones(len(scored)))
        speaks: Floats = -np.log(np.nan_to_num(ranks, nan=1.0))
        return speaks

    def to_bytes(self) -> bytes:
        """Return the state."""
        return dump_any([_VERSION, self.reference.version, self._evidence, self._done, self._since])

    def restore(self, data: bytes) -> None:
        """Go on from what `to_bytes` gave; raises DecodeError on another version or reference."""
        try:
            version, reference, *state = load_any(data)
            self._evidence, self._done, self._since = state
        except Exception as error:  # bytes from anywhere: every failure means damage
            raise DecodeError("far-share", f"{len(data)} bytes", f"is damaged: {error}") from error
        if (version, reference) != (_VERSION, self.reference.version):
            raise DecodeError("far-share", version, "another version or reference wrote it; start anew")
