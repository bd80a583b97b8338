"""Payloads: large values lie in the blob store once, and the inference carries their claim checks, aligned."""

from __future__ import annotations

import base64
import io
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.sdk_rig import Store, inferences_in, start

import davy
from davy.blobs import open_blobs, reference
from davy.codec import Encoder, decode, pack, refer
from davy.errors import LogError, Refused
from davy.event import BlobRef
from davy.sdk.claims import PLACEHOLDER
from davy.sdk.sink import PAYLOADS

pytestmark = pytest.mark.fast
RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (20, 30, 3), np.uint8)


def png(pixels: Any = PHOTO) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def stored(url: str, found: Any) -> bytes:
    assert isinstance(found, BlobRef)
    return open_blobs(url).get(found.hash)


def one(url: str, value: Any, **settings: Any) -> Any:
    davy.init(**settings)
    davy.capture("m:1", {"x": value}, {})
    assert davy.flush()
    (found,) = inferences_in(url)
    return found.inputs["x"]


def test_an_array_is_stored_as_npy_and_comes_back_as_it_was(own_client: str) -> None:
    found = one(own_client, PHOTO, fields={"inputs.x": "blob"})
    assert found.media_type == "application/x-npy"
    back = np.load(io.BytesIO(stored(own_client, found)))
    np.testing.assert_array_equal(back, PHOTO)


def test_an_array_above_the_limit_is_stored_apart_without_any_rule(own_client: str) -> None:
    found = one(own_client, np.zeros(300_000, np.uint8))
    assert np.load(io.BytesIO(stored(own_client, found))).shape == (300_000,)


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
@pytest.mark.parametrize(
    "pixels",
    [PHOTO, PHOTO[:, :, 0], PHOTO[:, :, :1], np.dstack([PHOTO, PHOTO[:, :, 0]])],
    ids=lambda x: str(x.shape),
)
def test_pixels_are_encoded_as_the_rule_asks(own_client: str, format: str, pixels: Any) -> None:
    found = one(own_client, pixels, fields={"inputs.x": f"blob:{format}"})
    with Image.open(io.BytesIO(stored(own_client, found))) as image:
        assert (image.format, image.size) == (format.upper(), (30, 20))
        if format == "png":
            np.testing.assert_array_equal(np.asarray(image), pixels.squeeze())


def test_an_array_that_is_no_picture_stays_an_array_under_any_format(own_client: str) -> None:
    found = one(own_client, RNG.normal(size=(4, 5)), fields={"inputs.x": "blob:png"})
    assert found.media_type == "application/x-npy"


def test_an_image_of_pillow_becomes_a_png(own_client: str) -> None:
    image = Image.fromarray(PHOTO)
    davy.init(fields={"inputs.x": "blob"})
    davy.capture("m:1", {"x": image}, {})
    image.paste((0, 0, 0), (0, 0, 30, 20))
    davy.flush()
    (found,) = inferences_in(own_client)
    with Image.open(io.BytesIO(stored(own_client, found.inputs["x"]))) as back:
        np.testing.assert_array_equal(np.asarray(back), PHOTO)


def test_files_as_bytes_and_as_paths_are_stored_as_they_are(own_client: str, tmp_path: Path) -> None:
    file = tmp_path / "scan"
    file.write_bytes(png())
    davy.init(fields={"inputs.file": "blob"})
    davy.capture("m:1", {"file": png(), "path": file}, {})
    davy.flush()
    (found,) = inferences_in(own_client)
    assert found.inputs["file"] == found.inputs["path"] == reference(png(), "image/png")
    assert stored(own_client, found.inputs["path"]) == png()


