"""What stands for the files inside a mapping or list that is too large to travel: a note of kind, size and hash.

A chat holds its pictures inline, as data URLs of some hundred kilobytes. What was said is kept, and of each picture
what tells it from others; whoever wants its pixels sends it as a field of its own.
"""

from __future__ import annotations

import binascii
import re
from typing import Any, Final

import numpy as np

from davy.fields.media import media_type

LEAST: Final = 1_024
"""What has fewer bytes stays."""
_URL: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w.+-]+=[^;,]*)*;base64,")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]{64}")


def noted(value: Any) -> Any:
    """Return a plain value with notes in place of the files and arrays in its mappings and lists; text stays.

    Examples
    --------
    >>> noted([{"role": "user", "url": "data:image/gif;base64," + "R0lG" * 1000}, "short"])
    [{'role': 'user', 'url': 'image/gif, 3000 bytes, sha256 944a7ea3567389e1'}, 'short']
    """
    kind = type(value)
    if kind is dict:
        return {name: noted(item) for name, item in value.items()}
    if kind is list:
        return [noted(item) for item in value]
    if kind is str and len(value) >= LEAST:
        return _of_text(value)
    if kind is bytes and len(value) >= LEAST:
        return _note(media_type(value), value)
    if kind is np.ndarray and value.nbytes >= LEAST:
        return _note(f"{value.dtype} of shape {value.shape}", value.tobytes())
    return value


def _of_text(value: str) -> str:
    """Return the note of a file in base64, with or without what says so before it; other text as it is."""
    said = _URL.match(value)
    begins = said.end() if said else 0
    if said is None and not _BASE64.match(value):
        return value
    try:
        data = binascii.a2b_base64(value[begins:].encode("ascii"))
    except (ValueError, UnicodeEncodeError):
        return value
    found = media_type(data)
    if said is None and found == "application/octet-stream":
        return value  # a word of many letters
    return _note((said and said.group(1)) or found, data)


def _note(kind: str, data: bytes) -> str:
    from hashlib import sha256  # loads OpenSSL, which most apps that watch a model need not have

    return f"{kind}, {len(data)} bytes, sha256 {sha256(data).hexdigest()[:16]}"
