"""What becomes of a field in the archive: one rule a kind, the same in every file, for any value that can travel."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from support.inference_strategies import intact, names, values
from support.streams import BEGIN, id_of

from davy.archive.columns import field_columns
from davy.archive.tables import by_day, folder_of, inference_table, once, to_parquet
from davy.codec import Encoder, decode, pack
from davy.event import BlobRef, Column, Envelope

pytestmark = pytest.mark.fast
REFERENCE = BlobRef("ab" * 32, 5, "image/png")


def envelopes(*rows: Mapping[str, Any], own: Encoder | None = None, **more: Any) -> list[Envelope]:
    """Make an envelope a row, each by an encoder of its own, so that no layout is shared."""
    return [
        decode(pack([(own or Encoder()).encode("m:1", id_of(n), BEGIN + n, row, {}, **more)]))
        for n, row in enumerate(rows)
    ]


def table(*rows: Mapping[str, Any], **more: Any) -> Any:
    found = inference_table(envelopes(*rows, **more))
    return parquet.read_table(pa.BufferReader(to_parquet(found, model="m:1")))


def columns(*fields: Any) -> dict[str, Any]:
    """Return the columns of inferences whose one input holds these values, by what follows the field's name."""
    found = table(*({"x": field} for field in fields))
    names = [name for name in found.column_names if name.startswith("inputs.")]
    return {name.removeprefix("inputs.x"): found[name] for name in names}


NUMBER, TEXT, LIST = pa.float64(), pa.string(), pa.list_(pa.float64())


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ((1, 2.5, None), {"": (NUMBER, [1.0, 2.5, None])}),
        ((1, 2), {"": (NUMBER, [1.0, 2.0])}),
        ((np.uint8(1), 10**30), {"": (NUMBER, [1.0, 1e30])}),
        ((2**53 + 1, 3), {"": (NUMBER, [2.0**53, 3.0]), ".int64": (pa.int64(), [2**53 + 1, None])}),
        ((-(2**63), 0.5), {"": (NUMBER, [-(2.0**63), 0.5]), ".int64": (pa.int64(), [-(2**63), None])}),
        ((2**64 - 1, 2), {"": (NUMBER, [2.0**64, 2.0]), ".uint64": (pa.uint64(), [2**64 - 1, None])}),
        ((True, None, False), {"": (pa.bool_(), [True, None, False])}),
        ((True, 0.5), {"": (pa.bool_(), [True, None]), ".number": (NUMBER, [None, 0.5])}),
        (("a", None, "b\udc80"), {"": (TEXT, ["a", None, "b?"])}),
        ((b"\x00", None), {"": (pa.binary(), [b"\x00", None])}),
        (
            ("a", 3, [1, "b"]),
            {
                "": (TEXT, ["a", None, None]),
                ".number": (NUMBER, [None, 3.0, None]),
                ".json": (TEXT, [None, None, '[1, "b"]']),
            },
        ),
        (
            ([{"a": float("nan"), "b": np.ones(2)}], None),
            {"": (TEXT, ['[{"a": null, "b": [1.0, 1.0]}]', None])},
        ),
        (([1, 2], [3.5, 4], None), {"": (LIST, [[1, 2], [3.5, 4], None])}),
        ((np.ones(2, "f4"), np.ones(2, "u1"), np.ones(2)), {"": (LIST, [[1, 1], [1, 1], [1, 1]])}),
        ((np.array([True, False]),), {"": (pa.list_(pa.bool_()), [[True, False]])}),
        ((np.zeros((2, 0)),), {".empty": (TEXT, ["[[], []]"])}),
        ((np.zeros((0, 4)), []), {"": (LIST, [[], []]), ".shape": (pa.list_(pa.int64()), [[0, 4], [0]])}),
        (([], ["cat"], None), {"": (TEXT, ["[]", '["cat"]', None])}),
        ((["cat"], [[]]), {"": (TEXT, ['["cat"]', "[[]]"])}),
        (([], [1.5]), {"": (LIST, [[], [1.5]]), ".shape": (pa.list_(pa.int64()), [[0], [1]])}),
        (
            ([], [True]),
            {"": (pa.list_(pa.bool_()), [[], [True]]), ".shape": (pa.list_(pa.int64()), [[0], [1]])},
        ),
        (("a", [], [1.5]), {"": (TEXT, ["a", "[]", None]), ".numbers": (LIST, [None, None, [1.5]])}),
        (([], 1.5), {"": (NUMBER, [None, 1.5]), ".empty": (TEXT, ["[]", None])}),
        (([], None), {".empty": (TEXT, ["[]", None])}),
        (
            ([1.5], [True], 1.0),
            {
                "": (LIST, [[1.5], None, None]),
                ".booleans": (pa.list_(pa.bool_()), [None, [True], None]),
                ".number": (NUMBER, [None, None, 1.0]),
            },
        ),
    ],
)
def test_each_kind_of_value_has_a_column_and_a_type(
    fields: tuple[Any, ...], kept: dict[str, tuple[pa.DataType, list[Any]]]
) -> None:
    assert {name: (found.type, found.to_pylist()) for name, found in columns(*fields).items()} == kept


