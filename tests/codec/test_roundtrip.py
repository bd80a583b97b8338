"""What is captured is what is read, whatever it is and whatever stood in the field before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.inference_strategies import (
    anything_textual,
    containers,
    intact,
    names,
    tensors,
    travelled,
    values,
)

from davy.codec import Chunk, Encoder, decode, pack, select, split
from davy.errors import InvalidInference
from davy.fields import flatten
from davy.fields.listed import Lists
from davy.sdk.calls.batches import objects

pytestmark = pytest.mark.fast

ID = bytes(range(16))


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows with the same names, every value of any kind."""
    columns = draw(st.lists(names, unique=True, max_size=4))
    return draw(st.lists(st.fixed_dictionaries(dict.fromkeys(columns, values)), min_size=1, max_size=5))


@settings(max_examples=300)
@given(tables(), tables())
@example([{}], [{"0": {"0": [{"0": None, "00": None}]}}])
def test_inputs_and_outputs_come_back_as_given(inputs: list[Any], outputs: list[Any]) -> None:
    encoder, lists = Encoder(), Lists()
    pairs = list(zip(inputs, outputs, strict=False))
    chunks = [encoder.encode("m:1", ID, 7, given_in, given_out) for given_in, given_out in pairs]
    for (given_in, given_out), found in zip(pairs, travelled(chunks), strict=True):
        assert intact(flatten(given_in), dict(found.inputs)), (given_in, found.inputs)
        opened = lists.open(flatten(lists.open(given_out)))  # a list of records may stand in a mapping
        assert intact(opened, dict(found.outputs)), (given_out, found.outputs)


@given(
    st.one_of(st.none(), tensors()),
    st.dictionaries(names, values, max_size=3),
    st.one_of(st.none(), anything_textual),
    st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
    st.dictionaries(names, st.dictionaries(names, values, min_size=1, max_size=2), max_size=2),
)
def test_embedding_tags_group_seq_and_alternatives_come_back_as_given(
    embedding: Any,
    tags: dict[str, Any],
    group: str | None,
    seq: int | None,
    alternatives: dict[str, dict[str, Any]],
) -> None:
    more = {"embedding": embedding, "tags": tags, "group": group, "seq": seq, "alternatives": alternatives}
    (found,) = travelled([Encoder().encode("m:1", ID, 7, {"x": 1.0}, {}, **more)])
    assert intact(embedding, found.embedding)
    assert intact(tags, dict(found.tags))
    flat = {model: flatten(Lists().open(fields)) for model, fields in alternatives.items()}
    assert intact({model: fields for model, fields in flat.items() if fields}, dict(found.alternatives))
    assert (found.group, found.seq) == (group, seq)


@given(
    st.binary(min_size=16, max_size=16),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.floats(0, 1),
    st.dictionaries(names, st.integers(0, 2**40), max_size=3),
)
def test_id_time_latency_rate_and_report_come_back_as_given(
    id: bytes, at: int, latency_ms: float, rate: float, report: dict[str, int]
) -> None:
    chunk = Encoder().encode("m:1", id, at, {"x": 1}, {}, latency_ms=latency_ms, rate=rate)
    envelope = decode(pack([chunk], source="here", report=report))
    found = envelope.inference(0)
    assert (found.id, found.at, found.latency_ms, found.rate) == (id, at, latency_ms, rate)
    assert (envelope.source, envelope.report) == ("here", report)


@given(st.lists(tensors(2), min_size=2, max_size=6))
@example([np.array(False), np.array(False), np.array(2**53 + 1, np.uint64), np.array(0.0, np.float16)])
def test_tensors_of_many_shapes_share_an_envelope_once_the_field_is_known_to_vary(arrays: list[Any]) -> None:
    encoder = Encoder()
    for array in (
        arrays * 2
    ):  # a layout widens step by step: from booleans to integers, to numbers, to anything
        encoder.encode("m:1", ID, 7, {"x": array}, {})
    chunks = [encoder.encode("m:1", ID, 7, {"x": array}, {}) for array in arrays]
    assert len({id(chunk.layout) for chunk in chunks}) == 1
    assert all(
        intact(array, found.inputs["x"]) for array, found in zip(arrays, travelled(chunks), strict=True)
    )


