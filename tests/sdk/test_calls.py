"""One reader of calls for every path: names of arguments, what is opened, one row or many, and what is counted."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.sdk_rig import inferences_in

import davy
from davy.event import Inference
from davy.sdk.calls.batches import Habits, batch_size, rows_of
from davy.sdk.calls.opening import MEMBERS, open_answer, open_arguments
from davy.sdk.calls.signatures import Binder
from davy.sdk.calls.tensors import as_array, is_array, is_real, on_host
from davy.sdk.naming import Naming
from davy.sdk.options import Options
from davy.sdk.watching import NOBODY, Watch, wrap

pytestmark = pytest.mark.fast
X = np.random.default_rng(0).normal(size=(6, 4))


def captured(url: str) -> list[Inference]:
    assert davy.flush()
    return inferences_in(url)


def scaled(x: Any, scale: float = 2.0) -> Any:
    return x * scale


def passed_on(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate without `functools.wraps`, as many do."""

    def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


class Compiled:
    """What compilers give: a callable that takes anything and holds the function it stands for."""

    def __init__(self, function: Any) -> None:
        self.py_func = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.py_func(*args, **kwargs)


@pytest.mark.parametrize(
    "function",
    [
        scaled,
        passed_on(scaled),
        passed_on(passed_on(scaled)),
        functools.lru_cache(scaled),
        functools.partial(passed_on(scaled)),
        Compiled(scaled),
    ],
    ids=["itself", "decorated", "twice", "cached", "partial", "compiled"],
)
def test_arguments_have_the_names_of_the_function_behind_what_is_called(function: Any) -> None:
    assert Binder(function).bind((1.0,), {}) == {"x": 1.0, "scale": 2.0}


def test_a_partial_leaves_the_names_it_has_not_bound() -> None:
    def area(unit: str, width: float, height: float = 1.0) -> float:
        return width * height

    assert Binder(functools.partial(area, "m")).bind((3.0,), {}) == {"width": 3.0, "height": 1.0}
    assert Binder(functools.partial(area, "m", height=4.0)).bind((3.0,), {}) == {"width": 3.0, "height": 4.0}


def test_arguments_without_a_name_are_numbered_and_numbers_stay_the_vector_they_are() -> None:
    bind = Binder(lambda first, *rest: first).bind
    one, two = np.zeros(2), np.ones(3)
    assert bind((0, one, two), {}) == {"first": 0, "rest_0": one, "rest_1": two}
    assert bind((0, 1.0, 2), {}) == {"first": 0, "rest": [1.0, 2]}
    assert bind((0, one), {"rest_0": two}) == {"first": 0, "rest_0": two}


@dataclass
class Heads:
    logits: Any
    aux: Any


NESTED: list[tuple[Any, list[str]]] = [
    ({"aux": {"deep": X}, "list": [X, X]}, ["aux.deep", "list.0", "list.1"]),
    ((X, (X, X)), ["output_0", "output_1.0", "output_1.1"]),
    ([X, X], ["output_0", "output_1"]),
    (Heads(X, {"a": X, "b": (X,)}), ["logits", "aux.a", "aux.b.0"]),
    (X, [""]),
]


@pytest.mark.parametrize(("answer", "names"), NESTED)
def test_what_lies_in_an_answer_has_a_dotted_name(answer: Any, names: list[str]) -> None:
    lost: list[Any] = []
    found = rows_of(open_answer(answer), 6, lambda *each: lost.append(each), Habits(), answers=True)
    assert (list(found), lost) == (names, [])


def test_members_without_the_first_axis_of_a_batch_are_left_out_by_name() -> None:
    lost: list[Any] = []
    answer = {"probs": X, "loss": np.float64(1.0), "state": {"h": np.ones((2, 6, 3))}, "version": "a"}
    found = rows_of(open_answer(answer), 6, lambda *each: lost.append(each), Habits(), answers=True)
    assert list(found) == ["probs"]
    assert lost == [("loss", "length"), ("state.h", "length"), ("version", "length")]


def test_a_call_of_one_row_is_read_as_the_batches_were(own_client: str) -> None:
    """Of one row, anchors of (1, 4, 2) and two tables in a list look like rows, and are not."""

    def predict(x: Any, tables: Any) -> dict[str, Any]:
        return {"probs": softmax(x), "anchors": np.ones((1, 4, 2)), "heads": [x, x]}

    watched = davy.watch(predict, "m:1", batched=True)
    for rows in (6, 1, 2):
        watched(X[:rows], [X[:rows], X[:rows]])
    found = captured(own_client)
    assert len(found) == 9
    assert {tuple(sorted(one.outputs)) for one in found} == {("heads.0", "heads.1", "probs")}
    assert {tuple(sorted(one.inputs)) for one in found} == {("tables.0", "tables.1", "x")}


