"""How detectors spread: one process a partition, all on the cores that the broker, Redis and they share."""

from __future__ import annotations

import os
from typing import Any, Final

from benchmarks.scale.throughput import INFERENCES, REPEATS, backlog
from benchmarks.scale.world import World

SIZES: Final = (1, 2, 4, 8)


def scaling(world: World, library: str, count: int = INFERENCES, repeats: int = REPEATS) -> dict[str, Any]:
    """Measure a backlog of one model, spread over keys, with as many processes as partitions."""
    found = {
        str(size): backlog(world, library, probabilities=True, count=count, repeats=repeats, processes=size)
        for size in SIZES
    }
    alone = found["1"]["consumed"]["median"]
    for figures in found.values():
        figures["times_one_process"] = round(figures["consumed"]["median"] / alone, 2)
    return {"cores": os.cpu_count(), "processes": found}
