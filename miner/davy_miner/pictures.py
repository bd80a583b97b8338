"""What a person looks at: the first image among the inputs of an inference, as a PNG large enough to see."""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from davy.blobs import Blobs
from davy.event import Array, BlobRef, Inference

_NPY: Final = "application/x-npy"
_RANGES: Final = ((0.0, 1.0), (-1.0, 1.0), (0.0, 16.0), (0.0, 255.0))
_LEAST: Final = 128
_MAGIC: Final = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}
_CHANNELS: Final = (1, 3, 4)


def picture(inference: Inference, blobs: Blobs) -> BlobRef | None:
    """Store what a person looks at and give its reference; None when no input is an image.

    An input that is already an image file, inline or by reference, is taken as it is. The first tensor of two or three
    axes, inline or by reference, becomes a PNG. A payload that is gone is passed over. Raises BlobError when the
    picture cannot be stored.
    """
    for value in inference.inputs.values():
        if isinstance(value, BlobRef) and not blobs.exists(value.hash):
            continue
        if isinstance(value, BlobRef) and value.media_type.startswith("image/"):
            return value
        if isinstance(value, BlobRef) and value.media_type == _NPY:
            value = np.load(io.BytesIO(blobs.get(value.hash)), allow_pickle=False)
        if isinstance(value, bytes) and (media_type := _media_type(value)):
            return blobs.put(value, media_type)
        if (pixels := _pixels(value)) is not None:
            return blobs.put(png(pixels), "image/png")
    return None


def png(tensor: Array) -> bytes:
    """Draw a tensor of shape ``(height, width)``, ``(height, width, channels)`` or ``(channels, height, width)``.

    Values are taken to lie in the first of the ranges [0, 1], [-1, 1], [0, 16] and [0, 255] that holds them all, else
    they are stretched from least to greatest. Pictures with a side below 128 pixels are enlarged without smoothing.

    Examples
    --------
    >>> png(np.eye(8))[1:4]
    b'PNG'
    """
    from PIL import Image

    pixels = _to_bytes(tensor)
    enlarge = -(-_LEAST // min(pixels.shape[:2]))
    pixels = pixels.repeat(enlarge, axis=0).repeat(enlarge, axis=1)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def is_image(shape: tuple[int, ...]) -> bool:
    """Whether a tensor of this shape can be looked at.

    Examples
    --------
    >>> is_image((8, 8)), is_image((3, 32, 32)), is_image((5, 7, 9)), is_image((64,))
    (True, True, False, False)
    """
    if min(shape, default=0) < 1:
        return False
    return len(shape) == 2 or (len(shape) == 3 and (shape[2] in _CHANNELS or shape[0] in _CHANNELS))


def _pixels(value: Any) -> Array | None:
    if isinstance(value, np.ndarray) and value.dtype.kind in "buif" and is_image(value.shape):
        return value
    return None


def _to_bytes(tensor: Array) -> NDArray[np.uint8]:
    values = np.asarray(tensor, dtype=np.float64)
    if values.ndim == 3 and values.shape[2] not in _CHANNELS:
        values = np.moveaxis(values, 0, 2)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    finite = values[np.isfinite(values)]
    least, greatest = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    low, high = next(
        ((low, high) for low, high in _RANGES if low <= least and greatest <= high), (least, greatest)
    )
    scaled = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) / (high - low or 1.0)
    return np.rint(scaled * 255).astype(np.uint8)


def _media_type(data: bytes) -> str | None:
    return next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), None)