def test_what_goes_on_inside_a_model_is_no_answer_and_is_left_out_by_name() -> None:
    lost: list[Any] = []
    answer = {"logits": X, "hidden_states": (X, X), "past_key_values": object(), "last_hidden_state": X}
    found = rows_of(open_answer(answer), 6, lambda *each: lost.append(each), Habits(), answers=True)
    assert list(found) == ["logits", "last_hidden_state"]
    assert lost == [("hidden_states", "inside"), ("past_key_values", "inside")]


def test_opening_is_bounded() -> None:
    deep: Any = X
    for _ in range(50):
        deep = {"in": deep}
    wide = {f"m{i}": {"a": X, "b": X} for i in range(1_000)}
    assert len(open_arguments({"x": deep})) == 1
    assert len(open_answer(wide)) < 1_000 + MEMBERS
    looped: dict[str, Any] = {}
    looped["again"] = looped
    assert open_answer(looped)


IMAGES = [np.zeros((3, 8, 8)), np.zeros((3, 4, 6))]
SIZES: list[tuple[dict[str, Any], Any, int | None]] = [
    ({"x": X}, X[:, :2], 6),
    ({"x": X}, {"logits": X, "loss": np.ones(())}, 6),
    ({"x": X}, {"logits": X, "anchors": np.ones((9, 4)), "scores": X[:, 0]}, 6),
    ({"x": X[0]}, X[0], None),
    ({"x": X[0]}, X[0, :3], None),
    ({"x": X[:1]}, X[:1, :2], 1),
    ({"batch": {"x": X, "kind": np.zeros(6, int)}}, X[:, 0], 6),
    ({"user": np.arange(6), "item": np.arange(6)}, np.ones(6), 6),
    ({"ids": np.arange(6)}, np.ones((6, 3)), 6),
    ({"texts": ["a", "b", "c"]}, np.ones((3, 5)), 3),
    ({"rows": [{"age": 1}, {"age": 2}]}, ["x", "y"], 2),
    ({"images": IMAGES}, [{"boxes": np.zeros((5, 4))}, {"boxes": np.zeros((0, 4))}], 2),
    ({"frame": pd.DataFrame({"a": [1, 2, 3]})}, np.ones(3), 3),
    ({"x": X, "temperature": 0.5}, (X, (np.ones((2, 6, 3)), np.ones((2, 6, 3)))), 6),
    ({"x": X}, 0.5, None),
]


@pytest.mark.parametrize(("arguments", "answer", "size"), SIZES)
def test_the_batch_size_is_the_axis_or_length_that_an_answer_shares_with_an_argument(
    arguments: dict[str, Any], answer: Any, size: int | None
) -> None:
    assert batch_size(open_arguments(arguments), open_answer(answer)) == size


def softmax(x: Any) -> Any:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


ROWS: list[tuple[Callable[..., Any], Any, dict[str, Any], dict[str, Any]]] = [
    (softmax, X[:1], {"x": (4,)}, {"probs": (4,)}),
    (lambda x: softmax(x[None]), X[0], {"x": (4,)}, {"probs": (4,)}),
    (lambda x: softmax(x).tolist(), X[:1], {"x": (4,)}, {"probs": (4,)}),
    (lambda x: {"logits": x, "label": np.array([2])}, X[:1], {"x": (4,)}, {"logits": (4,), "label": ()}),
    (lambda x: x[:, 0], X[:1], {"x": (4,)}, {"value": ()}),
    (lambda x: x[0], X[:1], {"x": (1, 4)}, {"value": (4,)}),
    (lambda x: {"boxes": x, "scores": x[:, 0]}, X[:1], {"x": (1, 4)}, {"boxes": (1, 4), "scores": (1,)}),
]


@pytest.mark.parametrize(("function", "argument", "inputs", "outputs"), ROWS)
def test_a_row_answered_to_one_request_is_a_row_and_so_is_its_argument(
    function: Any, argument: Any, inputs: Any, outputs: Any, own_client: str
) -> None:
    for _ in range(3):
        davy.watch(function, "m:1")(argument)
    for one in captured(own_client):
        assert {name: np.shape(value) for name, value in one.inputs.items()} == inputs
        assert {name: np.shape(value) for name, value in one.outputs.items()} == outputs
    assert davy.stats()["incomplete"] == {}


