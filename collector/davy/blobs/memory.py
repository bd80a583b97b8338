"""Payloads in the memory of one process: for tests, and for roles that live together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from davy.blobs.base import StoredBlob, reference
from davy.errors import BlobError
from davy.event import BlobRef


class MemoryBlobs:
    """A blob store that lives as long as its process.

    Parameters
    ----------
    name
        What stands behind ``memory://``.
    clock
        Nanoseconds since the epoch.

    Examples
    --------
    >>> blobs = MemoryBlobs("example")
    >>> blobs.get(blobs.put(b"lamp", "text/plain").hash)
    b'lamp'
    """

    _named: Final[dict[str, MemoryBlobs]] = {}
    _naming: Final = threading.Lock()

    def __init__(self, name: str = "", *, clock: Callable[[], int] = time.time_ns) -> None:
        self.url = f"memory://{name}"
        self._clock = clock
        self._payloads: dict[str, tuple[bytes, int]] = {}

    @classmethod
    def named(cls, name: str) -> MemoryBlobs:
        """Return the one blob store of this name in this process; the empty name is a name too."""
        with cls._naming:
            return cls._named.setdefault(name, cls(name))

    def put(self, data: bytes, media_type: str) -> BlobRef:
        """Store a payload; again, its time is renewed."""
        found = reference(data, media_type)
        self._payloads[found.hash] = bytes(data), self._clock()
        return found

    def get(self, hash: str) -> bytes:
        """Return a payload. Raises BlobError when there is none."""
        try:
            return self._payloads[hash][0]
        except KeyError as error:
            raise BlobError("blob", hash, "is not stored here; it was deleted or never put") from error

    def exists(self, hash: str) -> bool:
        """Whether a payload is stored."""
        return hash in self._payloads

    def delete(self, hash: str) -> None:
        """Remove a payload; removing what is not there is harmless."""
        self._payloads.pop(hash, None)

    def stored(self) -> Iterator[StoredBlob]:
        """List the payloads that were there when the first was asked for."""
        for hash, (data, at) in list(self._payloads.items()):
            yield StoredBlob(hash, at, len(data))

    def close(self) -> None:
        """Leave the payloads to whoever else opened this name."""
