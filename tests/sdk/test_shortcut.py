"""The short way of a watched call: the log holds what the long way would have put there."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.sdk_rig import Store, inferences_in, start

import davy
from davy.sdk.client import Client
from davy.sdk.shortcut import Shortcuts
from davy.sdk.watching import Watch

pytestmark = pytest.mark.fast
VALUES = st.one_of(
    st.integers(-5, 5),
    st.floats(-5, 5),
    st.booleans(),
    st.text(max_size=3),
    st.none(),
    st.sampled_from(
        [[1.0, 2.0], [1, 2, 3], ["a"], {"k": 1.0}, {"k": "v", "m": 2}, {}, np.zeros(3), np.ones(2)]
    ),
    st.sampled_from(
        [
            np.ones((1, 2)),
            np.ones((2, 2)),
            np.full((1, 4), 0.25),
            np.array([0.5], np.float32),
            [[1.0, 2.0]],
        ]
    ),
    st.sampled_from([{"probs": np.full((1, 4), 0.25)}, {"probs": np.ones((2, 2))}, np.array([["a", "b"]])]),
)


def plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return {key: plain(item) for key, item in value.items()} if isinstance(value, dict) else value


@given(st.lists(st.tuples(VALUES, st.booleans(), VALUES), min_size=1, max_size=12), st.booleans())
def test_the_long_and_the_short_way_agree(calls: list[Any], repeated: bool) -> None:
    def found(short: bool) -> Iterator[Any]:
        sink = Store()
        start(sink)
        answer: Any = None

        def predict(x: Any, y: Any = 2.5, *, z: int = 3) -> Any:
            return answer

        watched = davy.watch(predict, "m:1")
        for x, named, value in calls * (5 if repeated else 1):
            answer = value
            watched(x=x, z=4) if named else watched(x, 1.5)
            if not short:
                forgotten.known = ()
        assert davy.flush()
        for one in sink.inferences:
            yield plain(dict(one.inputs)), plain(dict(one.outputs)), plain(one.embedding)
        davy.shutdown()

    forgotten = Shortcuts()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Shortcuts, "learn", lambda *_: None)
        long = list(found(short=False))
    assert sorted(map(repr, found(short=True))) == sorted(map(repr, long))


def test_answers_and_arguments_of_any_order_go_the_short_way(own_client: str) -> None:
    def predict(row: dict[str, Any], limit: float = 0.5) -> dict[str, Any]:
        return {"embedding": [row["age"], 1.0], "label": "a", "score": limit}

    watched = davy.watch(predict, "m:1")
    rng = random.Random(0)
    ages = [rng.random() for _ in range(300)]
    for age in ages:
        watched({"age": age, "city": "Graz"})
    assert davy.flush()
    found = inferences_in(own_client)
    assert [one.inputs["age"] for one in found] == ages
    assert [list(one.embedding) for one in found] == [[age, 1.0] for age in ages]  # type: ignore[arg-type]
    assert {(one.inputs["city"], one.inputs["limit"]) for one in found} == {("Graz", 0.5)}
    assert {(one.outputs["label"], one.outputs["score"]) for one in found} == {("a", 0.5)}


def test_fields_that_a_function_makes_are_not_taken_for_the_arguments(own_client: str) -> None:
    watched = davy.watch(lambda x: x, "m:1", inputs=lambda x: {"x": 2 * x})
    for i in range(50):
        watched(float(i))
    assert davy.flush()
    assert [one.inputs["x"] for one in inferences_in(own_client)] == [2.0 * i for i in range(50)]


def test_class_names_given_later_hold_for_the_short_way_too(own_client: str) -> None:
    answer = np.array([0.25, 0.75])
    first = davy.watch(lambda x: answer, "m:1")
    for _ in range(20):
        first(1.0)
    second = davy.watch(lambda x: answer, "m:1", class_names=["cat", "dog"])
    second(1.0)
    for _ in range(20):
        first(1.0)
    assert davy.flush()
    named = ["class_names" in one.outputs for one in inferences_in(own_client)]
    assert named == [False] * 20 + [True] * 21


def test_a_new_client_learns_anew() -> None:
    watched = davy.watch(lambda x: x, "m:1")
    for _ in range(2):
        sink = Store()
        start(sink)
        for i in range(30):
            watched(float(i))
        assert davy.flush()
        assert [one.outputs["value"] for one in sink.inferences] == [float(i) for i in range(30)]


class Estimator:
    """A model with the interface of an estimator; `feature_names_in_` where its columns have names."""

    def __init__(self, columns: list[str] | None = None) -> None:
        self.classes_ = np.array(["cat", "dog"])
        if columns is not None:
            self.feature_names_in_ = np.array(columns, dtype=object)

    def fit(self) -> None:
        """Be an estimator."""

    def predict_proba(self, rows: Any) -> Any:
        """Answer by the first column."""
        first = np.asarray(rows)[:, 0]
        return np.stack([first, 1 - first], axis=1)

    def predict(self, rows: Any) -> Any:
        """Answer by the first column."""
        return self.classes_[self.predict_proba(rows).argmax(axis=1)]


def going_the_long_way(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Count calls that are read the long way."""
    read, found = Watch._read, [0]

    def counting(*args: Any) -> Any:
        found[0] += 1
        return read(*args)

    monkeypatch.setattr(Watch, "_read", counting)
    return lambda: found[0]


