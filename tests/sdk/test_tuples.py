"""Tuples are records by place, and of a batch a row that failed changes nothing about the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import pytest
from support.sdk_rig import inferences_in

import davy
from davy.event import Inference

pytestmark = pytest.mark.fast

ANSWER: Final = {"label": "cat", "score": 0.3}


class Both(NamedTuple):
    label: str
    score: float


TUPLES: Final[dict[str, tuple[Any, Mapping[str, Any]]]] = {
    "class and confidence": ((7, 0.47), {"output_0": 7, "output_1": 0.47}),
    "of numpy": ((np.int64(7), np.float32(0.5)), {"output_0": 7, "output_1": 0.5}),
    "distance and verdict": ((0.3, True), {"output_0": 0.3, "output_1": True}),
    "name and confidence": (("cat", 0.4), {"label": "cat", "output_1": 0.4}),
    "two numbers": ((3.0, 4.5), {"output_0": 3.0, "output_1": 4.5}),
    "two texts": (("yes", "because"), {"output_0": "yes", "output_1": "because"}),
    "a distribution": ((0.25, 0.75), {"probs": [0.25, 0.75]}),
    "lists": (([4, 5], [0.9, 0.05]), {"output_0": [4, 5], "output_1": [0.9, 0.05]}),
    "names and scores": ((["cat", "dog"], [0.9, 0.4]), {"output_0": ["cat", "dog"], "output_1": [0.9, 0.4]}),
    "detections": (
        ([[1.0, 2.0, 3.0, 4.0]], [0.9], ["cat"]),
        {"output_0": [[1.0, 2.0, 3.0, 4.0]], "output_1": [0.9], "output_2": ["cat"]},
    ),
    "an answer and a number": ((ANSWER, 12.5), {**ANSWER, "output_1": 12.5}),
    "a number and an answer": ((12.5, ANSWER), {**ANSWER, "output_0": 12.5}),
    "an answer and more": ((ANSWER, {"ms": 3.0, "on": "cpu"}), {**ANSWER, "output_1.ms": 3.0, "output_1.on": "cpu"}),
    "a vector and more": ((np.ones(3), {"ms": 3.0}), {"output_0": [1.0, 1.0, 1.0], "ms": 3.0}),
    "a named tuple": (Both("cat", 0.3), ANSWER),
    "names that are places": (({"output_1": 1.0}, 2.0), {"output_0.output_1": 1.0, "output_1": 2.0}),
}  # fmt: skip


def told(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def captured(url: str) -> list[Inference]:
    assert davy.flush()
    return inferences_in(url)


def outputs(url: str) -> list[dict[str, Any]]:
    return [{name: told(value) for name, value in each.outputs.items()} for each in captured(url)]


@pytest.mark.parametrize("name", TUPLES)
def test_members_of_a_tuple_are_answers_by_place_for_one_call_and_for_rows(
    own_client: str, name: str
) -> None:
    answer, expected = TUPLES[name]
    davy.watch(lambda _: answer, "m:1")(1.0)
    davy.watch(lambda rows: [answer] * len(rows), "m:1", batched=True)(np.ones((3, 2)))
    found = outputs(own_client)
    assert len(found) == 4
    for each in found:
        assert each == expected


def test_a_batch_of_columns_in_a_tuple_is_called_as_one_answer_is(own_client: str) -> None:
    columns = ({"label": ["a", "b", "c"], "score": [0.1, 0.2, 0.3]}, [1.0, 2.0, 3.0])
    davy.watch(lambda _: columns, "m:1", batched=True)(np.ones((3, 2)))
    assert [sorted(each) for each in outputs(own_client)] == [["label", "output_1", "score"]] * 3


def test_the_text_of_a_tuple_is_the_label_for_good(own_client: str) -> None:
    answers = iter([("cat", None), (None, "no such picture"), ("dog", None)])
    watched = davy.watch(lambda _: next(answers), "m:1")
    for _ in range(3):
        watched(1.0)
    told = [
        {name: value for name, value in each.items() if value is not None} for each in outputs(own_client)
    ]
    assert told == [{"label": "cat"}, {"output_1": "no such picture"}, {"label": "dog"}]


@pytest.mark.parametrize("failed", [None, ValueError("no such picture")])
@pytest.mark.parametrize("good", [ANSWER, ("cat", 0.3), 0.25, "cat", Both("cat", 0.3)])
@pytest.mark.parametrize("first", [True, False])
def test_a_row_that_failed_is_missing_and_the_others_keep_their_names(
    own_client: str, failed: Any, good: Any, first: bool
) -> None:
    watched = davy.watch(lambda rows: [good if row else failed for row in rows], "m:1", batched=True)
    batches = [[1, 0], [0, 1, 1], [1, 1]]
    for rows in batches if first else batches[::-1]:
        watched(rows)
    found = [
        {name: value for name, value in each.items() if value is not None} for each in outputs(own_client)
    ]
    names = {tuple(sorted(each)) for each in found if each}
    assert len(found) == 7
    assert (sum(not each for each in found), len(names)) == (2, 1)


LABELS: Final = [["cust-7", "cust-2", "cust-5"], [0, 1, 2], pd.date_range("2026-01-01", periods=3)]
COLUMNS: Final[dict[str, Callable[[Any], Any]]] = {
    "a column": lambda x: x * 2,
    "in a mapping": lambda x: {"p": x * 2},
    "in a tuple": lambda x: (x * 2, x > 1),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_labels_of_rows_change_nothing(own_client: str, name: str) -> None:
    for labels in LABELS:
        frame = pd.DataFrame({"x": [1.0, 2.0, 3.0]}, index=labels)
        davy.watch(lambda d: COLUMNS[name](d["x"]), "m:1", batched=True)(frame)
    found = captured(own_client)
    assert [each.inputs for each in found] == [{"x": value} for value in (1.0, 2.0, 3.0)] * 3
    assert [each.outputs for each in found[:3]] == [each.outputs for each in found[3:6]]
    assert [each.outputs for each in found[:3]] == [each.outputs for each in found[6:]]
    assert not davy.stats()["left_out"]
