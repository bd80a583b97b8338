"""The port of the blob store: payloads under the hash of their bytes (a claim check), stored once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from davy.event import BlobRef


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A payload as the blob store lists it: its hash, when it was put (ns since the epoch), its length in bytes.

    A payload that is put again is as young as a new one, give or take an hour (an object store does not send it again
    within one). So whoever removes what nobody refers to spares what is younger than a few hours: its reference may be
    on its way.
    """

    hash: str
    at: int
    length: int


def reference(data: bytes, media_type: str) -> BlobRef:
    """Name a payload by its content.

    Examples
    --------
    >>> reference(b"lamp", "text/plain").length
    4
    """
    from hashlib import blake2b  # loads OpenSSL, which an app that stores no payload need not have

    digest = blake2b(data, digest_size=32).hexdigest()
    return BlobRef(hash=digest, length=len(data), media_type=media_type)


class Blobs(Protocol):
    """One blob store, by URL."""

    url: str

    def put(self, data: bytes, media_type: str) -> BlobRef:
        """Store a payload; again, it is stored once and its time renewed. Raises BlobError when it cannot be kept."""

    def get(self, hash: str) -> bytes:
        """Return a payload. Raises BlobError when there is none or its bytes no longer match the hash."""

    def exists(self, hash: str) -> bool:
        """Whether a payload is stored."""

    def delete(self, hash: str) -> None:
        """Remove a payload; removing what is not there is harmless."""

    def stored(self) -> Iterator[StoredBlob]:
        """List the payloads, in no order; one that is put or removed meanwhile may come or not."""

    def close(self) -> None:
        """Release everything; calling it twice is harmless."""
