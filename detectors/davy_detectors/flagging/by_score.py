"""The arm of the scorers: what each finds more suspicious than nearly all of the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from davy_detectors.flagging.contract import Chance, Drawn, Traffic

if TYPE_CHECKING:
    from davy.config import DetectSettings


class ByScore:
    """Chooses, for every scorer, what has an upper-tail rank in the reference of at most ``detect.flag_share``."""

    def __init__(self, settings: DetectSettings, own: Mapping[str, Any]) -> None:
        del own
        self._share = settings.flag_share

    def draw(self, traffic: Traffic, chance: Chance) -> Sequence[Drawn]:
        """Choose by rule; the score is the negative logarithm of the rank."""
        del chance
        found = []
        for name, rank in traffic.ranks.items():
            chosen = rank <= self._share
            score = -np.log(np.where(chosen, rank, 1.0))
            found.append(Drawn(chosen, np.ones(traffic.count), score, name))
        return found