def test_answers_with_as_many_rows_as_things_were_found_keep_their_axis(own_client: str) -> None:
    found = davy.watch(lambda count: np.ones((count, 6)), "m:1")
    for count in (3, 1, 2):
        found(count)
    assert [one.outputs["value"].shape for one in captured(own_client)] == [(3, 6), (1, 6), (2, 6)]


def test_a_batch_captured_as_one_inference_is_counted_until_the_app_says_what_it_is(own_client: str) -> None:
    def halves(x: Any) -> Any:
        return x[:, :2]

    watched = davy.watch(halves, "m:1")
    for _ in range(5):
        watched(X)
    davy.watch(halves, "m:2", batched=False)(X)
    davy.watch(halves, "m:3", batched=True)(X)
    davy.watch(lambda picture: picture[..., 0], "m:4")(np.ones((8, 8, 3)))  # a mask, and no batch of 8
    davy.watch(lambda query, documents: [1.0, 2.0], "m:5")("q", ["a", "b"])
    assert davy.stats()["incomplete"] == {"batch_as_row": 5}
    assert davy.stats()["misread"] == {"m:1: batch_as_row": 5}
    assert [one.model for one in captured(own_client)].count("m:3") == 6


def test_a_batch_read_as_one_row_is_said_at_once_of_every_model_with_the_remedy(
    own_client: str, caplog: pytest.LogCaptureFixture
) -> None:
    for model in ("m:1", "m:2", "m:1"):
        davy.watch(lambda x: x[:, :2], model)(X)
    lines = [line for line in caplog.messages if line.startswith("batch_as_row")]
    assert [line.split()[4] for line in lines] == ["m:1", "m:2"]
    assert all("batched=True" in line for line in lines)


def test_a_call_without_inputs_that_can_be_read_is_counted(own_client: str) -> None:
    davy.watch(lambda *_: 1.0, "m:1", batched=True)(object())
    davy.watch(lambda: 1.0, "m:2")()
    davy.watch(lambda x: 1.0, "m:3", inputs=lambda x: {})(1)
    assert davy.stats()["misread"] == {"m:1: no_inputs": 1}


def test_a_call_that_is_read_as_no_inference_is_counted_and_one_that_serves_nobody_is_not() -> None:
    class Unread(Watch):
        def rows(self, args: Any, kwargs: Any, result: Any) -> int | None:
            return int(result)

    watched = wrap(lambda x: x, Unread(lambda x: x, "m:1", Options()))
    assert [watched(0), watched(NOBODY), watched(0)] == [0, NOBODY, 0]
    assert (davy.stats()["captured"], davy.stats()["incomplete"]) == (0, {"no_rows": 2})


def test_an_empty_batch_is_nothing_and_nothing_is_missed(own_client: str) -> None:
    davy.watch(lambda x: x[:, :2], "m:1", batched=True)(X[:0])
    assert (captured(own_client), davy.stats()["incomplete"], davy.stats()["dropped"]) == ([], {}, {})


def test_an_estimators_row_is_read_without_its_axis_and_numbers_keep_their_names(own_client: str) -> None:
    class Forest:
        classes_ = np.array(["cat", "dog"])
        feature_names_in_ = np.array(["a", "b", "c", "d"])

        def fit(self) -> None: ...

        def predict(self, x: Any) -> Any:
            return self.classes_[np.asarray(x)[:, 0].astype(int) % 2]

        def predict_proba(self, x: Any) -> Any:
            return softmax(np.asarray(x)[:, :2])

    forest = davy.watch(Forest(), "m:1")
    frame = pd.DataFrame(X, columns=list("abcd"))
    for rows in (X[:1], frame[:1], X, frame[1:3]):
        forest.predict_proba(rows)
        forest.predict(rows)
    found = captured(own_client)
    assert len(found) == 2 * (1 + 1 + 6 + 2)
    assert {tuple(sorted(one.inputs)) for one in found} == {("a", "b", "c", "d")}
    assert {np.shape(value) for one in found for value in one.inputs.values()} == {()}
    assert {tuple(one.outputs) for one in found} == {
        ("probs", "label", "class_names"),
        ("label", "class_names"),
    }
    assert {one.outputs["label"] for one in found} <= {"cat", "dog"}