@pytest.mark.parametrize("columns", [None, ["a", "b", "c"]])
def test_one_row_of_an_estimator_goes_the_short_way(
    own_client: str, monkeypatch: pytest.MonkeyPatch, columns: list[str] | None
) -> None:
    long = going_the_long_way(monkeypatch)
    watched = davy.watch(Estimator(columns), "m:1")
    rows = np.random.default_rng(0).uniform(size=(200, 3))
    for row in rows:
        watched.predict_proba(row[None])
        watched.predict(row[None])
    assert long() < 30
    watched.predict_proba(rows[:2])
    assert davy.flush()
    found = inferences_in(own_client)
    probs = [one for one in found if "probs" in one.outputs]
    given = [
        list(one.inputs["rows"]) if columns is None else [one.inputs[name] for name in columns]
        for one in probs
    ]
    assert np.array_equal(given, np.concatenate([rows, rows[:2]]))
    assert np.array_equal([one.outputs["probs"][0] for one in probs], given_first(given))
    labels = ["cat" if row[0] >= 0.5 else "dog" for row in rows]
    assert [one.outputs["label"] for one in probs][:200] == labels
    assert [one.outputs["label"] for one in found if "probs" not in one.outputs] == labels


def given_first(rows: list[list[float]]) -> list[float]:
    return [row[0] for row in rows]


