"""How many labels of a round each arm gets."""

from __future__ import annotations

import math


def random_share(budget: int, greedy_share: float) -> int:
    """Return the labels set apart for the random arm; rounded up, so that a budget of one still estimates.

    What the random arm cannot use, having too few distinct samples, goes to the greedy arm. The reverse needs no rule:
    the greedy arm may take any waiting candidate, so when it finds too few there is nothing left for anyone.

    Examples
    --------
    >>> random_share(100, 0.5), random_share(1, 0.5), random_share(10, 1.0)
    (50, 1, 0)
    """
    return math.ceil(budget * (1.0 - min(greedy_share, 1.0)))
