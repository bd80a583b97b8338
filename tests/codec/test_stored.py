"""What stands for a value that lies elsewhere, or nowhere: references with what is said of it, and summaries."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from davy.codec import Encoder, decode, dump_any, load_any, pack, references, select
from davy.codec._plain import load_reference
from davy.event import BlobRef, Summary

pytestmark = pytest.mark.fast
ABOUT = {"shape": [3, 2], "dtype": "float32", "mean": 0.5, "areas": {0: 0.25, 7: 0.75}, "rows": [1.0, 2.0]}
REFERENCE = BlobRef("ab" * 32, 7, "image/png", ABOUT)
SUMMARY = Summary({"shape": [3, 2], "dtype": "float32", "hash": "cd" * 32, "mean": 0.5})


def test_what_is_said_of_a_payload_travels_beside_its_reference() -> None:
    encoder = Encoder()
    rows = [REFERENCE, SUMMARY, BlobRef("ef" * 32, 1, "text/plain"), None]
    data = pack([encoder.encode("m:1", bytes([i] * 16), i, {"x": row}, {}) for i, row in enumerate(rows)])
    for found in (decode(data), decode(select(data, [0, 1, 2, 3]))):
        first, second, third, fourth = found["inputs", "x"].values
        assert (first, first.about) == (REFERENCE, ABOUT)
        assert (type(second), second) == (Summary, SUMMARY)
        assert (third.about, fourth) == ({}, None)
    assert "ab" * 32 in references(data)


def test_references_and_summaries_stand_beside_arrays_in_one_column() -> None:
    encoder = Encoder()
    rows = [np.ones((3, 2)), REFERENCE, SUMMARY]
    chunks = [encoder.encode("m:1", bytes([i] * 16), i, {"x": row}, {}) for i, row in enumerate(rows)]
    found = [decode(pack([chunk]))["inputs", "x"].values[0] for chunk in chunks]
    assert found[0].shape == (3, 2)
    assert (found[1].about, found[2], type(found[2])) == (ABOUT, SUMMARY, Summary)
    again = load_any(dump_any([REFERENCE, SUMMARY]))
    assert (again[0].about, again[1], type(again[1])) == (ABOUT, SUMMARY, Summary)


def test_a_summary_is_one_value_and_no_mapping_of_fields() -> None:
    chunk = Encoder().encode("m:1", bytes(16), 1, {"x": SUMMARY, "y": {"a": 1}}, {})
    assert set(decode(pack([chunk])).keys()) == {("inputs", "x"), ("inputs", "y.a")}


def test_parts_that_a_newer_davy_adds_to_a_reference_are_passed_over() -> None:
    newer = msgspec.msgpack.encode(["ab" * 32, 7, "image/png", {"shape": [1]}, "more"])
    found = load_reference(newer)
    assert (found.hash, found.about) == ("ab" * 32, {"shape": [1]})


def test_equal_payloads_are_equal_whatever_is_said_of_them() -> None:
    assert {REFERENCE, BlobRef("ab" * 32, 7, "image/png")} == {REFERENCE}
