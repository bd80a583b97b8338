"""A batch of n is n single inferences, and rows can be taken out of an envelope."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.inference_strategies import OIP_DTYPES, intact, names, travelled, values

from davy.codec import Encoder, decode, pack, select, split
from davy.errors import InvalidInference
from davy.event import Inference
from davy.fields import flatten, is_missing
from davy.fields.listed import Lists

pytestmark = pytest.mark.fast


def ids(count: int) -> list[bytes]:
    return [row.to_bytes(16, "big") for row in range(count)]


def object_array(rows: list[Any]) -> Any:
    array = np.empty(len(rows), dtype=object)
    array[:] = rows
    return array


@st.composite
def columns(draw: st.DrawFn, count: int) -> dict[str, Any]:
    """Fields of `count` rows: numbers of any dtype and shape, text and objects of any kind."""
    dtype = (
        st.sampled_from(OIP_DTYPES).map(np.dtype).map(lambda d: d.newbyteorder(draw(st.sampled_from("<>"))))
    )
    shape = hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3).map(lambda rest: (count, *rest))
    objects = st.lists(values, min_size=count, max_size=count).map(object_array)
    texts = hnp.arrays(np.dtype("U3"), count)
    return draw(st.dictionaries(names, st.one_of(hnp.arrays(dtype, shape), objects, texts), max_size=3))


@given(st.integers(1, 5), st.data())
def test_a_batch_and_single_inferences_give_equal_rows(count: int, data: st.DataObject) -> None:
    inputs, outputs = data.draw(columns(count)), data.draw(columns(count))
    more: dict[str, Any] = {"tags": {"country": "FR", "n": 3}, "group": "session"}
    batch = Encoder().encode_batch(
        "m:1", b"".join(ids(count)), 7, inputs, outputs, seq=4, latency_ms=2.0, **more
    )
    found, opened = travelled([batch]), Lists().open_rows(outputs)
    for row, (id, one) in enumerate(zip(ids(count), found, strict=True)):
        assert (one.id, one.at, one.latency_ms, one.seq, one.group) == (id, 7, 2.0, 4 + row, "session")
        assert dict(one.tags) == more["tags"]
        for given_columns, section in ((inputs, one.inputs), (opened, one.outputs)):
            given_row = {name: array[row] for name, array in given_columns.items()}
            given_row, there = (
                {
                    name: value
                    for name, value in flatten(fields).items()
                    if not is_missing(np.asarray(value, object)[()])
                }
                for fields in (given_row, section)
            )
            assert intact(given_row, there), (given_row, section)


def test_a_batch_and_single_inferences_of_numbers_are_kept_in_the_same_columns() -> None:
    x, score = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([0.5, 1.5])
    batch = decode(pack([Encoder().encode_batch("m:1", b"".join(ids(2)), 7, {"x": x}, {"score": score})]))
    encoder = Encoder()
    singles = decode(
        pack([encoder.encode("m:1", i, 7, {"x": x[k]}, {"score": score[k]}) for k, i in enumerate(ids(2))])
    )
    assert set(batch) == set(singles)
    assert {path: column.values.dtype for path, column in batch.items()} == {
        path: column.values.dtype for path, column in singles.items()
    }
    assert str(list(batch.inferences())) == str(list(singles.inferences()))


def test_large_unsigned_integers_of_a_batch_do_not_turn_negative() -> None:
    x = np.array([1, 2**63], np.uint64)
    found = travelled([Encoder().encode_batch("m:1", b"".join(ids(2)), 7, {"x": x}, {})])
    assert [one.inputs["x"] for one in found] == [1, 2**63]


@pytest.mark.parametrize(
    ("many", "inputs", "field"),
    [
        (b"", {"x": np.zeros(0)}, "ids"),
        (bytes(17), {"x": np.zeros(1)}, "ids"),
    ],
)
def test_a_batch_that_does_not_fit_together_is_refused(many: bytes, inputs: Any, field: str) -> None:
    with pytest.raises(InvalidInference) as refused:
        Encoder().encode_batch("m:1", many, 7, inputs, {})
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (np.zeros(3), "length"),
        (np.float64(1), "length"),
        (np.zeros(1, np.complex64), "complex"),
        (object_array([object()]), "type"),
    ],
)
def test_a_column_that_cannot_travel_is_left_out_and_counted_and_the_others_arrive(
    column: Any, reason: str
) -> None:
    chunk = Encoder().encode_batch("m:1", bytes(16), 7, {"x": column, "y": np.ones(1)}, {})
    envelope = decode(pack([chunk]))
    assert envelope.report == {f"field:inputs.x:{reason}": 1}
    assert envelope.inference(0).inputs.get("x") is None
    assert envelope.inference(0).inputs["y"] == 1.0


@st.composite
def envelopes(draw: st.DrawFn) -> tuple[bytes, list[Inference]]:
    """The bytes of an envelope with fields of every width, some missing, and its inferences."""
    count = draw(st.integers(1, 6))
    cells = {
        "flag": st.booleans(),
        "number": st.one_of(st.none(), st.floats()),
        "text": st.one_of(st.none(), st.text(max_size=4)),
        "tensor": hnp.arrays(np.float32, (2, 2)),
        "empty": hnp.arrays(np.int8, (0, 3)),
        "ragged": hnp.arrays(np.int16, hnp.array_shapes(max_dims=2, max_side=3)),
    }
    inputs = {
        name: object_array(draw(st.lists(cell, min_size=count, max_size=count)))
        for name, cell in cells.items()
    }
    data = pack(
        [Encoder().encode_batch("m:1", b"".join(ids(count)), 7, inputs, {})], report={"queue_full": 2}
    )
    return data, list(decode(data).inferences())


@given(envelopes(), st.data())
def test_select_gives_the_chosen_rows_in_the_chosen_order(
    envelope: tuple[bytes, list[Inference]], data: st.DataObject
) -> None:
    packed, inferences = envelope
    rows = data.draw(st.lists(st.integers(0, len(inferences) - 1), max_size=8))
    chosen = decode(select(packed, rows))
    assert chosen.report == {}
    assert [str(one) for one in chosen.inferences()] == [str(inferences[row]) for row in rows]


@given(envelopes(), st.data())
def test_split_gives_what_select_gives_of_each_row(
    envelope: tuple[bytes, list[Inference]], data: st.DataObject
) -> None:
    packed, inferences = envelope
    rows = data.draw(st.lists(st.integers(0, len(inferences) - 1), max_size=8))
    assert split(packed, rows) == [select(packed, [row]) for row in rows]


def test_select_and_split_refuse_rows_that_are_not_there() -> None:
    data = pack([Encoder().encode("m:1", bytes(16), 7, {"x": 1.0}, {})])
    for function in (select, split):
        with pytest.raises(IndexError, match="envelope of 1"):
            function(data, [1])


def test_the_report_of_drops_stays_with_its_envelope() -> None:
    data = pack([Encoder().encode("m:1", bytes(16), 7, {"x": 1.0}, {})], report={"queue_full": 2})
    assert decode(data).report == {"queue_full": 2}
