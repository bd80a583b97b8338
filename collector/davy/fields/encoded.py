"""Pictures in files, as bytes: what is monitored of their pixels, where Pillow can read them."""

from __future__ import annotations

import io
import sys
from typing import Any, Final

from davy.event import Array
from davy.fields.arrays import picture
from davy.fields.measures import IMAGE, of_pictures
from davy.fields.media import media_type

_SIDE: Final = 256
"""JPEG is read at a half, a quarter or an eighth of its size while both sides have so many pixels."""
_PIXELS: Final = 64_000_000


def is_encoded(data: Any) -> bool:
    """Return whether a value is the bytes of a picture's file, by how they begin."""
    return isinstance(data, (bytes, bytearray)) and media_type(bytes(data[:32])).startswith("image/")


def of_encoded(data: bytes, *, load: bool = False) -> dict[str, Any]:
    """Return what is said of a picture's file: its length and, where it can be read, what is monitored of pictures.

    Without `load` only a Pillow that somebody has imported already is used: in a serving app the SDK imports none.
    """
    found: dict[str, Any] = {"length": len(data)}
    pixels = decoded(data, load=load) if is_encoded(data) else None
    if pixels is not None and pixels.size:
        found |= {name: float(values[0]) for name, values in of_pictures(pixels[None]).items()}
    return found


def decoded(data: bytes, *, load: bool = True) -> Array | None:
    """Return the pixels of a picture's file, a large JPEG's at a part of its size; None for what cannot be read."""
    image_module: Any = sys.modules.get("PIL.Image")
    if image_module is None and load:
        try:
            from PIL import Image as image_module  # noqa: N813
        except ImportError:
            return None
    if image_module is None:
        return None
    try:
        with image_module.open(io.BytesIO(data)) as image:
            if image.width * image.height > _PIXELS:
                return None
            image.draft(None, (_SIDE, _SIDE))
            return picture(image)
    except Exception:  # noqa: BLE001 - decoders raise whatever they like on bytes that are no picture
        return None


MEASURES: Final = ("length", *IMAGE)