LARGE = 2**60 + 1
SHOT = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


@pytest.mark.parametrize(
    "given",
    [
        [LARGE, 1.5, LARGE, 2**53 + 1, 3],
        [float("nan"), LARGE, None, LARGE],
        [2**64 - 1, 1, -1, 2**63],
        [SHOT, SHOT / np.float32(255), SHOT, SHOT[:2]],
        [[LARGE, 1], [1.5, 2.0], [LARGE, 2]],
    ],
    ids=["integers and floats", "gaps", "without a sign", "pictures", "lists"],
)
def test_what_stood_in_a_field_before_costs_no_value_its_digits_or_its_dtype(given: list[Any]) -> None:
    encoder = Encoder()
    singles = travelled([encoder.encode("m:1", ID, 7, {"x": value}, {"y": 1.0}) for value in given])
    rows = objects(given)
    batch = travelled([Encoder().encode_batch("m:1", ID * len(given), 7, {"x": rows}, {})])
    for value, *found in zip(given, singles, batch, strict=True):
        for one in found:
            assert np.array_equal(one.inputs["x"], value, equal_nan=type(value) is float)
            assert type(value) is list or getattr(one.inputs["x"], "dtype", 0) == getattr(value, "dtype", 0)


@given(containers.filter(lambda other: not isinstance(other, dict)))
def test_layouts_settle_so_that_a_flickering_field_costs_few_envelopes(other: Any) -> None:
    encoder, kinds = Encoder(), [1.0, "text", other, None, b"bytes", True, np.zeros(3)]
    for _ in range(3):
        chunks = [encoder.encode("m:1", ID, 7, {"x": value}, {}) for value in kinds]
    assert len({id(chunk.layout) for chunk in chunks}) == 1


def test_equal_inputs_and_outputs_named_alike_are_kept_apart() -> None:
    encoder = Encoder()
    first = encoder.encode("m:1", ID, 7, {"a": 1.0, "b": 2.0}, {"c": 3.0})
    second = encoder.encode("m:1", ID, 7, {"a": 4.0}, {"b": 5.0, "c": 6.0})
    found = [travelled([chunk])[0] for chunk in (first, second)]
    assert [dict(one.inputs) for one in found] == [{"a": 1.0, "b": 2.0}, {"a": 4.0}]
    assert [dict(one.outputs) for one in found] == [{"c": 3.0}, {"b": 5.0, "c": 6.0}]


def test_a_tag_is_never_taken_for_an_output_of_the_same_shape_of_names() -> None:
    encoder = Encoder()
    tagged = encoder.encode("m:1", ID, 7, {"a": 1.0}, {}, tags={"b": 2.0})
    answered = encoder.encode("m:1", ID, 7, {"a": 1.0}, {"b": 2.0})
    assert [(dict(one.tags), dict(one.outputs)) for one in travelled([tagged, answered])] == [
        ({"b": 2.0}, {}),
        ({}, {"b": 2.0}),
    ]


def test_the_size_of_a_chunk_is_the_bytes_it_holds() -> None:
    encoder = Encoder()
    rows = [{"x": 1.0}, {"x": np.zeros(5, np.float32), "y": 2}, {"t": "text"}, {"x": None, "y": 1}]
    for row in rows * 2:
        chunk = encoder.encode("m:1", ID, 7, row, {"flag": True})
        assert chunk.size == sum(map(len, chunk.parts))


def test_a_chunk_keeps_the_values_of_its_moment() -> None:
    array = np.arange(3.0)
    chunk: Chunk = Encoder().encode("m:1", ID, 7, {"x": array}, {})
    array[:] = -1
    assert travelled([chunk])[0].inputs["x"].tolist() == [0, 1, 2]


def _cycle() -> list[Any]:
    cycle: list[Any] = []
    cycle.append({"deeper": cycle})
    return cycle


