"""Nothing handed to the SDK makes it raise, and everything is accounted for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.inference_strategies import containers, names, values
from support.sdk_rig import Store, balanced, start
from support.sdk_rig import settings as settings_of

import davy
from davy.sdk.client import Client
from davy.sdk.home import HOME

pytestmark = pytest.mark.fast

SPECIAL = (
    "__repr__", "__str__", "__float__", "__int__", "__index__", "__bool__", "__len__", "__iter__", "__getitem__",
    "__eq__", "__hash__", "__array__", "__getattr__", "__call__", "__contains__", "keys", "items", "values", "predict",
    "_asdict", "ndim", "dtype", "shape", "item", "replace",
)  # fmt: skip
ERRORS = (ValueError, TypeError, RuntimeError, ZeroDivisionError, RecursionError, MemoryError, UnicodeError)


def _mine(special: list[str], error: type[Exception], base: type) -> Any:
    def explode(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise error("boom")

    return type("Mine", (base,), dict.fromkeys(special, explode))()


hostile = st.builds(
    _mine,
    st.lists(st.sampled_from(SPECIAL), unique=True, max_size=6),
    st.sampled_from(ERRORS),
    st.sampled_from([object, dict, str, list, float, int, tuple]),
)


def _cycle(depth: int) -> Any:
    found: dict[str, Any] = {}
    found["self"] = [found] * depth
    return found


def _deep(depth: int) -> Any:
    found: Any = 1
    for _ in range(depth):
        found = [found]
    return found


monsters = st.one_of(
    hostile,
    st.integers(1, 2).map(_cycle),
    st.integers(10, 3_000).map(_deep),
    st.integers(1, 500).map(lambda digits: 10**digits),
    st.sampled_from(
        [float("nan"), float("inf"), "\ud800", b"", object(), type, lambda: 0, iter([1]), Ellipsis]
    ),
    st.sampled_from(
        [
            np.datetime64("NaT", "s"),
            np.timedelta64(1, "s"),
            np.array([object()]),
            np.zeros(2, "c8"),
            np.zeros((0, 2)),
        ]
    ),
    containers,
)
anything = st.one_of(monsters, st.lists(monsters, max_size=2), st.dictionaries(names, monsters, max_size=3))
mappings = st.one_of(anything, st.dictionaries(names, st.one_of(values, monsters), max_size=3))
relaxed = settings(
    max_examples=400,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(autouse=True)
def sink() -> Store:
    store = Store()
    start(store)
    return store


@pytest.mark.may_swallow
@relaxed
@given(
    model=st.one_of(st.just("m:1"), anything),
    inputs=mappings,
    outputs=mappings,
    more=st.fixed_dictionaries(
        {},
        optional={
            "embedding": anything,
            "tags": mappings,
            "group": anything,
            "seq": anything,
            "alternatives": mappings,
            "latency_ms": anything,
            "id": anything,
            "at": anything,
        },
    ),
)
def test_capture_never_raises_and_always_counts(
    model: Any, inputs: Any, outputs: Any, more: dict[str, Any]
) -> None:
    before = davy.stats()
    found = davy.capture(model, inputs, outputs, **more)
    after = davy.stats()
    assert after["captured"] + after["sampled_out"] == before["captured"] + before["sampled_out"] + 1
    assert balanced(after)
    assert (found is None) == (after["dropped"] != before["dropped"])


RULES = {
    "inputs.x": "blob:jpeg",
    "inputs.y": "summary",
    "inputs.z": "hash",
    "inputs.*": "blob",
    "outputs.*": "hash",
    "embedding": "blob",
    "tags.*": "hash",
    "group": "hash",
    "*": "drop",
}


@relaxed
@given(
    st.dictionaries(st.sampled_from(["x", "y", "z", "w"]), st.one_of(values, monsters)),
    st.dictionaries(names, st.one_of(values, monsters), max_size=2),
    anything,
    st.dictionaries(names, anything, max_size=2),
    anything,
)
def test_no_rule_for_fields_makes_it_raise(
    inputs: Any, outputs: Any, embedding: Any, tags: Any, group: Any
) -> None:
    sink = Store()
    start(sink, payloads=True, fields=RULES)
    davy.capture("m:1", inputs, outputs, embedding=embedding, tags=tags, group=group)
    assert davy.flush()
    after = davy.stats()
    assert after["captured"] == 1
    assert after["sent"] == len(sink.inferences) == 1 - sum(after["dropped"].values())


@pytest.mark.may_swallow
@relaxed
@given(anything, anything, anything)
def test_no_hook_and_no_shadow_makes_it_raise(given: Any, answer: Any, other: Any) -> None:
    client = Client(settings_of(), Store().open, before_capture=lambda inference: answer)
    HOME.client = client
    davy.capture("m:1", {"x": given}, {})
    assert davy.watch(lambda x: answer, "m:1", shadow=lambda x: other)(given) is answer
    assert davy.flush()
    assert balanced(davy.stats())
    assert davy.stats()["captured"] == 2


@pytest.mark.may_swallow
@relaxed
@given(anything, anything, anything, anything)
def test_feedback_context_and_watch_never_raise(one: Any, other: Any, third: Any, fourth: Any) -> None:
    davy.feedback(one, other, kind=third, model=fourth)
    with davy.context(id=one, group=other, seq=third, tags=fourth):
        pass
    davy.watch(one, other, batched=third, inputs=fourth)
    assert balanced(davy.stats()["feedback"])


@pytest.mark.may_swallow
@relaxed
@given(st.lists(anything, max_size=3), st.dictionaries(names, anything, max_size=2), anything, st.booleans())
def test_a_watched_function_gives_back_whatever_it_answers(
    args: list[Any], kwargs: dict[str, Any], answer: Any, batched: bool
) -> None:
    def predict(*args: Any, **kwargs: Any) -> Any:
        return answer

    assert davy.watch(predict, "m:1", batched=batched)(*args, **kwargs) is answer
    assert balanced(davy.stats())


def at_every_depth(call: Callable[[], Any]) -> int:
    """Make a call at every depth of the stack at which a wrapped function may be called; return how many these are."""

    def plain(calls: int = 3) -> None:  # what stands in for a callable is up to two calls of its own
        if calls:
            plain(calls - 1)

    def sink_into(depth: int) -> int:
        try:
            plain()
        except RecursionError:
            return depth
        call()
        return sink_into(depth + 1)

    return sink_into(0)


@pytest.mark.swallows
def test_captures_and_watched_calls_near_the_limit_of_recursion_never_raise() -> None:
    answer = {"z": [None], "y": np.ones(3)}
    watched = davy.watch(lambda x: answer, "m:1")
    rows = davy.watch(lambda x: answer, "m:2", batched=True)
    assert at_every_depth(partial(davy.capture, "m:1", {"x": [[1, "a"]]}, {"y": {"z": [None]}})) > 100
    assert at_every_depth(partial(watched, [[1, "a"]])) > 100
    assert at_every_depth(partial(rows, np.ones((3, 2)))) > 100
    assert balanced(davy.stats())


class Leaves:
    """A value of the app whose properties end the process, or mean to."""

    def __init__(self, error: type[BaseException]) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        raise self._error

    @property
    def __array__(self) -> Any:
        raise self._error


class Panic(BaseException):
    """What libraries written in other languages raise where they stop."""


@pytest.mark.swallows
@pytest.mark.parametrize("error", [SystemExit, Panic])
def test_what_a_value_raises_when_it_is_looked_at_never_reaches_the_app(error: type[BaseException]) -> None:
    value = Leaves(error)
    davy.capture("m:1", {"x": value}, {"y": value})
    assert davy.watch(lambda x: value, "m:1")(value) is value
    assert davy.watch(lambda x: value, "m:1", batched=True)(value) is value
    assert davy.watch(lambda x: 1.0, "m:1", inputs=lambda x: sys.exit())(3) == 1.0
    assert davy.watch(value, "m:1") is value
    with davy.context(tags=value):
        pass
    assert balanced(davy.stats())
    assert davy.stats()["captured"] == 4


def test_what_was_encoded_can_also_be_packed(sink: Store) -> None:
    davy.capture("m:1", {"\ud800": 1}, {})
    davy.capture("m:1", {"x": "\ud800", "y": ["\ud800"]}, {})
    assert davy.flush()
    assert davy.stats()["left_out"] == {"m:1 inputs.*: name": 1}
    assert [one.inputs for one in sink.inferences] == [{}, {"x": "\ud800", "y": ["\ud800"]}]
