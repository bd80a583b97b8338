"""Payloads: large values as snapshots on the caller's thread, and how these become bytes on the sender's.

An array becomes a file as `davy.fields.payloads` writes it: a PNG, packed numbers or NPY [1]_, or another image when
asked; an image of Pillow becomes a PNG unless asked otherwise; bytes stay what they are; text becomes UTF-8; a path is
read. A dense answer becomes its map of classes. Only `os.PathLike` objects are paths: a text that happens to name a
file must not make the SDK send that file. What is monitored of the value is worked out there as well, and goes along
with the reference.

References
----------
.. [1] NumPy documentation, "NPY format", version 1.0.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from davy._conversions import IMAGE_FORMATS
from davy.errors import InvalidInference
from davy.event import Array, Summary
from davy.event import Path as FieldPath
from davy.fields.arrays import picture
from davy.fields.encoded import of_encoded
from davy.fields.measures import is_picture, of_blocks, of_one
from davy.fields.media import NPY, media_type
from davy.fields.payloads import as_file, npy
from davy.fields.places import PlaceAxes, class_map, coarse, of_places, places_of
from davy.sdk.summary import summary, thinned

FORMATS: Final = {name: f"image/{name}" for name in IMAGE_FORMATS}
"""What images may be encoded as, and the media types."""
SMALLEST: Final = "smallest"
"""What is asked of payloads that no rule asks for: the smallest file that keeps every bit."""
_HUGE: Final = 4 * 2**20
"""From so many bytes on NumPy asks the system for huge pages: new memory of usual ones takes longer than the copy."""


class PayloadTooLarge(InvalidInference):
    """A value is larger than what travels."""


class PayloadUpload(NamedTuple):
    """A payload as it goes to the blob store, and what is said of it beside the reference."""

    data: bytes
    media_type: str
    about: Mapping[str, Any] = {}


class Payload(NamedTuple):
    """A value on its way: the bytes it holds in memory, and what makes of it what is stored, or what stands for it.

    `make` is told whether much waits behind it: then it need not be small.
    """

    size: int
    make: Callable[[bool], PayloadUpload | Summary]


def payload_of(field: FieldPath, value: Any, format: str, most_bytes: int) -> Payload:
    """Take a snapshot of a value: it may change right after.

    Parameters
    ----------
    field
        Where it sits.
    value
        An array or something that becomes one, an image of Pillow, bytes, text or a path.
    format
        ``png``, ``jpeg`` or ``webp``: what images are encoded as, if not empty. Arrays that are no 8-bit images stay
        arrays. ``smallest`` is the smallest file that loses nothing.
    most_bytes
        The largest value of which a snapshot is taken; of a larger array it is a summary.

    Raises
    ------
    InvalidInference
        It is none of these.
    TooLarge
        It has more bytes.
    """
    name = ".".join(field)
    if isinstance(value, os.PathLike):
        return Payload(0, partial(_read, os.fspath(value), format, most_bytes))
    if is_pillow(value):
        return Payload(
            _within(name, pillow_bytes(value), most_bytes), partial(_picture_of, value.copy(), format)
        )
    if isinstance(value, str):
        data = value.encode("utf-8", "surrogatepass")
        return Payload(
            _within(name, len(data), most_bytes), lambda _: PayloadUpload(data, "text/plain; charset=utf-8")
        )
    if isinstance(value, (bytes, bytearray, memoryview)):
        size = _within(name, memoryview(value).nbytes, most_bytes)
        return Payload(size, partial(_file, bytes(value), format))
    array = as_numbers(value)
    if array is None:
        remedy = "give an array, an image, bytes, text or a pathlib.Path"
        raise InvalidInference(name, type(value).__name__, remedy)
    if array.nbytes > most_bytes:
        return summarised(field, array, most_bytes)
    return Payload(array.nbytes, partial(_array, field, snapshot(array), format))


def summarised(field: FieldPath, array: Array, most_bytes: int) -> Payload:
    """Take a snapshot of an array of which only a summary travels; of a very large one a part tells of the whole."""
    places = places_of(field, array)
    if places is not None:
        return dense(array, places, most_bytes, stored=False)
    part = thinned(array, most_bytes)
    return Payload(part.nbytes, partial(_summary, field, snapshot(part), array.shape))


def dense(array: Array, places: PlaceAxes, most_bytes: int, *, stored: bool) -> Payload:
    """Take a snapshot of a dense answer; at every n-th place only, where it would have more than so many bytes.

    What becomes of it is its map of classes or, where that is not to be `stored`, a summary.
    """
    part, step = coarse(array, places, most_bytes)
    return Payload(part.nbytes, partial(_dense, snapshot(part), places, array.shape, step, stored))


def snapshot(array: Array) -> Array:
    """Return a copy, in C order; of what nobody can change, itself.

    Bytes never change. An array that owns its memory and is read-only is what whoever made it says never to change: the
    SDK's own copies of tensors on a device, arrays of JAX.
    """
    if not array.flags.writeable and array.flags.c_contiguous:
        root: Any = array
        while isinstance(root, np.ndarray) and root.base is not None and not root.flags.writeable:
            root = root.base
        owned = isinstance(root, np.ndarray) and root.base is None and not root.flags.writeable
        if owned or type(root) is bytes:
            return array
    if array.nbytes >= _HUGE:
        return array.copy()
    # Not `copy`, which lets go of the interpreter: under load it would come back a switch interval later.
    return np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape) if array.size else array.copy()


def snapshot_of_rows(array: Array) -> Array:
    """Return a copy of a batch, of whose rows `snapshot` then takes none: one large copy for many.

    The memory of all of them is held until the last is sent.
    """
    found = snapshot(array)
    found.flags.writeable = False
    return found


def as_numbers(value: Any) -> Array | None:
    """Return a value as an array of numbers when it is one, or knows how to become one."""
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
    return pillow is not None and issubclass(type(value), pillow.Image)


def pillow_bytes(image: Any) -> int:
    """Return how many bytes the pixels of an image of Pillow take."""
    deep = {"I;16": 2, "I": 4, "F": 4}.get(image.mode, 1)
    return int(image.width * image.height * len(image.getbands()) * deep)


def is_file(value: Any) -> bool:
    """Whether a value becomes a file later, on the sender's thread: a path or an image of Pillow."""
    return issubclass(type(value), os.PathLike) or is_pillow(value)


