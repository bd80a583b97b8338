"""The control arm: a share of all traffic by chance alone, from which quality is estimated without bias."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from davy_detectors.flagging.contract import Chance, Drawn, Traffic

if TYPE_CHECKING:
    from davy.config import DetectSettings


class Control:
    """Chooses ``detect.control_share`` of all inferences, with a reference or without."""

    def __init__(self, settings: DetectSettings, own: Mapping[str, Any]) -> None:
        del own
        self._share = settings.control_share

    def draw(self, traffic: Traffic, chance: Chance) -> Sequence[Drawn]:
        """Choose by the inference's own number; the probability counts the sampling before us."""
        chosen = chance.uniform() < self._share
        return [Drawn(chosen, self._share * traffic.rate, np.zeros(traffic.count))]
