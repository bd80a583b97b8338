"""What models and features cost: resident memory of a detector, state in Redis, and what both do when nothing comes."""

from __future__ import annotations

import time
from typing import Any, Final

from benchmarks.scale.redis_cost import Work
from benchmarks.scale.traffic import FEATURES, ROWS, reference, renamed
from benchmarks.scale.world import Place, World, accounts, closed, detecting, serving

MODELS: Final = (1, 10, 100, 1000)
WIDTHS: Final = (10, 100, 1000)
ROUNDS: Final = 5
IDLE_SECONDS: Final = 5.0
_REFERENCES: Final = "references"


def by_size(
    world: World, library: str, models: tuple[int, ...] = MODELS, widths: tuple[int, ...] = WIDTHS
) -> dict[str, Any]:
    """Measure many models of 30 features, and one model of many features; 1000 inferences each."""
    return {
        f"models_of_{FEATURES}_features": {
            str(each): _measure(world, library, each, FEATURES) for each in models
        },
        "features_of_one_model": {str(each): _measure(world, library, 1, each) for each in widths},
    }


def _measure(world: World, library: str, models: int, features: int) -> dict[str, Any]:
    names = [f"bench:{number}" for number in range(1, models + 1)]
    fitted = reference(features, probabilities=True).to_bytes()
    with closed(world.place(library)) as place, detecting(place) as (detector,):
        place.give_references({name: renamed(fitted, name) for name in names})
        empty = detector.resident_mb()
        accounts(serving(place, "models", models, features, ROUNDS))
        place.wait_until_handled(place.records())
        for name in names:
            place.verify(ROUNDS * ROWS, name)
        time.sleep(1.0)
        idle = _idle(place, detector.processor_seconds)
        return {
            "resident_mb_empty": round(empty, 1),
            "resident_mb": round(detector.resident_mb(), 1),
            **state(place),
            **idle,
        }


def state(place: Place) -> dict[str, Any]:
    """Return what Redis holds of this place, in its own memory: keys, and kilobytes of references and of all else."""
    held = {
        key: int(place.redis.memory_usage(key, samples=0) or 0)
        for key in place.redis.scan_iter(match=f"{{{place.namespace}}}:*", count=1000)
    }
    references = sum(size for key, size in held.items() if key.decode().endswith(f":{_REFERENCES}"))
    return {
        "redis_keys": len(held),
        "state_kb": round((sum(held.values()) - references) / 1024, 1),
        "references_kb": round(references / 1024, 1),
    }


def _idle(place: Place, processor_seconds: Any) -> dict[str, Any]:
    work, used = Work.of(place.redis), processor_seconds()
    time.sleep(IDLE_SECONDS)
    done, used = Work.of(place.redis).since(work), processor_seconds() - used
    return {
        "idle_redis_requests_per_second": round(done.requests / IDLE_SECONDS, 1),
        "idle_processor_share": round(used / IDLE_SECONDS, 3),
    }
