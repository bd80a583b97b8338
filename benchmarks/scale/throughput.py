"""How fast: the SDK alone, the detectors alone on a backlog, and both at once on the same cores."""

from __future__ import annotations

import time
from statistics import median
from typing import Any, Final

from benchmarks.scale.redis_cost import Work
from benchmarks.scale.traffic import MODEL, reference
from benchmarks.scale.world import Detector, Place, World, accounts, closed, detecting, serving

INFERENCES: Final = 800_000
CALLS: Final = 200_000
REPEATS: Final = 3
LIBRARIES: Final = {"kafka": "kafka-python", "kafka+librdkafka": "confluent-kafka"}


def call_by_call(world: World, count: int = CALLS, repeats: int = REPEATS) -> dict[str, Any]:
    """Measure the SDK with one inference a call."""
    rates = []
    with closed(world.place()) as place:
        for _ in range(repeats):
            found = accounts(serving(place, "calls", count))
            rates.append(found["sent"] / found["seconds"])
    return spread(rates)


def backlog(
    world: World,
    library: str,
    *,
    probabilities: bool,
    count: int = INFERENCES,
    repeats: int = REPEATS,
    processes: int = 1,
) -> dict[str, Any]:
    """Measure detectors that are behind: they are held while a serving app writes, and go on when all is written.

    As many partitions as processes. Every number is of all processes together.
    """
    shards = 1 if processes == 1 else 64 * processes
    with closed(world.place(library, partitions=processes, shards=shards)) as place:
        place.give_references({MODEL: reference(probabilities=probabilities).to_bytes()})
        sent, runs = 0, []
        with detecting(place, processes) as detectors:
            for _ in range(repeats):
                runs.append(_catch_up(place, detectors, count, probabilities))
                sent += count
                place.verify(sent)
        return _figures(runs) | {"counted": sent, "flags": place.flags()}


def _catch_up(place: Place, detectors: list[Detector], count: int, probabilities: bool) -> dict[str, Any]:
    for detector in detectors:
        detector.hold()
    written = accounts(serving(place, "fast", count, int(probabilities)))
    records = place.records()
    before, used = Work.of(place.redis), sum(one.processor_seconds() for one in detectors)
    begun = time.time()
    for detector in detectors:
        detector.go_on()
    seconds = place.wait_until_handled(records) - begun
    used = sum(one.processor_seconds() for one in detectors) - used
    return {
        "produced": count / written["seconds"],
        "consumed": count / seconds,
        "processor_us": used / count * 1e6,
        "redis": Work.of(place.redis).since(before).per_thousand(count),
    }


def _figures(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "produced": spread([run["produced"] for run in runs]),
        "consumed": spread([run["consumed"] for run in runs]),
        "processor_us_per_inference": round(median(run["processor_us"] for run in runs), 2),
        "redis_per_1000": {name: median(run["redis"][name] for run in runs) for name in runs[0]["redis"]},
    }


def end_to_end(
    world: World, library: str, *, count: int = INFERENCES, repeats: int = REPEATS
) -> dict[str, Any]:
    """Measure both at once: from the first capture to the last inference counted, on the cores they share."""
    rates = []
    with closed(world.place(library)) as place, detecting(place):
        place.give_references({MODEL: reference(probabilities=True).to_bytes()})
        for turn in range(repeats):
            found = accounts(serving(place, "fast", count, 1))
            rates.append(count / (place.wait_until_handled(place.records()) - found["begun_at"]))
            place.verify((turn + 1) * count)
    return spread(rates)


def spread(rates: list[float]) -> dict[str, int]:
    """Return the median and the ends of inferences a second."""
    return {"median": round(median(rates)), "lowest": round(min(rates)), "highest": round(max(rates))}
