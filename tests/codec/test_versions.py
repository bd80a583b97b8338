"""Today's reader reads every released version, and today's writer still writes it byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from davy.codec import Encoder, decode, dump, load, pack
from davy.errors import DecodeError
from davy.event import VERSION, BlobRef, Draw, Feedback, Flag

pytestmark = pytest.mark.fast

GOLDEN = Path(__file__).parent / "golden"
ID = bytes(range(16))


def scalars() -> bytes:
    encoder = Encoder()
    rows: list[dict[str, Any]] = [
        {"age": 41.5, "count": 3, "member": True},
        {"age": None, "count": 4, "member": False},
    ]
    chunks = [
        encoder.encode(
            "fraud:3",
            bytes([row] * 16),
            1_700_000_000_000_000_000 + row,
            inputs,
            {"value": 0.25},
            latency_ms=1.5,
            rate=0.5,
        )
        for row, inputs in enumerate(rows)
    ]
    return pack(chunks, source="host:1", report={"queue_full": 3})


def tensors() -> bytes:
    encoder = Encoder()
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    probs = np.array([0.25, 0.75], np.float32)
    return pack([
        encoder.encode(
            "digits:1", ID, 7, {"image": image}, {"probs": probs}, embedding=np.array([1.0, -0.0]),
            tags={"country": "FR"}, group="session", seq=4, alternatives={"digits:2": {"probs": probs[::-1]}},
        )
    ])  # fmt: skip


def batch() -> bytes:
    inputs = {
        "x": np.array([0.1, 0.2], np.float32),
        "y": np.array([0.1, 0.2]),
        "n": np.array([3, 4], np.int16),
    }
    return pack([Encoder().encode_batch("table:1", ID + ID, 7, inputs, {"value": np.ones(2, np.float16)})])


def others() -> bytes:
    ids, objects = ID + ID, np.empty(2, object)
    objects[:] = [{"a": [1, None, "\ud800"]}, BlobRef("ab", 7, "image/png")]
    inputs = {
        "text": np.array(["grüße", ""]),
        "bytes": np.array([b"\x00\x01", b"\x02"], object),
        "any": objects,
        "ragged": np.array([np.zeros((1, 2)), np.zeros(0)], object),
        "blob": np.array([BlobRef("cd", 8, "text/plain"), None], object),
        "nothing": np.array([None, None]),
    }
    return pack([Encoder().encode_batch("texts:1", ids, 7, inputs, {})])


def feedback() -> bytes:
    return dump(
        Feedback(id=ID, truth={"label": "cat", "box": np.array([1, 2])}, at=7, kind="override", model="m:1")
    )


def flag() -> bytes:
    draws = [Draw("control", probability=0.02), Draw("msp", probability=1.0, score=0.4)]
    return dump(Flag("f", ID, "m:1", 7, draws, {"msp": 0.4}, tensors(), incident="i"))


WRITERS = {
    "scalars": scalars, "tensors": tensors, "batch": batch, "others": others, "feedback": feedback, "flag": flag,
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_the_writer_still_writes_version_1_byte_for_byte(name: str) -> None:
    assert WRITERS[name]() == (GOLDEN / f"v1-{name}.bin").read_bytes()


def test_every_golden_envelope_has_a_writer() -> None:
    assert {path.stem.removeprefix("v1-") for path in GOLDEN.glob("v1-*.bin")} == set(WRITERS)


def test_the_golden_scalars_are_read() -> None:
    envelope = decode((GOLDEN / "v1-scalars.bin").read_bytes())
    assert (envelope.model, envelope.source, envelope.report) == ("fraud:3", "host:1", {"queue_full": 3})
    first, second = envelope.inferences()
    assert first.inputs == {"age": 41.5, "count": 3, "member": True}
    assert second.inputs == {"age": None, "count": 4, "member": False}
    assert (first.id, first.at, first.latency_ms, first.rate) == (
        bytes(16),
        1_700_000_000_000_000_000,
        1.5,
        0.5,
    )


def test_the_golden_tensors_are_read() -> None:
    (one,) = decode((GOLDEN / "v1-tensors.bin").read_bytes()).inferences()
    assert one.inputs["image"].shape == (2, 2, 3)
    assert one.outputs["probs"].tolist() == [0.25, 0.75]
    assert one.alternatives["digits:2"]["probs"].tolist() == [0.75, 0.25]
    assert one.embedding is not None
    assert np.signbit(one.embedding).tolist() == [False, True]
    assert (dict(one.tags), one.group, one.seq) == ({"country": "FR"}, "session", 4)


def test_the_golden_batch_is_read() -> None:
    envelope = decode((GOLDEN / "v1-batch.bin").read_bytes())
    assert {".".join(path): column.values.dtype.str for path, column in envelope.items()} == {
        "inputs.x": "<f4", "inputs.y": "<f8", "inputs.n": "<i8", "outputs.value": "<f4",
    }  # fmt: skip
    assert envelope["inputs", "x"].values.tolist() == np.array([0.1, 0.2], np.float32).tolist()
    assert envelope["inputs", "y"].values.tolist() == [0.1, 0.2]
    assert [one.outputs for one in envelope.inferences()] == [{"value": 1.0}] * 2


def test_the_golden_objects_are_read() -> None:
    first, second = decode((GOLDEN / "v1-others.bin").read_bytes()).inferences()
    assert (first.inputs["text"], second.inputs["text"]) == ("grüße", "")
    assert (first.inputs["bytes"], second.inputs["bytes"]) == (b"\x00\x01", b"\x02")
    assert first.inputs["any"] == {"a": [1, None, "\ud800"]}
    assert second.inputs["any"] == BlobRef("ab", 7, "image/png")
    assert (first.inputs["ragged"].shape, second.inputs["ragged"].shape) == ((1, 2), (0,))
    assert (first.inputs["blob"], second.inputs["blob"]) == (BlobRef("cd", 8, "text/plain"), None)
    assert first.inputs["nothing"] is None


def test_the_golden_events_are_read() -> None:
    found = load(Feedback, (GOLDEN / "v1-feedback.bin").read_bytes())
    assert (found.kind, found.truth["label"], found.truth["box"].tolist()) == ("override", "cat", [1, 2])
    flagged = load(Flag, (GOLDEN / "v1-flag.bin").read_bytes())
    assert [(draw.kind, draw.name) for draw in flagged.draws] == [("control", ""), ("msp", "")]
    assert decode(flagged.inference).model == "digits:1"


def written_by(version: int) -> bytes:
    """The golden scalars as a later version would write them: a field more at every level."""
    data = (GOLDEN / "v1-scalars.bin").read_bytes()
    _, *rest, blocks = msgspec.msgpack.decode(data[4:])
    later = [
        [*block[:1], [*block[1], "new"], *block[2:], *[b""] * (5 - len(block)), "new"] for block in blocks
    ]
    unknown = [[["weather", "sun"]], ["FP64"], bytes(16), b"", b""]
    wire = [version, *rest, [*later, unknown], {"new": "field"}]
    return data[:4] + bytes(msgspec.msgpack.encode(wire))


def test_an_envelope_of_the_next_version_with_more_fields_is_read() -> None:
    today, later = decode(written_by(VERSION)), decode(written_by(VERSION + 1))
    assert later.version == VERSION + 1
    assert [str(one) for one in later.inferences()] == [str(one) for one in today.inferences()]
    assert list(later) == [("inputs", "member"), ("inputs", "count"), ("inputs", "age"), ("outputs", "value")]


@pytest.mark.parametrize("version", [-1, 0, VERSION + 2])
def test_an_envelope_of_a_version_out_of_reach_is_refused(version: int) -> None:
    with pytest.raises(DecodeError, match="version"):
        decode(written_by(version))