class _Hostile(Sequence[int]):
    def __len__(self) -> int:
        raise RuntimeError("no")

    def __getitem__(self, place: Any) -> Any:
        raise RuntimeError("no")

    @property
    def __dict__(self) -> Any:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (object(), "type"),
        (1j, "complex"),
        (np.zeros(2, np.complex64), "complex"),
        (_cycle(), "nesting"),
        ([{"a": 1}] * 30_000, "size"),
        (print, "type"),
        ((x for x in ()), "type"),
        (_Hostile(), "unreadable"),
    ],
)
def test_what_cannot_travel_is_missing_and_counted_by_field_and_reason_and_everything_beside_it_arrives(
    value: Any, reason: str
) -> None:
    encoder = Encoder()
    for _ in range(2):  # the second time over the remembered layout
        envelope = decode(pack([encoder.encode("m:1", ID, 7, {"x": value, "y": 2.5}, {"label": "a"})]))
        found = envelope.inference(0)
        assert (found.inputs, found.outputs) == ({"x": None, "y": 2.5}, {"label": "a"})
        assert envelope.report == {f"field:inputs.x:{reason}": 1}


def test_names_that_are_no_unicode_and_fields_beyond_the_bound_are_counted() -> None:
    many = {"\ud800": 1.0} | {str(i): 1.0 for i in range(5000)}
    envelope = decode(pack([Encoder().encode("m:1", ID, 7, many, {3: 1.0})]))
    found = envelope.inference(0)
    assert (len(found.inputs), found.outputs) == (4095, {"3": 1.0})
    assert envelope.report == {"field:inputs.*:count": 905, "field:inputs.*:name": 1}


@pytest.mark.parametrize("names", [["cat", "dog"], ("cat", "dog"), np.array(["cat", "dog"])])
def test_class_names_are_written_once_an_envelope_and_read_with_every_inference(names: Any) -> None:
    encoder, told = Encoder(), Encoder()
    told.describe("m:1", {"class_names": names})
    probs = np.array([0.25, 0.75])
    sent = [
        encoder.encode("m:1", ID, i, {"x": 1.0}, {"probs": probs, "class_names": names}) for i in range(50)
    ]
    batch = {"probs": np.tile(probs, (50, 1)), "class_names": [names] * 50}
    data = [
        pack(sent[1:]),
        pack([told.encode("m:1", ID, i, {"x": 1.0}, {"probs": probs}) for i in range(49)]),
        pack([Encoder().encode_batch("m:1", ID * 50, 7, {"x": np.ones(50)}, batch)]),
    ]
    for each in data:
        assert each.count(b"class_names") == 1
        assert decode(each).inference(7).outputs["class_names"] == ["cat", "dog"]
        assert decode(select(each, [3])).inference(0).outputs["class_names"] == ["cat", "dog"]
        assert decode(split(each, [3])[0]).inference(0).outputs["class_names"] == ["cat", "dog"]


@pytest.mark.parametrize("system", [{"at": 2**70}, {"latency_ms": "slow"}, {"rate": None}])
def test_system_values_that_do_not_fit_are_refused(system: dict[str, Any]) -> None:
    encoder, rest = Encoder(), {"at": 7} | system
    at = rest.pop("at")
    with pytest.raises(InvalidInference, match="64-bit"):
        encoder.encode("m:1", ID, at, {"x": 1.0}, {}, **rest)


def test_records_in_an_answer_are_columns_also_where_a_list_of_another_kind_came_first() -> None:
    encoder = Encoder()
    records = [{"word": "a", "sure": 0.5}, {"word": "b", "sure": 0.7}]
    answers: list[Any] = [["x", 1], [], records, []]
    chunks = [encoder.encode("m:1", ID, 7, {"x": 1}, {"value": answer}) for answer in answers]
    found = [set(one.outputs) for one in travelled(chunks)]
    assert found == [{"value"}, {"value"}, {"word", "sure"}, {"word", "sure"}]
    shadow = encoder.encode("m:2", ID, 7, {"x": 1}, {}, alternatives={"other": {"value": records}})
    assert travelled([shadow])[0].alternatives["other"].keys() == {"word", "sure"}
