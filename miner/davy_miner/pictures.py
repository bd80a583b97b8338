"""What a person looks at: the images among the inputs of an inference, as one picture a browser can show."""

from __future__ import annotations

import io
import logging
import struct
import zlib
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from davy.blobs import Blobs
from davy.event import Array, BlobRef, Inference
from davy.fields.media import NPY, PACKED
from davy.fields.payloads import as_array

if TYPE_CHECKING:
    from PIL.Image import Image

_DAMAGE: Final = (ValueError, KeyError, TypeError, IndexError, struct.error, zlib.error)
_RANGES: Final = ((0.0, 1.0), (-1.0, 1.0), (0.0, 16.0), (0.0, 255.0))
_DARK: Final = 16
"""Bytes up to here are black to the eye."""
_LEAST: Final = 128
_CHANNELS: Final = (1, 3, 4)
_FORMATS: Final = (
    "PNG",
    "JPEG",
    "MPO",
    "GIF",
    "WEBP",
    "BMP",
    "DIB",
    "TIFF",
    "PPM",
    "ICO",
    "JPEG2000",
    "AVIF",
)
_SHOWN_BY_BROWSERS: Final = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "GIF": "image/gif",
    "WEBP": "image/webp",
}
_MODES: Final = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})
"""Pixels every browser draws as they are meant: neither sixteen bits nor inks."""
_DEPTH: Final = 8
_MOST: Final = 9
_TILE: Final = 320
_GAP: Final = 4
_PIXELS: Final = 64_000_000
_Found: TypeAlias = "tuple[bytes, str] | BlobRef | Image"
_logger = logging.getLogger("davy.mine")


def picture(inference: Inference, blobs: Blobs) -> BlobRef | None:
    """Store what a person looks at and return its reference; None when no input is an image.

    An image file that browsers show, inline or by reference, is taken as it is; any other that Pillow opens becomes a
    PNG, and so does a tensor of two or three axes. Several images, also those of nested fields, lists and tensors of
    four axes, become one sheet of at most nine. What cannot be drawn and a payload that is gone are passed over. Raises
    BlobError when the picture cannot be stored.
    """
    found = list(islice(_images(inference.inputs, blobs, 0), _MOST))
    if not found:
        return None
    if len(found) > 1:
        found = [_sheet([_opened(one, blobs) for one in found])]
    only = found[0]
    if isinstance(only, BlobRef):
        return only
    if isinstance(only, tuple):
        return blobs.put(*only)
    return blobs.put(_as_png(only), "image/png")


def images(value: Any, blobs: Blobs) -> Iterator[tuple[bytes, str]]:
    """Yield every image in a value, at most nine, as the bytes of a file and its media type.

    They are taken as `picture` takes them, each by itself. Raises BlobError where the blob store does not answer.
    """
    for found in islice(_images(value, blobs, 0), _MOST):
        if isinstance(found, BlobRef):
            yield blobs.get(found.hash), found.media_type
        elif isinstance(found, tuple):
            yield found
        else:
            yield _as_png(found), "image/png"


