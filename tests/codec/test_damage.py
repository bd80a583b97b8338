"""Bytes from anywhere: an envelope, or a `DecodeError`, and nothing else."""

from __future__ import annotations

from contextlib import suppress

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from davy.codec import Encoder, decode, dump, load, pack, select, split
from davy.errors import DecodeError
from davy.event import BlobRef, Feedback

pytestmark = pytest.mark.fast


def _envelope() -> bytes:
    encoder = Encoder()
    rows = [
        {
            "number": 1.5,
            "flag": True,
            "count": 3,
            "text": "grüße",
            "bytes": b"\x00\xff",
            "image": np.arange(12, dtype=np.uint8).reshape(2, 2, 3),
            "ragged": np.zeros(size, np.float32),
            "blob": BlobRef("ab" * 32, 7, "image/png"),
            "nested": {"a": [1, "b", np.zeros(2)], "c": None},
            "maybe": None if size else 2.0,
        }
        for size in (0, 1, 2)
    ]
    for row in rows:
        encoder.encode("m:1", bytes(16), 7, row, {})
    chunks = [
        encoder.encode(
            "m:1", bytes([i] * 16), i, row, {"probs": np.ones(2)}, tags={"c": "FR"}, group="g", seq=i
        )
        for i, row in enumerate(rows)
    ]
    return pack(chunks[1:], source="s", report={"queue_full": 1})


WHOLE = _envelope()


def read_everything(data: bytes) -> None:
    """Decode and look at every byte; only a `DecodeError` may say that this is impossible."""
    with suppress(DecodeError):
        envelope = decode(data)
        for column in envelope.values():
            _ = column.values, column.present
    with suppress(DecodeError):
        select(data, [0] if decode(data).count else [])
    with suppress(DecodeError):
        split(data, [0] if decode(data).count else [])


def test_the_whole_envelope_can_be_read() -> None:
    assert [one.inputs["text"] for one in decode(WHOLE).inferences()] == ["grüße", "grüße"]


def test_a_truncated_envelope_is_refused() -> None:
    for length in range(len(WHOLE)):
        with pytest.raises(DecodeError):
            decode(WHOLE[:length])


@settings(max_examples=600)
@given(st.lists(st.tuples(st.integers(4, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_flipped_bytes_raise_nothing_but_decode_error(flips: list[tuple[int, int]]) -> None:
    damaged = bytearray(WHOLE)
    for place, value in flips:
        damaged[place] = value
    read_everything(bytes(damaged))


@pytest.mark.parametrize("flip", [0x01, 0x04, 0x80, 0xFF])
def test_no_single_flipped_byte_raises_anything_but_decode_error(flip: int) -> None:
    for place in range(4, len(WHOLE)):
        damaged = bytearray(WHOLE)
        damaged[place] ^= flip
        read_everything(bytes(damaged))


@given(st.binary(max_size=64))
@example(b"")
def test_bytes_that_never_were_an_envelope_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(data)


wires = st.recursive(
    st.one_of(st.none(), st.integers(-5, 300), st.text(max_size=3), st.binary(max_size=40)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
)
blocks = st.tuples(
    st.lists(st.lists(st.sampled_from(["inputs", "group", "x", "tags", "new"]), max_size=3), max_size=2),
    st.tuples(
        st.sampled_from(["FP32", "BOOL", "TEXT", "MSGPACK", "BLOB", "BYTES", "NULL", "FP1"]),
        st.one_of(st.none(), st.lists(st.integers(-2, 2**40), max_size=3)),
        st.booleans(),
    ),
    st.binary(max_size=24),
    st.binary(max_size=12),
    st.binary(max_size=2),
)


@settings(max_examples=300)
@given(st.integers(0, 3), st.lists(st.one_of(blocks, wires), max_size=3))
def test_envelopes_of_the_right_form_and_the_wrong_content_raise_nothing_but_decode_error(
    count: int, found: list[object]
) -> None:
    wire = [1, "m:1", "s", count, {}, bytes(40 * count), found]
    read_everything(b"DVY\x01" + msgspec.msgpack.encode(wire))


@given(st.binary(max_size=64))
def test_bytes_that_never_were_an_event_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        load(Feedback, data)


@given(st.integers(0, 200), st.integers(0, 255))
def test_a_damaged_event_raises_nothing_but_decode_error(place: int, value: int) -> None:
    data = bytearray(dump(Feedback(id=bytes(16), truth={"a": np.zeros(3)}, at=7, model="m:1")))
    data[place % len(data)] = value
    with suppress(DecodeError):
        load(Feedback, bytes(data))