def _array(field: FieldPath, array: Array, format: str, hurried: bool) -> PayloadUpload:
    about = _about(field, array)
    if format == SMALLEST and not hurried:
        return PayloadUpload(*as_file(array), about)
    if format in FORMATS and _is_image(array):
        from PIL import Image

        image = Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array)
        return PayloadUpload(*_encoded(image, format), about)
    return PayloadUpload(npy(array), NPY, about)


def _about(field: FieldPath, array: Array, *, parts: bool = True) -> dict[str, Any]:
    places = places_of(field, array)
    if places is None:
        return of_one(array, parts=parts)
    return {"shape": list(array.shape), "dtype": str(array.dtype)} | of_places(array, places)


def _summary(field: FieldPath, part: Array, shape: tuple[int, ...], _hurried: bool) -> Summary:
    if part.shape == shape:
        return Summary(_about(field, part, parts=False) | summary(part))
    about = of_one(part, parts=False)
    if is_picture(shape):
        about |= {name: float(values[0]) for name, values in of_blocks(part).items()}
    size = int(np.prod(shape))
    about["norm"] *= (size / max(part.size, 1)) ** 0.5
    return Summary(about | summary(part) | {"shape": list(shape), "length": size, "part": part.size / size})


def _dense(
    part: Array, places: PlaceAxes, shape: tuple[int, ...], step: int, stored: bool, _hurried: bool
) -> PayloadUpload | Summary:
    classes = class_map(part, places)
    about = {"shape": list(shape), "dtype": str(part.dtype)} | of_places(part, places, classes)
    if step > 1:
        about["step"] = step
    if not stored:
        return Summary(about | summary(part) | {"shape": list(shape)})
    return PayloadUpload(*as_file(classes), about)


def _is_image(array: Array) -> bool:
    channels = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in {1, 3, 4})
    return channels and array.dtype == np.uint8 and array.size > 0


def _picture_of(image: Any, format: str, _hurried: bool) -> PayloadUpload:
    pixels = picture(image)
    about = of_one(pixels)
    if format == SMALLEST and image.mode in {"L", "RGB", "RGBA"}:
        return PayloadUpload(*as_file(pixels), about)
    return PayloadUpload(*_encoded(image, "" if format == SMALLEST else format), about)


def _encoded(image: Any, format: str) -> tuple[bytes, str]:
    format = format or "png"
    if format == "jpeg" and image.mode not in {"L", "RGB", "CMYK"}:
        image = image.convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, format=format)
    return buffer.getvalue(), FORMATS[format]


def _within(field: str, size: int, most_bytes: int) -> int:
    if size > most_bytes:
        raise PayloadTooLarge(field, f"{size} bytes", f"at most {most_bytes}; see sdk.payload_bytes")
    return size


def _read(path: str | bytes, format: str, most_bytes: int, hurried: bool) -> PayloadUpload:
    with Path(os.fsdecode(path)).open("rb") as file:
        data = file.read(most_bytes + 1)
    _within("path", len(data), most_bytes)
    return _file(data, format, hurried)


def _file(data: bytes, format: str, _hurried: bool) -> PayloadUpload:
    kind, about = media_type(data), of_encoded(data)
    if format in FORMATS and kind.startswith("image/") and kind != FORMATS[format]:
        from PIL import Image

        with Image.open(io.BytesIO(data)) as image:
            return PayloadUpload(*_encoded(image, format), about)
    return PayloadUpload(data, kind, about)
