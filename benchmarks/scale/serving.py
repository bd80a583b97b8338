"""A serving app with the real SDK, in a process of its own: ``python -m benchmarks.scale.serving URL TASK [NUMBER …]``.

Prints JSON: what the SDK says it captured, sent and lost, when the first inference was captured and how long it took
until the last was stored.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import davy
from benchmarks.scale.traffic import FEATURES, MODEL, ROWS, Rows, names, rows

_DRAWN: Final = 16_000
_QUEUE: Final = 100_000
_CROWDED: Final = 0.4
"""Share of the queue above which the app waits: at half of it the SDK begins to thin."""
_TICK_SECONDS: Final = 0.005


def as_fast_as_it_goes(url: str, count: int, probabilities: int) -> dict[str, Any]:
    """Answer calls of 200 inferences at once."""
    drawn = _begin(url)
    predict = _watched(MODEL, drawn, bool(probabilities))

    def work() -> None:
        for first in range(0, count, ROWS):
            predict(first % _DRAWN)
            _wait_for_room()

    return _accounts(work)


def call_by_call(url: str, count: int) -> dict[str, Any]:
    """Capture one inference a call, its features by name."""
    drawn = _begin(url)
    inputs = [dict(zip(names(), row, strict=True)) for row in drawn.features[:4000].tolist()]
    outputs = [{"probs": row} for row in drawn.probs[:4000]]

    def work() -> None:
        for first in range(0, count, ROWS):
            for number in range(first, first + ROWS):
                davy.capture(MODEL, inputs[number % 4000], outputs[number % 4000])
            _wait_for_room()

    return _accounts(work)


def at_a_rate(url: str, rate: float, seconds: float) -> dict[str, Any]:
    """Answer a call every 5 ms whatever becomes of it: `rate` inferences a second, by the clock."""
    drawn = _begin(url)
    size = round(rate * _TICK_SECONDS)
    predict = _watched(MODEL, drawn, True, size)

    def work() -> None:
        begun = time.perf_counter()
        for tick in range(round(seconds / _TICK_SECONDS)):
            time.sleep(max(0.0, begun + tick * _TICK_SECONDS - time.perf_counter()))
            predict(tick * size % (_DRAWN - size))

    return _accounts(work)


def many_models(url: str, models: int, features: int, rounds: int) -> dict[str, Any]:
    """Answer `rounds` calls of 200 inferences of each of many models."""
    drawn = _begin(url, features)
    predicts = [
        _watched(f"bench:{number}", drawn, True, features=features) for number in range(1, models + 1)
    ]

    def work() -> None:
        for turn in range(rounds):
            for predict in predicts:
                predict(turn * ROWS % _DRAWN)
                _wait_for_room()

    return _accounts(work)


def _begin(url: str, features: int = FEATURES) -> Rows:
    drawn = rows(_DRAWN if features <= FEATURES else 10 * ROWS, features)
    davy.init(url, queue_items=_QUEUE, queue_bytes=2**28)
    return drawn


def _watched(
    model: str, drawn: Rows, probabilities: bool, size: int = ROWS, features: int = FEATURES
) -> Callable[[int], Any]:
    columns = names(features)

    def predict(first: int) -> dict[str, Any]:
        probs = drawn.probs[first : first + size]
        return {"probs": probs} if probabilities else {"value": probs[:, 0]}

    def inputs(first: int) -> dict[str, Any]:
        return dict(zip(columns, drawn.features[first : first + size].T, strict=True))

    return davy.watch(predict, model, batched=True, inputs=inputs)


def _wait_for_room() -> None:
    while davy.stats()["depth"] > _CROWDED * _QUEUE:
        time.sleep(0.001)


def _accounts(work: Callable[[], None]) -> dict[str, Any]:
    """Work, see everything stored and give the accounts."""
    begun_at, begun = time.time(), time.perf_counter()
    work()
    davy.flush(60)
    seconds = time.perf_counter() - begun
    found = davy.stats()
    kept = {name: found[name] for name in ("captured", "sent", "dropped", "thinned", "depth")}
    return {**kept, "begun_at": begun_at, "seconds": seconds}


TASKS: Final[dict[str, Callable[..., dict[str, Any]]]] = {
    "fast": as_fast_as_it_goes, "calls": call_by_call, "rate": at_a_rate, "models": many_models,
}  # fmt: skip

if __name__ == "__main__":
    url, task, *numbers = sys.argv[1:]
    print(json.dumps(TASKS[task](url, *map(json.loads, numbers))))