def test_text_that_names_a_file_is_never_read(own_client: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("secret")
    found = one(own_client, str(file), fields={"inputs.x": "blob"})
    assert (stored(own_client, found), found.media_type) == (str(file).encode(), "text/plain; charset=utf-8")


@pytest.mark.swallows
def test_several_streams_stay_aligned_when_some_fail(own_client: str, tmp_path: Path) -> None:
    davy.init(fields={"inputs.*": "blob"})
    frames = [np.full((4, 4), i, np.uint8) for i in range(6)]
    for i, frame in enumerate(frames):
        depth = tmp_path / f"{i}.bin"
        if i % 2:
            depth.write_bytes(bytes([i]))
        davy.capture("m:1", {"rgb": frame, "depth": depth, "mask": bytes([i])}, {"value": float(i)})
    davy.flush()
    for i, found in enumerate(inferences_in(own_client)):
        assert found.outputs["value"] == i
        assert np.load(io.BytesIO(stored(own_client, found.inputs["rgb"])))[0, 0] == i
        assert stored(own_client, found.inputs["mask"]) == bytes([i])
        depth = found.inputs["depth"]
        assert (depth is None) == (i % 2 == 0)
        assert depth is None or stored(own_client, depth) == bytes([i])
    assert davy.stats()["incomplete"] == {"payload_failed": 3}


def test_rows_of_a_batch_have_a_payload_each(own_client: str) -> None:
    davy.init(fields={"inputs.x": "blob:png"})
    images = RNG.integers(0, 256, (5, 8, 8, 3), np.uint8)
    davy.watch(lambda x: x.mean(axis=(1, 2, 3)), "m:1", batched=True)(images)
    davy.flush()
    for image, found in zip(images, inferences_in(own_client), strict=True):
        with Image.open(io.BytesIO(stored(own_client, found.inputs["x"]))) as back:
            np.testing.assert_array_equal(np.asarray(back), image)


def test_equal_payloads_are_sent_once_and_before_what_refers_to_them() -> None:
    sink = Store()
    start(sink, payloads=True, fields={"inputs.x": "blob"}, envelope_rows=3)
    for _ in range(10):
        davy.capture("m:1", {"x": PHOTO}, {})
    davy.capture("m:1", {"x": PHOTO + 1}, {})
    davy.flush()
    kinds = [message.topic == PAYLOADS for message in sink.messages]
    assert sum(kinds) == 2
    assert kinds[0]
    hashes = [reference(message.value, "").hash for message in sink.messages if message.topic == PAYLOADS]
    assert [found.inputs["x"].hash for found in sink.inferences] == [hashes[0]] * 10 + [hashes[1]]


def test_images_are_encoded_on_the_senders_thread(monkeypatch: pytest.MonkeyPatch, own_client: str) -> None:
    threads = set()
    save = Image.Image.save

    def watched(self: Any, *args: Any, **kwargs: Any) -> None:
        threads.add(threading.current_thread().name)
        save(self, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "save", watched)
    one(own_client, PHOTO, fields={"inputs.x": "blob:jpeg"})
    assert threads == {"davy-sender"}


def test_the_bound_on_bytes_counts_what_waits_to_be_stored() -> None:
    release = threading.Event()
    sink = Store(lambda: release.wait(10) and None)
    start(sink, payloads=True, fields={"inputs.x": "blob"}, queue_bytes=100_000)
    for i in range(40):
        davy.capture("m:1", {"x": np.full(10_000, i, np.uint8)}, {}, id=bytes(16))
    stats = davy.stats()
    assert stats["dropped"]["bytes_full"] + stats["depth"] == 40
    assert stats["depth_bytes"] <= 100_000
    release.set()
    davy.flush()


def test_a_payload_that_is_refused_leaves_its_field_missing_and_the_inference_whole() -> None:
    sink = Store()

    def refuse_payloads() -> None:
        if sink.attempts == 1:
            raise Refused("gateway", 413, "too large")

    sink.before = refuse_payloads
    start(sink, payloads=True, fields={"inputs.x": "blob"})
    davy.capture("m:1", {"x": PHOTO, "y": 1.0}, {})
    davy.flush()
    (found,) = sink.inferences
    assert dict(found.inputs) == {"x": None, "y": 1.0}
    assert davy.stats()["incomplete"] == {"payload_refused": 1}


def test_a_blob_store_that_is_down_is_tried_again() -> None:
    sink = Store()

    def fail_twice() -> None:
        if sink.attempts <= 2:
            raise LogError("blob", "x", "is down")

    sink.before = fail_twice
    start(sink, payloads=True, fields={"inputs.x": "blob"})
    davy.capture("m:1", {"x": PHOTO}, {})
    assert davy.flush()
    assert [message.topic == PAYLOADS for message in sink.messages] == [True, False]
    assert davy.stats()["retries"] == 2


def test_payloads_wait_in_the_spool_before_what_refers_to_them(tmp_path: Path) -> None:
    sink = Store()
    down = threading.Event()
    down.set()

    def fail() -> None:
        if down.is_set():
            raise LogError("log", "x", "is down")

    sink.before = fail
    start(sink, payloads=True, fields={"inputs.x": "blob"}, spool=str(tmp_path))
    for i in range(3):
        davy.capture("m:1", {"x": np.full(9, i, np.uint8)}, {})
    assert davy.flush()
    assert davy.stats()["spooled"] == 3
    down.clear()
    while davy.stats()["spooled"]:
        davy.flush()
    known = {reference(message.value, "").hash for message in sink.messages if message.topic == PAYLOADS}
    assert {found.inputs["x"].hash for found in sink.inferences} == known
    assert sink.messages[-1].topic != PAYLOADS
    assert davy.stats()["sent"] == 3


def test_an_array_too_large_to_store_becomes_a_summary(own_client: str) -> None:
    davy.init(fields={"inputs.x": "blob"}, payload_bytes=1000)
    davy.capture("m:1", {"x": np.zeros(1001, np.uint8)}, {})
    davy.flush()
    (found,) = inferences_in(own_client)
    assert list(found.inputs["x"]["shape"]) == [1001]


@pytest.mark.swallows
def test_a_file_too_large_to_store_is_left_out(own_client: str, tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(bytes(1001))
    assert one(own_client, tmp_path / "film", payload_bytes=1000) is None
    assert davy.stats()["incomplete"] == {"payload_failed": 1}


LARGE = RNG.integers(0, 256, 300_000, np.uint8).tobytes()
INLINE = {
    "data url": (f"data:image/png;base64,{base64.b64encode(LARGE).decode()}", "image/png, 300000 bytes"),
    "base64": (base64.b64encode(b"\x89PNG\r\n\x1a\n" + LARGE).decode(), "image/png, 300008 bytes"),
    "bytes": (b"\xff\xd8\xff" + LARGE, "image/jpeg, 300003 bytes"),
    "array": (np.frombuffer(LARGE, np.uint8), "uint8 of shape (300000,), 300000 bytes"),
    "picture": (
        Image.fromarray(np.frombuffer(LARGE, np.uint8).reshape(100, 1000, 3)),
        "uint8 of shape (100, 1000, 3)",
    ),
}


@pytest.mark.parametrize("blobs", [True, False])
@pytest.mark.parametrize("kind", INLINE)
def test_a_chat_with_a_picture_inline_keeps_what_was_said_and_a_note_of_the_picture(
    kind: str, blobs: bool
) -> None:
    sink = Store()
    start(sink, payloads=blobs)
    picture, note = INLINE[kind]
    parts = [{"type": "text", "text": "what is this?"}, {"type": "image_url", "image_url": {"url": picture}}]
    messages = [{"role": "user", "content": parts}, {"role": "user", "content": "please"}]
    for _ in range(2):
        davy.capture("m:1", {"messages": messages, "n": 2}, {"text": "a cat"})
    davy.watch(lambda rows: ["a cat"], "m:2", batched=True)([{"messages": messages, "n": 2}])
    assert davy.flush()
    for one in sink.inferences:
        (said, seen), after = one.inputs["messages"][0]["content"], one.inputs["messages"][1]
        assert (said, after, one.inputs["n"]) == (parts[0], messages[1], 2)
        assert seen["image_url"]["url"].startswith(note)
        assert len(seen["image_url"]["url"]) < 100
    assert len(sink.inferences) == 3
    assert davy.stats()["left_out"] == {"m:1 inputs.messages: noted": 2, "m:2 inputs.messages: noted": 1}


def test_a_chat_that_is_too_long_without_its_pictures_is_left_out_with_a_remedy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    start(Store(), payloads=True, payload_bytes=400_000)
    davy.capture("m:1", {"messages": ["word " * 60_000], "long": "word " * 90_000, "x": 1}, {})
    assert davy.stats()["left_out"] == {"m:1 inputs.messages: too_large": 1, "m:1 inputs.long: too_large": 1}
    assert "sdk.payload_bytes" in caplog.text
    assert "send the large parts as fields" in caplog.text


REFERENCE = st.builds(BlobRef, st.text("0123", max_size=4), st.integers(0, 9), st.just("a/b"))


@given(st.lists(st.sampled_from(["claim", "text", "none"]), min_size=1, max_size=6), st.data())
@settings(max_examples=100)
def test_references_fit_any_chunk_and_other_rows_keep_their_values(
    rows: list[str], data: st.DataObject
) -> None:
    rows[0] = "claim"
    given = {"claim": PLACEHOLDER, "text": "text", "none": None}
    column = np.empty(len(rows), dtype=object)
    column[:] = [given[kind] for kind in rows]
    ids = bytes(16 * len(rows))
    if len(rows) == 1:
        chunk = Encoder().encode("m:1", ids, 1, {"x": PLACEHOLDER, "y": 0}, {})
    else:
        chunk = Encoder().encode_batch("m:1", ids, 1, {"x": column, "y": np.arange(len(rows))}, {})
    claimed = [row for row, kind in enumerate(rows) if kind == "claim"]
    references = {row: data.draw(st.one_of(st.none(), REFERENCE)) for row in claimed}
    back = decode(pack([refer(chunk, ("inputs", "x"), references)]))
    expected = [references.get(row, given[kind]) for row, kind in enumerate(rows)]
    assert [found.inputs["x"] for found in back.inferences()] == expected
    assert [found.inputs["y"] for found in back.inferences()] == list(range(len(rows)))


def test_a_batch_may_mix_payloads_and_summaries(own_client: str) -> None:
    davy.init(fields={"inputs.x": "blob"}, payload_bytes=500)
    column = np.empty(3, dtype=object)
    column[:] = [np.zeros(300, np.uint8), np.zeros(900, np.uint8), None]
    davy.watch(lambda frame: {"value": np.zeros(3)}, "m:1", batched=True)({"x": column})
    davy.flush()
    first, second, third = [found.inputs["x"] for found in inferences_in(own_client)]
    assert np.load(io.BytesIO(stored(own_client, first))).shape == (300,)
    assert (second["shape"], third) == ([900], None)
