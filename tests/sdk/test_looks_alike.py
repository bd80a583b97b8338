"""A callable under watch looks like the one it stands for, whoever asks, also in another process."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import math
import pickle
import re
import typing
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import cloudpickle
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from support.sdk_rig import inferences_in

import davy
from davy.sdk.home import HOME

pytestmark = pytest.mark.fast


def plain(age: int, income: float = 2.5, *, scale: int = 1) -> float:
    """Say something."""
    return age * income * scale


async def awaited(x: int) -> int:
    return x


def yielding(x: int) -> Iterator[int]:
    yield from range(x)


async def yielding_later(x: int) -> AsyncIterator[int]:
    for i in range(x):
        yield i


@functools.lru_cache(maxsize=8)
def cached(text: str) -> dict[str, str]:
    return {"label": text}


class Model:
    def predict(self, x: float) -> dict[str, float]:
        """Predict."""
        return {"value": 2 * x}

    @functools.lru_cache  # noqa: B019 - as apps do
    def cached(self, x: float) -> float:
        return x

    __call__ = predict


CALLABLES: list[Any] = [
    plain, awaited, yielding, yielding_later, cached, math.sqrt, functools.partial(plain, 1), Model().predict,
    Model.predict, Model().cached, lambda x: x,
]  # fmt: skip
ASKED: list[Callable[[Any], Any]] = [
    inspect.isfunction, inspect.isbuiltin, inspect.ismethod, inspect.isroutine, inspect.iscoroutinefunction,
    inspect.isgeneratorfunction, inspect.isasyncgenfunction, asyncio.iscoroutinefunction, callable, inspect.signature,
    typing.get_type_hints, repr, inspect.getdoc, vars,
]  # fmt: skip
ATTRIBUTES = (
    "__name__", "__qualname__", "__module__", "__doc__", "__defaults__", "__kwdefaults__", "__annotations__",
    "__code__", "__dict__", "__self__", "__func__", "func", "args", "keywords", "cache_info", "cache_clear",
    "cache_parameters",
)  # fmt: skip


def told(ask: Callable[[Any], Any], about: Any) -> Any:
    try:
        return ask(about)
    except Exception as error:  # noqa: BLE001 - what is raised must be the same as well
        return type(error)


@pytest.mark.parametrize("ask", ASKED, ids=lambda ask: ask.__name__)
@pytest.mark.parametrize("target", CALLABLES, ids=lambda target: re.sub(r" at 0x\w+", "", repr(target)))
def test_inspect_is_told_the_same(target: Any, ask: Callable[[Any], Any]) -> None:
    assert told(ask, davy.watch(target, "m:1")) == told(ask, target)


@pytest.mark.parametrize("target", CALLABLES, ids=lambda target: re.sub(r" at 0x\w+", "", repr(target)))
def test_every_attribute_is_the_callables_own(target: Any) -> None:
    found = davy.watch(target, "m:1")
    for name in ATTRIBUTES:
        assert getattr(found, name, None) == getattr(target, name, None), name
    assert dir(found) == dir(target)
    assert found.__wrapped__ == getattr(target, "__wrapped__", target)
    assert isinstance(found, type(target))
    assert copy.deepcopy(found) is copy.copy(found) is found


def test_what_is_set_and_deleted_is_the_callables() -> None:
    def view(x: int) -> int:
        return x

    found: Any = davy.watch(view, "m:1")
    found.csrf_exempt = True
    found.__doc__ = "Look."
    found.__signature__ = inspect.signature(plain)
    assert (view.csrf_exempt, view.__doc__) == (True, "Look.")  # type: ignore[attr-defined]
    assert inspect.signature(found) == inspect.signature(plain)
    del found.csrf_exempt
    assert not hasattr(view, "csrf_exempt")


def test_a_cache_works_and_answers_from_it_are_captured(own_client: str) -> None:
    cached.cache_clear()
    found = davy.watch(cached, "m:1")
    assert found("a") is found("a")
    assert (found.cache_info().hits, cached.cache_info().misses) == (1, 1)
    found.cache_clear()
    assert cached.cache_info().currsize == 0
    davy.flush()
    assert [one.inputs for one in inferences_in(own_client)] == [{"text": "a"}] * 2


def test_methods_that_are_no_functions_know_their_object(own_client: str) -> None:
    class Own:
        factor = 3.0

        @davy.watch(model="m:1")
        @functools.lru_cache  # noqa: B019 - as apps do
        def predict(self, x: float) -> float:
            return self.factor * x

        @davy.watch(model="g:1")
        def stream(self, x: int) -> Iterator[int]:
            yield from range(x)

    own = Own()
    assert (own.predict(2.0), Own.predict(own, 2.0), list(own.stream(2))) == (6.0, 6.0, [0, 1])
    assert inspect.isgeneratorfunction(own.stream)
    assert inspect.ismethod(own.predict)
    davy.flush()
    assert [one.inputs for one in inferences_in(own_client)] == [{"x": 2.0}, {"x": 2.0}, {"x": 2}]


def test_a_generator_function_makes_generators_that_behave(own_client: str) -> None:
    def echo(first: str) -> Any:
        said = first
        while True:
            try:
                said = yield said
            except ValueError:
                return "end"

    found = davy.watch(echo, "m:1")
    with pytest.raises(TypeError):
        found()  # at once, as the function itself
    for make in (echo, found):
        stream = make("a")
        assert inspect.isgenerator(stream)
        assert (next(stream), stream.send("b")) == ("a", "b")
        with pytest.raises(StopIteration) as ended:
            stream.throw(ValueError())
        assert ended.value.value == "end"
    closed = found("c")
    next(closed)
    closed.close()
    dropped = found("d")
    del dropped
    davy.flush()
    got = [(one.inputs["first"], one.outputs.get("ended")) for one in inferences_in(own_client)]
    assert got == [("a", None), ("c", "closed"), ("d", "abandoned")]


renamed = davy.watch(plain, "renamed:1")


@davy.watch(model="decorated:1")
def decorated(x: float) -> float:
    return x


class Decorated:
    @davy.watch(model="method:1")
    def predict(self, x: float) -> float:
        return x


PICKLED: dict[str, Callable[[], Any]] = {
    "renamed": lambda: renamed,
    "decorated": lambda: decorated,
    "method": lambda: davy.watch(Model(), "method:1").predict,
    "object": lambda: davy.watch(Model(), "object:1"),
    "bound": lambda: davy.watch(Model().predict, "bound:1"),
    "own": lambda: Decorated().predict,
    "partial": lambda: davy.watch(functools.partial(plain, income=2.0), "partial:1"),
    "cached": lambda: davy.watch(cached, "cached:1"),
}


@pytest.mark.parametrize("name", PICKLED)
def test_what_is_watched_is_pickled_and_watched_again(name: str, own_client: str) -> None:
    target = PICKLED[name]()
    for protocol in (2, pickle.HIGHEST_PROTOCOL):
        copied = pickle.loads(pickle.dumps(target, protocol))
        assert copied(3.0) == target(3.0)
    davy.flush()
    assert len(inferences_in(own_client)) == 4


def test_an_estimator_s_method_is_pickled(own_client: str) -> None:
    x = np.arange(6.0)[:, None]
    model = davy.watch(LinearRegression().fit(x, x[:, 0]), "m:1")
    assert np.array_equal(pickle.loads(pickle.dumps(model.predict))(x), model.predict(x))
    davy.flush()
    assert len(inferences_in(own_client)) == 12


def test_what_only_cloudpickle_takes_is_watched_again(own_client: str) -> None:
    target = davy.watch(lambda x: {"value": x}, "m:1", inputs=lambda x: {"y": x})
    copied = pickle.loads(cloudpickle.dumps(target))
    assert copied(1.0) == {"value": 1.0}
    davy.flush()
    assert [one.inputs for one in inferences_in(own_client)] == [{"y": 1.0}]


def test_what_cannot_be_pickled_with_it_leaves_the_copy_unwatched_which_is_counted(
    own_client: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("davy.sdk.callables._PICKLERS", ("pickle",))
    model = davy.watch(Model(), "m:1", inputs=lambda x: {"y": x})
    copied = pickle.loads(pickle.dumps(model.predict))
    assert copied(1.0) == {"value": 2.0}
    davy.flush()
    assert (inferences_in(own_client), HOME.integration_failed) == ([], 1)
    assert "not watched" in caplog.text


def test_a_function_that_cannot_be_pickled_cannot_be_under_watch_either() -> None:
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(davy.watch(lambda x: x, "m:1"))
