"""The arm of the incidents: samples that speak for one that is open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from davy_detectors.flagging.contract import Chance, Drawn, Traffic

if TYPE_CHECKING:
    from davy.config import DetectSettings


class ByIncident:
    """Chooses, for every open incident, a share of what reaches the level that its evidence set."""

    def __init__(self, settings: DetectSettings, own: Mapping[str, Any]) -> None:
        del settings, own

    def draw(self, traffic: Traffic, chance: Chance) -> Sequence[Drawn]:
        """Choose by the sample scores of the incident's monitor, and then by chance."""
        found, drawn = [], chance.uniform()
        for one in traffic.incidents:
            chosen = (one.scores >= one.level) & (drawn < one.probability)
            probability = np.full(traffic.count, one.probability)
            found.append(Drawn(chosen, probability, np.asarray(one.scores, np.float64), one.id, one.id))
        return found