def test_a_batch_is_read_past_its_scalars_and_texts(own_client: str) -> None:
    def predict(batch: dict[str, Any], note: str = "") -> dict[str, Any]:
        return {"version": "v2", "probs": softmax(batch["x"]), "loss": 0.5}

    davy.watch(predict, "m:1", batched=True)({"x": X, "more": {"id": list(range(6))}})
    found = captured(own_client)
    assert len(found) == 6
    assert {(*sorted(one.inputs), *one.outputs) for one in found} == {("more.id", "x", "probs")}
    assert davy.stats()["left_out"] == {"m:1 outputs.version: length": 6, "m:1 outputs.loss: length": 6}


@pytest.mark.parametrize("batched", [True, False])
def test_parts_of_a_tuple_say_by_their_values_what_they_are(batched: bool, own_client: str) -> None:
    names = np.array(["a"] * 6) if batched else "a"
    davy.watch(lambda x: (names, softmax(x), x), "m:1", batched=batched)(X if batched else X[0])
    found = captured(own_client)
    assert len(found) == (6 if batched else 1)
    assert {tuple(sorted(one.outputs)) for one in found} == {("label", "output_2", "probs")}


@pytest.mark.parametrize("rows", [1, 6])
def test_a_record_of_columns_is_read_by_row(rows: int, own_client: str) -> None:
    davy.watch(lambda x: Heads(x, {"deep": x}), "m:1", batched=True)(X[:rows])
    found = captured(own_client)
    assert len(found) == rows
    assert {(one.outputs["logits"].shape, one.outputs["aux.deep"].shape) for one in found} == {((4,), (4,))}


def test_scores_that_are_a_distribution_are_probabilities_and_others_stay_scores(own_client: str) -> None:
    davy.watch(lambda x: {"scores": softmax(x), "label": "a"}, "m:1")(X[0])
    davy.watch(lambda x: {"scores": x}, "m:2")(X[0])
    davy.watch(lambda x: {"scores": softmax(x), "boxes": np.ones((4, 4))}, "m:3")(X[0])
    assert [set(one.outputs) for one in captured(own_client)] == [
        {"probs", "label"},
        {"scores"},
        {"scores", "boxes"},
    ]


@pytest.mark.parametrize("classes", [3, 10, 100, 1000])
@pytest.mark.parametrize("bits", [16, 19])
def test_probabilities_of_sixteen_bits_have_one_name(classes: int, bits: int) -> None:
    """bfloat16 arrives as single precision whose lower half is empty; 19 bits are TF32."""
    rng = np.random.default_rng(2)
    probs = softmax(rng.normal(scale=3.0, size=(300, classes))).astype(np.float32)
    cut = (probs.view(np.uint32) >> (32 - bits) << (32 - bits)).view(np.float32)
    naming = Naming()
    assert {naming.of("m:1", "", row[None], rows=True) for row in cut} == {"probs"}


class Away:
    """A tensor that lies on a device: only copies can be read, and each wait is noted."""

    shape, dtype = (), "float32"

    def __init__(self, name: str, done: list[str]) -> None:
        self.name, self.done = name, done
        self.device = type("Device", (), {"type": "away", "__str__": lambda _: "away:0"})()

    def detach(self) -> Away:
        return self

    def to(self, where: str, *, non_blocking: bool) -> str:
        assert (where, non_blocking) == ("cpu", True)
        self.done.append(f"copy {self.name}")
        return f"{self.name} here"


def test_tensors_of_a_device_are_copied_together_and_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    away = type("away", (), {"synchronize": staticmethod(lambda: done.append("wait"))})
    monkeypatch.setitem(__import__("sys").modules, "torch", type("torch", (), {"away": away})())
    given, answered = on_host(
        {"a": Away("a", done), "b": X, "n": 3}, {"c": [Away("c", done), {"d": (Away("d", done), None)}]}
    )
    assert (given["a"], given["n"], given["b"] is X) == ("a here", 3, True)
    assert answered == {"c": ["c here", {"d": ("d here", None)}]}
    assert done == ["copy a", "copy c", "copy d", "wait"]
    same = {"b": X}
    assert on_host(same)[0] is same


def test_arrays_are_told_from_scalars_frames_and_lists() -> None:
    assert is_array(X)
    assert not any(
        map(is_array, (1.0, np.float32(1), [1.0], "x", pd.Series([1.0]), pd.DataFrame({"a": [1]}), None))
    )
    assert is_real(X)
    assert as_array(X) is X


def test_an_empty_answer_decides_no_name_and_changes_none(own_client: str) -> None:
    watched = davy.watch(lambda rows: [0.25, 0.75] if rows else [], "m:1")
    for rows in ([], [1], [], [1]):
        watched(rows)
    assert [[*one.outputs] for one in captured(own_client)] == [["value"], ["probs"], ["probs"], ["probs"]]