def pixels(data: bytes, width: int, height: int) -> NDArray[np.uint8] | None:
    """Return the file of an image as pixels of shape ``(h, w, 3)`` that fit in `width` and `height`.

    None where Pillow does not open it, as an SVG.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as image:
            if image.width * image.height > _PIXELS:
                return None
            image.load()
            small = _plain(image).convert("RGB")
    except Exception as error:  # noqa: BLE001 - as above
        _logger.debug("an image cannot be drawn: %s", error)
        return None
    small.thumbnail((width, height))
    return np.asarray(small)


def png(tensor: Array) -> bytes:
    """Draw a tensor of shape ``(height, width)``, ``(height, width, channels)`` or ``(channels, height, width)``.

    Values are taken to lie in the first of the ranges [0, 1], [-1, 1], [0, 16] and [0, 255] that holds them all, else
    they are stretched from least to greatest. Pictures with a side below 128 pixels are enlarged without smoothing.

    Examples
    --------
    >>> png(np.eye(8))[1:4]
    b'PNG'
    """
    return _as_png(_drawn(tensor))


def is_image(shape: tuple[int, ...]) -> bool:
    """Return whether a tensor of this shape can be looked at.

    Examples
    --------
    >>> is_image((8, 8)), is_image((3, 32, 32)), is_image((5, 7, 9)), is_image((1, 64))
    (True, True, False, False)
    """
    if len(shape) not in {2, 3} or np.prod(shape, dtype=float) > _PIXELS:
        return False
    if len(shape) == 2:
        return min(shape) > 1
    return any(shape[axis] in _CHANNELS and min(np.delete(shape, axis)) > 1 for axis in (2, 0))


def _images(value: Any, blobs: Blobs, depth: int) -> Iterator[_Found]:
    """Yield the images in a value, in order."""
    if isinstance(value, Mapping) and depth < _DEPTH:
        for one in value.values():
            yield from _images(one, blobs, depth + 1)
    elif isinstance(value, (list, tuple)) and depth < _DEPTH:
        for one in islice(value, 10 * _MOST):
            yield from _images(one, blobs, depth + 1)
    elif isinstance(value, BlobRef):
        yield from _referred(value, blobs, depth)
    elif isinstance(value, (bytes, bytearray)):
        if (found := _file(bytes(value))) is not None:
            yield found
    elif isinstance(value, np.ndarray) and value.dtype.kind in "buif":
        yield from _tensor(value)


def _referred(value: BlobRef, blobs: Blobs, depth: int) -> Iterator[_Found]:
    if not blobs.exists(value.hash):
        return
    dark = value.about.get("maximum", _DARK + 1) <= _DARK  # a mask of zeros and ones, say
    if value.media_type in {NPY, PACKED} or (dark and value.media_type == "image/png"):
        try:
            tensor = as_array(blobs.get(value.hash), value.about)
        except _DAMAGE:
            return
        yield from _images(tensor, blobs, depth + 1)
    elif value.media_type.startswith("image/"):
        found = _file(blobs.get(value.hash))
        # What a browser may know and Pillow does not, an SVG for one, is left to the browser.
        yield value if found is None or isinstance(found, tuple) else found


def _tensor(value: NDArray[Any]) -> Iterator[_Found]:
    while value.ndim > 3 and value.shape[0] == 1:
        value = value[0]  # a batch of one
    if is_image(value.shape):
        yield _drawn(value)
    elif value.ndim == 4:
        for one in value[:_MOST]:
            if is_image(one.shape):
                yield _drawn(one)


def _file(data: bytes) -> tuple[bytes, str] | Image | None:
    """Return an image file that browsers show as it is, another one opened, None for what is none."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as image:
            media_type = _SHOWN_BY_BROWSERS.get(image.format or "")
            if media_type is not None and image.mode in _MODES:
                return data, media_type
            if image.width * image.height > _PIXELS:
                return None
            image.load()
            return _plain(image)
    except Exception as error:  # noqa: BLE001 - decoders raise whatever they like on bytes that are no image
        _logger.debug("not an image: %s", error)
        return None


@cache
def _formats() -> tuple[str, ...]:
    """Return the formats looked for, as far as this Pillow has them."""
    from PIL import Image

    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _plain(image: Image) -> Image:
    """Return an image in eight bits a channel, upright."""
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(image)
    if upright.mode in _MODES:
        return upright
    if upright.mode.startswith(("I", "F")):
        return _drawn(np.asarray(upright))
    return upright.convert("RGBA" if upright.mode.lower().endswith("a") else "RGB")


def _opened(found: _Found, blobs: Blobs) -> Image:
    from PIL import Image

    if isinstance(found, Image.Image):
        return found
    data = blobs.get(found.hash) if isinstance(found, BlobRef) else found[0]
    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as image:
            image.load()
            return _plain(image)
    except Exception as error:  # noqa: BLE001 - as above; a broken one of several leaves its place empty
        _logger.debug("an image of several cannot be drawn: %s", error)
        return Image.new("RGB", (_TILE, _TILE), "lightgrey")


def _sheet(images: list[Image]) -> Image:
    """Put images side by side, three in a row, in order."""
    from PIL import Image, ImageOps

    across = min(3, len(images))
    down = -(-len(images) // across)
    step = _TILE + _GAP
    sheet = Image.new("RGB", (across * step - _GAP, down * step - _GAP), "white")
    for place, image in enumerate(images):
        tile = ImageOps.contain(image.convert("RGB"), (_TILE, _TILE))
        sheet.paste(tile, (place % across * step, place // across * step))
    return sheet


def _as_png(image: Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _drawn(tensor: Array) -> Image:
    from PIL import Image

    pixels = _to_bytes(tensor)
    enlarge = -(-_LEAST // min(pixels.shape[:2]))
    if enlarge > 1 and max(pixels.shape[:2]) * enlarge <= 2**14:
        pixels = pixels.repeat(enlarge, axis=0).repeat(enlarge, axis=1)
    return Image.fromarray(pixels)


def _to_bytes(tensor: Array) -> NDArray[np.uint8]:
    values = np.asarray(tensor, dtype=np.float64)
    if values.ndim == 3 and values.shape[2] not in _CHANNELS:
        values = np.moveaxis(values, 0, 2)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.ndim == 3 and values.shape[2] == _CHANNELS[-1] and np.asarray(tensor).dtype != np.uint8:
        values = values[:, :, :3]  # only of bytes is it known what full opacity is
    finite = values[np.isfinite(values)]
    least, greatest = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    low, high = next(
        ((low, high) for low, high in _RANGES if low <= least and greatest <= high), (least, greatest)
    )
    # Halves, so that the distance between the greatest doubles is finite, too.
    width = high / 2 - low / 2 or 0.5
    scaled = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) / 2 - low / 2) / width
    return np.rint(scaled * 255).astype(np.uint8)