@pytest.mark.parametrize("together", [False, True])
def test_values_of_one_envelope_and_of_many_become_the_same(together: bool) -> None:
    fields = ["a", 3.5, [1, "b"], [1.5, 2.5], 2**60, REFERENCE, None, b"x", [2.5]]
    made = inference_table(
        envelopes(*({"x": field} for field in fields), own=Encoder() if together else None)
    )
    row = {name: made[name].to_pylist() for name in made.column_names if name.startswith("inputs.")}
    assert row.pop("inputs.x.blob")[5]["hash"] == REFERENCE.hash
    assert row == {
        "inputs.x": ["a", *[None] * 8],
        "inputs.x.number": [None, 3.5, None, None, 2.0**60, *[None] * 4],
        "inputs.x.int64": [None, None, None, None, 2**60, *[None] * 4],
        "inputs.x.json": [None, None, '[1, "b"]', *[None] * 6],
        "inputs.x.numbers": [None, None, None, [1.5, 2.5], None, None, None, None, [2.5]],
        "inputs.x.shape": [None, None, None, [2], None, None, None, None, [1]],
        "inputs.x.bytes": [*[None] * 7, b"x", None],
    }


def test_nan_is_a_value_and_none_is_missing() -> None:
    found = columns(float("nan"), None, 1.0)[""]
    assert found.null_count == 1
    assert np.isnan(found[0].as_py())


def test_a_field_may_come_and_go() -> None:
    found = table({"a": 1}, {"b": "x"}, {"a": 2, "c": [1.0, 2.0]}, {})
    assert found["inputs.a"].to_pylist() == [1, None, 2, None]
    assert found["inputs.b"].to_pylist() == [None, "x", None, None]
    assert found["inputs.c"].to_pylist() == [None, None, [1, 2], None]


def test_a_field_without_any_value_has_no_column() -> None:
    assert "inputs.a" not in table({"a": None}, {}).column_names


def test_the_shape_of_tensors_is_in_the_metadata_or_in_a_column_where_it_differs() -> None:
    same = table({"x": np.zeros((2, 3))}, {"x": np.ones((2, 3))})
    assert json.loads(same.schema.field("inputs.x").metadata[b"davy.shape"]) == [2, 3]
    assert "inputs.x.shape" not in same.column_names
    fields = [np.arange(6.0).reshape(2, 3), None, np.arange(2.0)]
    for encoder in (None, Encoder()):  # a shape an envelope, and several in one layout
        made = inference_table(envelopes(*({"x": field} for field in fields), own=encoder))
        assert made["inputs.x.shape"].to_pylist() == [[2, 3], None, [2]]
        assert made["inputs.x"].to_pylist() == [[0, 1, 2, 3, 4, 5], None, [0, 1]]


def test_references_have_a_column_beside_what_is_inline() -> None:
    found = table({"x": REFERENCE}, {"x": np.ones(2)}, {"x": None})
    named = {"hash": REFERENCE.hash, "length": 5, "media_type": "image/png", "about": None}
    assert found["inputs.x.blob"].to_pylist() == [named, None, None]
    assert found["inputs.x"].to_pylist() == [None, [1.0, 1.0], None]


