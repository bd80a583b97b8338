"""JSON that strict parsers refuse for its characters: a mark of the byte order, an emoji cut in half, no UTF-8."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from typing import Final

_HIGH: Final = rb"u[dD][89abAB][0-9a-fA-F]{2}"
_LOW: Final = rb"u[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPES: Final = re.compile(
    rb"\\(?:(?P<whole>" + _HIGH + rb"\\" + _LOW + rb")|(?P<half>" + _HIGH + rb"|" + _LOW + rb")|.)", re.DOTALL
)
NOT_UTF8: Final = "is not in UTF-8: send JSON in UTF-8"
_UNKNOWN: Final = rb"\ufffd"


def whole_characters(data: bytes) -> bytes:
    r"""Return JSON without a mark of the byte order, in which an escaped surrogate without its other half is U+FFFD.

    Examples
    --------
    >>> whole_characters(rb'["\ud83d\ude00", "cut \ud83d", "\\ud83d"]').decode()
    '["\\ud83d\\ude00", "cut \\ufffd", "\\\\ud83d"]'
    """
    return _ESCAPES.sub(lambda found: _UNKNOWN if found["half"] else found[0], data.removeprefix(BOM_UTF8))


def in_utf8(data: bytes) -> bool:
    """Whether JSON is in UTF-8; zeros among its first characters are UTF-16 or UTF-32, which may also be UTF-8.

    Examples
    --------
    >>> in_utf8(b"[1]"), in_utf8("[1]".encode("utf-16")), in_utf8("[1]".encode("utf-16-le"))
    (True, False, False)
    """
    try:
        return "\0" not in data.decode()[:4]
    except UnicodeDecodeError:
        return False
