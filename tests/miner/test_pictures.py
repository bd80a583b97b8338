"""Pictures: visible whatever the range, large enough to see, made of the first image there is."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from davy.blobs import open_blobs
from davy.event import Array, BlobRef, Inference
from davy.fields.measures import of_one
from davy.fields.payloads import as_file
from davy_miner.pictures import picture, png

pytestmark = pytest.mark.fast
RAMP = np.linspace(0, 1, 64).reshape(8, 8)


def opened(data: bytes) -> Array:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


@pytest.mark.parametrize(
    "tensor",
    [
        RAMP,
        RAMP.astype(np.float32) * 2 - 1,
        np.rint(RAMP * 16).astype(np.uint8),
        np.rint(RAMP * 255).astype(np.uint8),
        RAMP * 5000 - 300,
    ],
)
def test_every_range_becomes_visible(tensor: Array) -> None:
    pixels = opened(png(tensor))
    assert pixels.shape == (128, 128)
    assert (pixels.min(), pixels.max()) == (0, 255)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((8, 8, 3), (128, 128, 3)),
        ((3, 40, 30), (200, 150, 3)),
        ((1, 8, 8), (128, 128)),
        ((200, 300), (200, 300)),
    ],
)
def test_channels_may_come_first_or_last_and_small_pictures_are_enlarged(
    shape: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert opened(png(np.random.default_rng(0).random(shape))).shape == expected


@pytest.mark.parametrize("value", [np.nan, np.inf, 300.0, 0.0])
def test_constant_and_non_finite_images_are_drawn(value: float) -> None:
    assert opened(png(np.full((8, 8), value))).shape == (128, 128)


def test_image_files_and_references_are_shown_as_they_are() -> None:
    blobs = open_blobs("memory://pictures")
    data = png(RAMP)
    found = picture(Inference(bytes(16), 0, "m:1", {"age": 3, "photo": data}, {}), blobs)
    assert found is not None
    assert (blobs.get(found.hash), found.media_type) == (data, "image/png")
    reference = blobs.put(b"\xff\xd8\xff...", "image/jpeg")
    assert picture(Inference(bytes(16), 0, "m:1", {"photo": reference}, {}), blobs) == reference


def test_without_an_image_there_is_no_picture() -> None:
    inputs = {"age": 3, "text": "lamp", "row": np.arange(4.0)}
    assert picture(Inference(bytes(16), 0, "m:1", inputs, {}), open_blobs("memory://none")) is None


def test_a_tensor_by_reference_is_drawn_and_a_payload_that_is_gone_is_passed_over() -> None:
    blobs = open_blobs("memory://pictures-by-reference")
    buffer = io.BytesIO()
    np.save(buffer, RAMP)
    kept = blobs.put(buffer.getvalue(), "application/x-npy")
    gone = BlobRef("0" * 64, 9, "image/png")
    found = picture(Inference(bytes(16), 0, "m:1", {"gone": gone, "scan": kept}, {}), blobs)
    assert found is not None
    assert opened(blobs.get(found.hash)).shape == (128, 128)
    assert picture(Inference(bytes(16), 0, "m:1", {"gone": gone}, {}), blobs) is None


def saved(image: Image.Image, kind: str, **more: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **more)
    return buffer.getvalue()


def pictured(inputs: dict[str, object]) -> tuple[bytes, str] | None:
    blobs = open_blobs(f"memory://{next(NAMES)}")
    found = picture(Inference(bytes(16), 0, "m:1", inputs, {}), blobs)
    return None if found is None else (blobs.get(found.hash), found.media_type)


NAMES = (f"pictures-{number}" for number in range(10**6))
PHOTO = Image.fromarray(np.arange(32 * 40 * 3, dtype=np.uint8).reshape(32, 40, 3))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_a_file_that_browsers_show_is_taken_as_it_is(kind: str) -> None:
    data = saved(PHOTO, kind)
    assert pictured({"photo": data}) == (data, f"image/{kind.lower()}")


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("BMP", "RGB"), ("TIFF", "RGB"), ("TIFF", "I;16"), ("JPEG", "CMYK"), ("PPM", "RGB"), ("TIFF", "F")],
)
def test_any_other_file_becomes_a_picture_that_browsers_show(kind: str, mode: str) -> None:
    image = Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40)) if mode == "I;16" else PHOTO
    found = pictured({"photo": saved(image if mode == "I;16" else image.convert(mode), kind) + b"\x07"})
    assert found is not None
    assert found[1] == "image/png"
    with Image.open(io.BytesIO(found[0])) as shown:
        assert shown.format == "PNG"
        assert shown.mode in {"L", "RGB", "RGBA"}
        assert np.asarray(shown).max() > 200


def test_several_images_wherever_they_are_become_one_sheet() -> None:
    frames = np.zeros((4, 16, 16, 3), dtype=np.uint8)
    inputs = {"pair": [saved(PHOTO, "PNG"), {"nested": saved(PHOTO, "TIFF")}], "frames": frames, "age": 3}
    found = pictured(inputs)
    assert found is not None
    assert opened(found[0]).shape[:2] == (2 * 324 - 4, 3 * 324 - 4)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x89PNG\r\n\x1a\n broken",
        b"RIFF\x00\x00\x00\x00WAVEfmt ",
        saved(PHOTO, "TIFF")[:200],
        np.zeros((1, 300)),
        np.zeros((0, 4)),
        np.zeros((5, 7, 9)),
        np.array(["a", "b"]),
    ],
)
def test_what_is_no_image_or_a_broken_one_is_passed_over(value: object) -> None:
    assert pictured({"x": value}) is None


def test_the_widest_doubles_are_drawn() -> None:
    assert opened(png(np.array([[-1.7e308, 1.7e308], [np.nan, np.inf]]))).max() == 255


def colours(dtype: str = "u1", channels: int = 3) -> Array:
    """Draw a picture that grows brighter from left to right in red and from top to bottom in green."""
    side = np.linspace(0, 255, 160)
    planes = [
        np.tile(side, (160, 1)),
        np.tile(side, (160, 1)).T,
        np.full((160, 160), 60.0),
        np.full((160, 160), 255.0),
    ]
    return np.stack(planes[:channels], axis=-1).astype(dtype)


NORMALISED = ((colours() / np.float32(255) - np.float32(0.45)) / np.float32(0.22)).astype(np.float32)


@pytest.mark.parametrize(
    "tensor",
    [
        colours(),
        colours().transpose(2, 0, 1),
        colours(channels=4),
        colours("u2") * 257,
        colours("u2").transpose(2, 0, 1) * 257,
        colours("u2", 4) * 12,
        NORMALISED,
        NORMALISED.transpose(2, 0, 1),
        NORMALISED.transpose(2, 0, 1)[None],
        np.float16(NORMALISED),
    ],
    ids=lambda x: f"{x.dtype}{x.shape}",
)
@pytest.mark.parametrize("apart", [False, True])
def test_a_picture_of_any_layout_is_drawn_alike_whether_it_is_inline_or_stored_apart(
    tensor: Array, apart: bool
) -> None:
    blobs, tensor = open_blobs("memory://layouts"), np.ascontiguousarray(tensor)
    value: object = tensor
    if apart:
        value = replace(blobs.put(*as_file(tensor)), about=of_one(tensor))
    found = picture(Inference(bytes(16), 0, "m:1", {"photo": value}, {}), blobs)
    assert found is not None
    pixels = opened(blobs.get(found.hash)).astype(float)
    assert pixels.shape[:2] == (160, 160)
    left, right, top, bottom = pixels[:, 5], pixels[:, -5], pixels[5], pixels[-5]
    assert right[:, 0].mean() - left[:, 0].mean() > 150  # red
    assert bottom[:, 1].mean() - top[:, 1].mean() > 150  # green
    assert abs(right[:, 2].mean() - left[:, 2].mean()) < 5


def test_a_mask_of_zeros_and_ones_that_is_stored_apart_is_no_black_square() -> None:
    blobs = open_blobs("memory://masks")
    mask = np.zeros((200, 200), np.uint8)
    mask[50:90] = 1
    value = replace(blobs.put(*as_file(mask)), about=of_one(mask))
    found = picture(Inference(bytes(16), 0, "m:1", {"mask": value}, {}), blobs)
    assert found is not None
    assert opened(blobs.get(found.hash)).max() == 255


def test_a_packed_payload_that_is_damaged_is_passed_over() -> None:
    blobs = open_blobs("memory://damaged")
    data, media_type = as_file(NORMALISED)
    for damaged in (data[:-9], data[:20], data[:40] + b"?" * 40):
        reference = blobs.put(damaged, media_type)
        assert picture(Inference(bytes(16), 0, "m:1", {"photo": reference}, {}), blobs) is None
