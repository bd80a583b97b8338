"""Payloads: large values as snapshots on the caller's thread, and how these become bytes on the sender's.

An array becomes an NPY file [1]_ or, when asked, an image; an image of Pillow becomes a PNG unless asked otherwise;
bytes stay what they are; text becomes UTF-8; a path is read. Only `os.PathLike` objects are paths: a text that
happens to name a file must not make the SDK send that file.

References
----------
.. [1] NumPy documentation, "NPY format", version 1.0.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from davy.errors import InvalidInference
from davy.event import Array

FORMATS: Final = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
"""What images may be encoded as, and the media types."""
NPY: Final = "application/x-npy"
_MAGIC: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"\x93NUMPY", NPY),
    (b"%PDF-", "application/pdf"),
)


class TooLarge(InvalidInference):
    """A value is larger than what travels."""


class Payload(NamedTuple):
    """A value on its way to the blob store: the bytes it holds in memory, and what makes bytes and media type of it."""

    size: int
    make: Callable[[], tuple[bytes, str]]


def payload_of(field: str, value: Any, format: str, most_bytes: int) -> Payload:
    """Take a snapshot of a value: it may change right after.

    Parameters
    ----------
    field
        Its name, for errors.
    value
        An array or something that becomes one, an image of Pillow, bytes, text or a path.
    format
        ``png``, ``jpeg`` or ``webp``: what images are encoded as, if not empty. Arrays that are no 8-bit images stay
        arrays.
    most_bytes
        The largest value of which a snapshot is taken.

    Raises
    ------
    InvalidInference
        It is none of these.
    TooLarge
        It has more bytes.
    """
    if isinstance(value, os.PathLike):
        return Payload(0, partial(_read, os.fspath(value), format, most_bytes))
    if is_pillow(value):
        size = value.width * value.height * len(value.getbands())
        return Payload(_within(field, size, most_bytes), partial(_picture, value.copy(), format))
    if isinstance(value, str):
        data = value.encode("utf-8", "surrogatepass")
        return Payload(_within(field, len(data), most_bytes), lambda: (data, "text/plain; charset=utf-8"))
    if isinstance(value, (bytes, bytearray, memoryview)):
        size = _within(field, memoryview(value).nbytes, most_bytes)
        return Payload(size, partial(_file, bytes(value), format))
    array = as_numbers(value)
    if array is None:
        remedy = "give an array, an image, bytes, text or a pathlib.Path"
        raise InvalidInference(field, type(value).__name__, remedy)
    size = _within(field, array.nbytes, most_bytes)
    return Payload(size, partial(_array, array.tobytes(), array.dtype, array.shape, format))


def as_numbers(value: Any) -> Array | None:
    """Give a value as an array of numbers when it is one, or knows how to become one."""
    if not isinstance(value, (np.ndarray, list, tuple)) and not hasattr(value, "__array__"):
        return None
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        return None
    return array if array.dtype.kind in "buif" else None


def is_pillow(value: Any) -> bool:
    """Whether a value is an image of Pillow, which only an app that imported Pillow can have."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(value, pillow.Image)


def _array(data: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], format: str) -> tuple[bytes, str]:
    array = np.frombuffer(data, dtype).reshape(shape) if data else np.empty(shape, dtype)
    if format and _is_image(array):
        from PIL import Image

        return _picture(Image.fromarray(array.squeeze(-1) if shape[-1] == 1 else array), format)
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue(), NPY


def _is_image(array: Array) -> bool:
    channels = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in {1, 3, 4})
    return channels and array.dtype == np.uint8 and array.size > 0


def _picture(image: Any, format: str) -> tuple[bytes, str]:
    format = format or "png"
    if format == "jpeg" and image.mode not in {"L", "RGB", "CMYK"}:
        image = image.convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, format=format)
    return buffer.getvalue(), FORMATS[format]


def _within(field: str, size: int, most_bytes: int) -> int:
    if size > most_bytes:
        raise TooLarge(field, f"{size} bytes", f"at most {most_bytes}; see sdk.payload_bytes")
    return size


def _read(path: str | bytes, format: str, most_bytes: int) -> tuple[bytes, str]:
    with Path(os.fsdecode(path)).open("rb") as file:
        data = file.read(most_bytes + 1)
    _within("path", len(data), most_bytes)
    return _file(data, format)


def _file(data: bytes, format: str) -> tuple[bytes, str]:
    kind = media_type(data)
    if format and kind.startswith("image/") and kind != FORMATS[format]:
        from PIL import Image

        with Image.open(io.BytesIO(data)) as image:
            return _picture(image, format)
    return data, kind


def media_type(data: bytes) -> str:
    """Tell what a file is by how it begins.

    Examples
    --------
    >>> media_type(b"GIF89a..."), media_type(b"...")
    ('image/gif', 'application/octet-stream')
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _MAGIC if data.startswith(magic)), "application/octet-stream")