def test_what_is_davys_own_keeps_its_types() -> None:
    made = table(
        {"x": 1},
        embedding=np.ones(3, "f4"),
        tags={"country": "nz"},
        group="video",
        seq=2**60 + 1,
        alternatives={"m:2": {"probs": [0.5, 0.5]}},
        latency_ms=1.5,
        rate=0.25,
    )
    (row,) = made.to_pylist()
    assert (row["id"], row["at"].value) == (id_of(0).hex(), BEGIN)
    assert (row["tags.country"], row["group"], row["seq"]) == ("nz", "video", 2**60 + 1)
    assert row["alternatives.m:2.probs"] == [0.5, 0.5]
    assert (row["latency_ms"], row["rate"], row["source"]) == (1.5, 0.25, "")
    assert made.schema.field("at").type == pa.timestamp("ns", tz="UTC")
    assert table({"x": 1})["latency_ms"].to_pylist() == [None]


def test_no_name_hides_another() -> None:
    (found,) = envelopes({"x": np.ones(1)}, alternatives={"a.b": {"c": 1.0}, "a": {"b.c": 2.0}})
    row = inference_table([found]).to_pylist()[0]
    assert sorted(value for name, value in row.items() if name.startswith("alternatives.")) == [1.0, 2.0]


@given(st.lists(st.dictionaries(names, values, max_size=3), min_size=1, max_size=4), st.booleans())
def test_whatever_travels_can_be_archived(rows: list[dict[str, Any]], together: bool) -> None:
    found = table(*rows, own=Encoder() if together else None)
    assert found.num_rows == len(rows)
    assert found["id"].to_pylist() == [id_of(n).hex() for n in range(len(rows))]


@given(st.lists(st.one_of(st.none(), st.integers(-(2**53), 2**53), st.floats()), min_size=1, max_size=6))
def test_numbers_come_back_as_they_were(numbers: list[float | None]) -> None:
    found = columns(*numbers)
    if any(number is not None for number in numbers):
        assert all(map(intact, numbers, found[""].to_pylist()))
        assert found.keys() == {""}
    else:
        assert found == {}


@given(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**64 - 1), st.floats()), min_size=1, max_size=6))
def test_whole_numbers_come_back_exactly(numbers: list[float | None]) -> None:
    found = columns(*numbers)
    exact = [found[name].to_pylist() for name in (".uint64", ".int64", "") if name in found]
    for place, number in enumerate(numbers):
        kept = next((values[place] for values in exact if values[place] is not None), None)
        assert intact(number, kept)
        assert number is None or isinstance(number, float) or int(kept) == number


def test_a_list_that_no_app_could_send_is_json() -> None:
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]
    values = np.empty(2, object)
    values[:] = "a", deep
    ((_, _, _), (kind, array, _)) = field_columns([Column(values)], [2], np.zeros(2, np.int64))
    assert (kind, array.to_pylist()) == ("json", [None, "[" * 201 + "]" * 201])


def test_a_file_holds_an_id_once_and_rows_of_one_day() -> None:
    day = 86_400 * 10**9
    encoder = Encoder()
    times = [(1, 0), (2, day - 1), (1, 0), (3, day), (4, -1)]
    chunks = [encoder.encode("m:1", id_of(n), at, {"x": n}, {}) for n, at in times]
    found = {
        name: part["inputs.x"].to_pylist()
        for name, part in by_day(once(inference_table([decode(pack(chunks))]), ["id"]))
    }
    assert found == {"1969-12-31": [4], "1970-01-01": [1, 2], "1970-01-02": [3]}


def test_folders_are_safe_on_any_file_system_and_tell_models_apart() -> None:
    models = [
        "fraud:3",
        "fraud_3",
        "a/b:1",
        "..",
        "größe:1",
        "x" * 401,
        "x" * 402,
        "%:ü" * 130,
        "%:ü" * 131,
        "",
    ]
    folders = [folder_of(model) for model in models]
    assert len(set(folders)) == len(models)
    assert all(
        len(folder) < 255 and folder.isascii() and not set(folder) & set('/\\:*?"<>|') for folder in folders
    )


def test_equal_tables_give_equal_files() -> None:
    rows = [{"x": 1.5, "y": "a"}, {"x": [1, 2]}]
    first, second = (to_parquet(inference_table(envelopes(*rows)), model="m:1") for _ in range(2))
    assert first == second
