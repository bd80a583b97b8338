"""URLs as they may be shown: printed, logged, kept in an error."""

from __future__ import annotations

import re
from typing import Final

_PASSWORD: Final = re.compile(r"(?<=://)([^/?#\s:@]*):[^/?#\s]*(?=@)")


def redacted(text: str) -> str:
    """Give a text with the password of every URL in it replaced by asterisks.

    Examples
    --------
    >>> redacted("kafka://davy:secret@broker:9092/team")
    'kafka://davy:***@broker:9092/team'
    """
    return _PASSWORD.sub(r"\1:***", text)