def refusing(name: str, error: type[Exception], kind: type = object) -> Any:
    def method(*_: Any, **__: Any) -> Any:
        raise error

    return type("Answer", (kind,), {name: method})()


@pytest.mark.parametrize("batched", [None, True])
@pytest.mark.parametrize("name", ["__getattr__", "__getattribute__", "__array__", "values"])
def test_an_answer_whose_own_methods_raise_is_left_out_and_the_inputs_are_kept(
    name: str, batched: bool | None, own_client: str
) -> None:
    answer = refusing(name, MemoryError, dict if name == "values" else object)
    watched = davy.watch(lambda x: answer, "m:1", batched=batched)
    for _ in range(3):
        assert watched(X[:1]) is answer
    found = captured(own_client)
    assert [(np.size(one.inputs["x"]), one.outputs) for one in found] == [(4, {})] * 3
    assert davy.stats()["left_out"] == {"m:1 outputs.value: unreadable": 3}
    assert davy.stats()["dropped"] == {}


@pytest.mark.parametrize("name", ["__repr__", "__len__", "__iter__", "__bool__"])
def test_an_answer_that_refuses_what_nobody_need_ask_is_of_a_kind_that_does_not_travel(
    name: str, own_client: str
) -> None:
    answer = refusing(name, MemoryError)
    assert davy.watch(lambda x: answer, "m:1")(1.5) is answer
    assert [(one.inputs, one.outputs) for one in captured(own_client)] == [({"x": 1.5}, {"value": None})]
    assert davy.stats()["left_out"] == {"m:1 outputs.value: type": 1}


def test_a_batch_whose_answer_cannot_be_looked_at_has_the_rows_of_its_arguments(own_client: str) -> None:
    davy.watch(lambda x: refusing("__len__", MemoryError), "m:1", batched=True)(X)
    assert [one.inputs["x"].tolist() for one in captured(own_client)] == X.tolist()
    assert davy.stats()["left_out"] == {"m:1 outputs.value: unreadable": 6}


def test_the_items_of_a_mapping_have_one_name_whatever_other_arguments_hold(own_client: str) -> None:
    watched = davy.watch(lambda user=None, item=None: 0.5, "m:1")
    for _ in range(4):  # the short way is learnt
        watched(user={"age": 1})
    watched(item={"age": 8})
    for _ in range(4):
        watched(user={"age": 1})
    watched(user={"age": 1}, item={"age": 8})
    names = [sorted(one.inputs) for one in captured(own_client)]
    assert names == [["age"]] * 4 + [["item.age"]] + [["user.age"]] * 4 + [["item.age", "user.age"]]


def test_names_are_those_of_several_mappings_once_a_call_had_several(own_client: str) -> None:
    watched = davy.watch(lambda user=None, item=None: 0.5, "m:1")
    watched(user={"age": 1}, item={"age": 8})
    watched(user={"age": 1})
    watched({}, {"age": 8})
    names = [sorted(one.inputs) for one in captured(own_client)]
    assert names == [["item.age", "user.age"], ["user.age"], ["item.age"]]


def test_batches_of_mappings_and_of_tables_keep_their_names_too(own_client: str) -> None:
    def predict(user: Any = None, item: Any = None) -> Any:
        return np.arange(2.0)

    for model, kind in {"m:1": dict, "m:2": pd.DataFrame}.items():
        watched = davy.watch(predict, model, batched=True)
        for arguments in ("user", "item", "user"):
            watched(**{arguments: kind({"age": np.arange(2)})})
    names = [(one.model, *one.inputs) for one in captured(own_client)][::2]
    assert names == [(model, name) for model in ("m:1", "m:2") for name in ("age", "item.age", "user.age")]


def test_a_table_whose_rows_cannot_be_counted_is_left_out_alone(own_client: str) -> None:
    polars = pytest.importorskip("polars")
    lazy = polars.DataFrame({"a": [1, 2]}).lazy()
    double = davy.watch(lambda frame, scale: frame.collect()["a"] * 2, "m:1", batched=True)
    assert double(lazy, np.ones(2)).to_list() == [2, 4]
    davy.flush()
    found = inferences_in(own_client)
    assert [(dict(one.inputs), dict(one.outputs)) for one in found] == [
        ({"scale": 1.0}, {"value": 2}),
        ({"scale": 1.0}, {"value": 4}),
    ]
    assert davy.stats()["left_out"] == {"m:1 inputs.frame: length": 2}
    assert davy.stats()["dropped"] == {}
