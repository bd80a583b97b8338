"""Coroutines, futures and tasks: the app's very object, and the call is captured when the answer is there."""

from __future__ import annotations

import asyncio
import gc
import types
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from support.sdk_rig import inferences_in

import davy
from davy.event import Inference

pytestmark = pytest.mark.fast


def last(url: str) -> Inference:
    assert davy.flush()
    return inferences_in(url)[-1]


def told(url: str) -> tuple[dict[str, Any], dict[str, Any]]:
    one = last(url)
    return dict(one.inputs), dict(one.outputs)


async def tokens(prompt: str) -> AsyncIterator[str]:
    yield "hello"
    await asyncio.sleep(0)
    yield " None"


async def answer(x: float) -> dict[str, Any]:
    await asyncio.sleep(0)
    return {"label": "a"}


def plainly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a coroutine function in a plain one."""

    def plain(x: Any) -> Any:
        return function(x)

    return plain


async def refuse(x: float) -> dict[str, Any]:
    raise KeyError(x)


def test_a_coroutine_of_a_plain_function_is_captured_when_it_was_awaited(own_client: str) -> None:
    async def ask() -> Any:
        waiting = davy.watch(plainly(answer), "s:1")(1.0)
        assert type(waiting) is types.CoroutineType
        return await waiting

    assert asyncio.run(ask()) == {"label": "a"}
    assert told(own_client) == ({"x": 1.0}, {"label": "a"})


def test_a_coroutine_that_fails_raises_as_before_and_its_inputs_are_kept(own_client: str) -> None:
    async def ask() -> Any:
        return await davy.watch(plainly(refuse), "s:1")(1.0)

    with pytest.raises(KeyError, match=r"1\.0"):
        asyncio.run(ask())
    assert told(own_client) == ({"x": 1.0}, {"ended": "failed"})


def test_a_coroutine_that_is_cancelled_is_cancelled(own_client: str) -> None:
    async def forever(x: float) -> None:
        await asyncio.Event().wait()

    async def ask() -> None:
        task = asyncio.ensure_future(davy.watch(plainly(forever), "s:1")(1.0))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(ask())
    assert told(own_client) == ({"x": 1.0}, {"ended": "closed"})


def test_a_coroutine_never_awaited_is_warned_of_once_and_its_inputs_are_kept(own_client: str) -> None:
    watched = davy.watch(plainly(answer), "s:1")
    with pytest.warns(RuntimeWarning, match="'answer' was never awaited") as warned:
        watched(1.0)
    assert len(warned) == 1
    assert told(own_client) == ({"x": 1.0}, {"ended": "abandoned"})


def test_a_coroutine_that_gives_a_stream_is_followed_to_its_end(own_client: str) -> None:
    async def opened(prompt: str) -> AsyncIterator[str]:
        return tokens(prompt)

    async def ask(watched: Callable[..., Any]) -> list[str]:
        return [piece async for piece in await watched("hi")]

    for watched in (davy.watch(plainly(opened), "s:1"), davy.watch(opened, "s:1")):
        assert asyncio.run(ask(watched)) == ["hello", " None"]
        inputs, outputs = told(own_client)
        assert (list(inputs.values()), outputs) == (["hi"], {"text": "hello None"})


def test_a_future_is_the_very_future_and_captured_when_it_is_done(own_client: str) -> None:
    future: Future[Any] = Future()
    assert davy.watch(lambda x: future, "s:1")(1.0) is future
    assert davy.stats()["captured"] == 0
    future.set_result({"label": "a"})
    assert told(own_client) == ({"x": 1.0}, {"label": "a"})
    assert davy.watch(lambda x: future, "s:1")(2.0).result() == {"label": "a"}
    assert told(own_client) == ({"x": 2.0}, {"label": "a"})


@pytest.mark.parametrize(("end", "ended"), [("cancel", "closed"), ("fail", "failed"), ("drop", "abandoned")])
def test_a_future_that_does_not_answer_keeps_the_inputs(own_client: str, end: str, ended: str) -> None:
    futures: list[Future[Any]] = [Future()]
    watched = davy.watch(lambda x: futures[0], "s:1")(1.0)
    if end == "cancel":
        assert watched.cancel()
    elif end == "fail":
        watched.set_exception(KeyError("no"))
    del watched
    futures.clear()
    gc.collect()
    assert told(own_client) == ({"x": 1.0}, {"ended": ended})


def test_a_pool_of_threads_is_watched(own_client: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        ask = davy.watch(lambda x: pool.submit(lambda: x + 1.0), "s:1")
        assert [each.result() for each in [ask(float(i)) for i in range(50)]] == [i + 1.0 for i in range(50)]
    assert davy.flush()
    found = inferences_in(own_client)
    assert sorted((one.inputs["x"], one.outputs["value"]) for one in found) == [
        (float(i), i + 1.0) for i in range(50)
    ]


def test_a_task_is_the_very_task(own_client: str) -> None:
    async def ask(what: Callable[[float], Any]) -> Any:
        task = asyncio.ensure_future(what(1.0))
        assert davy.watch(lambda x: task, "s:1")(1.0) is task
        return await task

    assert asyncio.run(ask(answer)) == {"label": "a"}
    assert told(own_client) == ({"x": 1.0}, {"label": "a"})
    with pytest.raises(KeyError):
        asyncio.run(ask(refuse))
    assert told(own_client) == ({"x": 1.0}, {"ended": "failed"})


def test_asyncio_still_complains_of_an_exception_that_nobody_asked_for(own_client: str) -> None:
    complaints: list[str] = []

    async def ask() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context["message"]))
        davy.watch(lambda x: asyncio.ensure_future(refuse(x)), "s:1")(1.0)
        for _ in range(3):
            await asyncio.sleep(0)
        gc.collect()

    asyncio.run(ask())
    assert complaints == ["Task exception was never retrieved"]


def test_an_awaitable_object_is_followed(own_client: str) -> None:
    class Later:
        def __await__(self) -> Any:
            yield from asyncio.sleep(0).__await__()
            return 2.5

    async def ask() -> Any:
        return await davy.watch(lambda x: Later(), "s:1")(1.0)

    assert asyncio.run(ask()) == 2.5
    assert told(own_client) == ({"x": 1.0}, {"value": 2.5})


def test_a_shadow_answers_beside_what_is_awaited(own_client: str) -> None:
    async def ask() -> Any:
        return await davy.watch(plainly(answer), "s:1", shadow=lambda x: {"label": "b"})(1.0)

    assert asyncio.run(ask()) == {"label": "a"}
    assert last(own_client).alternatives == {"s:1-shadow": {"label": "b"}}
