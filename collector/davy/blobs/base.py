"""The port of the blob store: payloads under the hash of their bytes (a claim check), stored once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from davy.event import BlobRef


def reference(data: bytes, media_type: str) -> BlobRef:
    """Name a payload by its content.

    Examples
    --------
    >>> reference(b"lamp", "text/plain").length
    4
    """
    digest = hashlib.blake2b(data, digest_size=32).hexdigest()
    return BlobRef(hash=digest, length=len(data), media_type=media_type)


@dataclass(frozen=True, slots=True)
class Stored:
    """A payload as it lies there; `at` is when it was put last, nanoseconds since the epoch, `length` in bytes."""

    hash: str
    at: int
    length: int


class Blobs(Protocol):
    """One blob store, by URL."""

    url: str

    def put(self, data: bytes, media_type: str) -> BlobRef:
        """Store a payload; storing it again only renews its time. Raises BlobError when it cannot be kept."""

    def get(self, hash: str) -> bytes:
        """Give a payload. Raises BlobError when there is none or its bytes no longer match the hash."""

    def exists(self, hash: str) -> bool:
        """Whether a payload is stored."""

    def delete(self, hash: str) -> None:
        """Remove a payload; removing what is not there is harmless."""

    def hashes(self) -> Iterator[str]:
        """Give the hash of every payload stored."""

    def stored(self) -> Iterator[Stored]:
        """Give every payload stored, with the time it was put last."""

    def close(self) -> None:
        """Let go of everything; calling it twice is harmless."""