def test_calls_in_the_scope_of_a_request_go_the_short_way(
    own_client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = going_the_long_way(monkeypatch)
    watched = davy.watch(lambda x: x, "m:1")
    ids = [f"{number:032x}" for number in range(1, 201)]
    for number, id in enumerate(ids):
        with davy.context(
            id=id, group="g", seq=number, tags={"route": "/a", "even": number % 2 == 0}, at=number
        ):
            watched(float(number))
        watched(-1.0)
    assert long() < 30
    with davy.context(tags={"route": "/b", "password": "secret"}):
        for _ in range(20):
            watched(0.5)
    assert davy.flush()
    found = inferences_in(own_client)
    inside = [one for one in found if one.group == "g"]
    assert [one.id.hex() for one in inside] == ids
    assert [(one.seq, one.at, one.inputs["x"]) for one in inside] == [(i, i, float(i)) for i in range(200)]
    assert [one.tags for one in inside] == [{"route": "/a", "even": i % 2 == 0} for i in range(200)]
    assert [one.tags for one in found if one.inputs["x"] == -1.0] == [{}] * 200
    assert [one.tags for one in found if one.inputs["x"] == 0.5] == [{"route": "/b"}] * 20


def test_sampling_by_an_id_that_is_given_holds_on_the_short_way(
    own_client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    davy.init(own_client, sample_rate=0.5)
    long = going_the_long_way(monkeypatch)
    watched = davy.watch(lambda x: x, "m:1")
    for number in range(400):
        with davy.context(id=f"{random.Random(number).getrandbits(128):032x}"):
            watched(float(number))
    captured = davy.stats()
    assert davy.flush()
    assert long() < 60
    assert captured["captured"] + captured["sampled_out"] == 400
    assert 150 < len(inferences_in(own_client)) == captured["captured"] < 250


def test_an_output_that_turns_out_to_be_no_probabilities_is_called_otherwise_on_the_short_way_too(
    own_client: str,
) -> None:
    answers = [np.array([0.5, 0.5])] * 5 + [np.array([3.0, 1.0, 2.0])] + [np.array([0.5, 0.5])] * 20
    watched = davy.watch(lambda x: answers[int(x)], "m:1")
    for number in range(len(answers)):
        watched(float(number))
    assert davy.flush()
    named = [
        next(iter(one.outputs)) for one in sorted(inferences_in(own_client), key=lambda one: one.inputs["x"])
    ]
    assert named == ["probs"] * 5 + ["value"] * 21


class Whole(Estimator):
    """One whose classes are whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.classes_ = np.array([3, 8])


def copied(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Count calls of which only a copy is taken."""
    capture, found = Client.capture_copy, [0]

    def counting(*args: Any) -> bool:
        done = capture(*args)
        found[0] += done
        return done

    monkeypatch.setattr(Client, "capture_copy", counting)
    return lambda: found[0]


def test_arrays_are_copied_as_they_were_and_encoded_later(monkeypatch: pytest.MonkeyPatch) -> None:
    sink, count = Store(), copied(monkeypatch)
    start(sink, flush_seconds=60)
    watched = davy.watch(Whole(), "m:1")
    rows, row = np.random.default_rng(0).uniform(size=(100, 3)), np.empty((1, 3))
    for number, row[0] in enumerate(rows):
        with davy.context(id=f"{number + 1:032x}", tags={"route": "/a"}, at=number):
            watched.predict_proba(row)
        watched.predict_proba(row)
        row[:] = np.nan  # the app works on in its own array
    assert davy.flush()
    assert count() > 150
    inside = [one for one in sink.inferences if one.tags]
    outside = [one for one in sink.inferences if not one.tags]
    assert [one.id for one in inside] == [(number + 1).to_bytes(16, "big") for number in range(100)]
    assert [one.at for one in inside] == list(range(100))
    assert {one.tags["route"] for one in inside} == {"/a"}
    for found in (inside, outside):
        assert np.array_equal([one.inputs["rows"] for one in found], rows)
        assert [one.outputs["label"] for one in found] == [3 if row[0] >= 0.5 else 8 for row in rows]
        assert all(one.latency_ms > 0 for one in found)
    assert len({one.id for one in sink.inferences}) == 200


@pytest.mark.parametrize("tags", [{"even": True}, {"route": "/a", "attempt": 2}])
def test_what_is_added_to_arrays_and_is_no_text_is_encoded_at_once(
    monkeypatch: pytest.MonkeyPatch, tags: dict[str, Any]
) -> None:
    sink, count = Store(), copied(monkeypatch)
    start(sink)
    watched = davy.watch(Whole(), "m:1")
    for _ in range(50):
        with davy.context(group="g", seq=4, tags=tags):
            watched.predict_proba(np.ones((1, 3)))
    assert davy.flush()
    assert count() == 0
    assert len(sink.inferences) == 50
    assert all((one.group, one.seq, one.tags) == ("g", 4, tags) for one in sink.inferences)


def test_sampling_a_hook_rules_and_the_size_hold_for_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    def captured(**overrides: Any) -> int:
        start(Store(), **overrides)
        watched = davy.watch(Whole(), "m:1")
        before = count()
        for _ in range(200):
            watched.predict_proba(np.ones((1, 3)))
        stats = davy.stats()
        assert davy.flush()
        assert stats["captured"] + stats["sampled_out"] == 200
        assert (stats["sampled_out"] > 50) == (overrides.get("sample_rate") == 0.5)
        return count() - before

    count = copied(monkeypatch)
    assert captured() > 150
    assert captured(sample_rate=0.5) > 50
    assert captured(inline_bytes=20) == 0
    assert captured(fields="inputs.rows=drop") == 0
