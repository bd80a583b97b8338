"""A client that cannot be made at once: what is captured meanwhile is counted, and the next capture tries again."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.sdk_rig import balanced, inferences_in

import davy
from davy.sdk import home

pytestmark = [pytest.mark.fast, pytest.mark.swallows]


async def answer(x: Any) -> Any:
    return x


def by_hand() -> None:
    davy.capture("m:1", {"x": 1.0}, {})


def in_a_context() -> None:
    with davy.context(group="a"):
        davy.capture("m:1", {"x": 1.0}, {}, id=bytes(16))


CALLS: dict[str, Callable[[], Any]] = {
    "capture": by_hand,
    "context": in_a_context,
    "function": lambda: davy.watch(lambda x: x, "m:1")(1.0),
    "batch": lambda: davy.watch(lambda x: x, "m:1", batched=True)(np.ones(1)),
    "coroutine": lambda: asyncio.run(davy.watch(answer, "m:1")(1.0)),
    "stream": lambda: list(davy.watch(lambda x: iter([x]), "m:1")("a")),
}


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, ""), MemoryError(), RecursionError(), ImportError()])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_what_is_captured_before_a_client_can_be_made_is_counted(
    call: Callable[[], Any], error: BaseException, monkeypatch: pytest.MonkeyPatch, own_client: str
) -> None:
    def fail(*_: Any) -> Any:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(home, "_build", fail)
        for _ in range(3):
            call()
        stats = davy.stats()
        assert (balanced(stats), stats["dropped"]) == (True, {"not_begun": 3})
    call()
    assert davy.flush()
    stats = davy.stats()
    assert (balanced(stats), stats["captured"], stats["dropped"]) == (True, 4, {"not_begun": 3})
    assert len(inferences_in(own_client)) == 1


def test_a_client_made_by_init_takes_over_what_was_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(home, "_build", lambda *_: 1 / 0)
        davy.capture("m:1", {"x": 1.0}, {})
        davy.feedback(bytes(16), 1)
    davy.init()
    assert davy.stats()["dropped"] == {"not_begun": 1}
    davy.init()
    assert davy.stats()["dropped"] == {}
