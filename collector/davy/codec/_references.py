"""Which payloads bytes refer to, found by the form of a reference alone."""

from __future__ import annotations

import re
from typing import Final

_HASH: Final = re.compile(rb"\xd9\x40([0-9a-f]{64})")
"""MessagePack's text of 64 bytes, as `dump_reference` writes the hash of a payload."""


def references(data: bytes) -> frozenset[str]:
    """Return the hashes of all payloads that an envelope, an event or any dumped value refers to.

    Bytes that nobody can decode are searched as well as others. Text that looks like a hash counts too: what this does
    not name is certainly not referred to.

    Examples
    --------
    >>> from davy.codec import dump_any
    >>> from davy.event import BlobRef
    >>> references(dump_any([BlobRef("ab" * 32, 4, "text/plain")])) == {"ab" * 32}
    True
    """
    return frozenset(found.decode() for found in _HASH.findall(data))
