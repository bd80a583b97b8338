"""Pictures: visible whatever the range, large enough to see, made of the first image there is."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from davy.blobs import open_blobs
from davy.event import Array, BlobRef, Inference
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
