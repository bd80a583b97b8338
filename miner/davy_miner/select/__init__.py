"""Which candidates are worth a label: the greedy arm, the random arm, and what the random arm tells about quality."""

from davy_miner.select.estimate import Estimate, error_rate
from davy_miner.select.greedy import evidence, fisher
from davy_miner.select.random import Drawn, draw

__all__ = ["Drawn", "Estimate", "draw", "error_rate", "evidence", "fisher"]
