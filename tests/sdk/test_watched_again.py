"""What is watched again under the same name is captured once, whatever it is, as when a notebook runs a cell again."""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from sklearn.linear_model import LinearRegression
from support.sdk_rig import inferences_in

import davy

pytestmark = pytest.mark.fast


def double(x: float) -> float:
    return 2 * x


async def later(x: float) -> float:
    return 2 * x


def pieces(x: float) -> Any:
    yield 2 * x


class Predictor:
    def predict(self, x: float) -> float:
        return 2 * x

    def __call__(self, x: float) -> float:
        return 2 * x


KINDS: Mapping[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "a function": (lambda: double, lambda f: f(1.0)),
    "a lambda": (lambda: lambda x: 2 * x, lambda f: f(1.0)),
    "a coroutine function": (lambda: later, lambda f: asyncio.run(f(1.0))),
    "a generator function": (lambda: pieces, lambda f: list(f(1.0))),
    "a partial": (lambda: functools.partial(double, 1.0), lambda f: f()),
    "a method": (lambda: Predictor().predict, lambda f: f(1.0)),
    "a builtin": (lambda: abs, lambda f: f(1.0)),
    "an object": (Predictor, lambda found: found.predict(1.0)),
    "an object that is called": (Predictor, lambda found: found(1.0)),
    "an estimator": (
        lambda: LinearRegression().fit([[1.0], [2.0]], [1.0, 2.0]),
        lambda found: found.predict([[1.0]]),
    ),
}


def captured(url: str) -> Counter[str]:
    assert davy.flush()
    return Counter(each.model for each in inferences_in(url))


@pytest.mark.parametrize(("make", "call"), KINDS.values(), ids=KINDS)
def test_it_is_captured_once(make: Any, call: Any, own_client: str) -> None:
    found = make()
    for _ in range(3):
        found = davy.watch(found, "nb:1")
    call(found)
    assert captured(own_client) == {"nb:1": 1}


@pytest.mark.parametrize(("make", "call"), KINDS.values(), ids=KINDS)
def test_other_names_stay_and_each_is_captured_once(make: Any, call: Any, own_client: str) -> None:
    found = make()
    for name in ("a:1", "b:1", "a:1", "c:1", "b:1", "a:1"):
        found = davy.watch(found, name)
    call(found)
    assert captured(own_client) == {"a:1": 1, "b:1": 1, "c:1": 1}


def test_what_was_asked_for_last_holds(own_client: str) -> None:
    found = davy.watch(double, "nb:1", output="price")
    found = davy.watch(found, "nb:1", output="cost")
    found(1.0)
    assert davy.flush()
    assert [dict(each.outputs) for each in inferences_in(own_client)] == [{"cost": 2.0}]


def test_a_method_that_is_decorated_in_its_class_is_captured_once(own_client: str) -> None:
    class Decorated:
        @davy.watch(model="nb:1")
        def predict(self, x: float) -> float:
            return 2 * x

    found = davy.watch(Decorated(), "nb:1")
    found.predict(1.0)
    found.predict(1.0)
    assert captured(own_client) == {"nb:1": 2}
    Decorated().predict(1.0)
    assert captured(own_client) == {"nb:1": 3}


def test_a_method_of_what_is_watched_and_a_partial_of_it_are_captured_once(own_client: str) -> None:
    model = davy.watch(Predictor(), "nb:1")
    davy.watch(model.predict, "nb:1")(1.0)
    davy.watch(functools.partial(davy.watch(double, "nb:1"), 1.0), "nb:1")()
    assert captured(own_client) == {"nb:1": 2}
