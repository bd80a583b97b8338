"""Payloads in files named by their content, shared by the processes of one host."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from davy._directory import directory_of, make_directory, remove_abandoned, unwritten, write_whole
from davy.blobs.base import StoredBlob, reference
from davy.errors import BlobError
from davy.event import BlobRef

_HASH: Final = re.compile(r"[0-9a-f]{64}")


class FileBlobs:
    """A directory of payloads, in folders by the first two digits of the hash.

    Parameters
    ----------
    url
        ``file:///relative/directory`` or ``file:////absolute/directory``.
    clock
        Seconds since the epoch; files that a process left unfinished an hour ago are removed on opening.

    Raises
    ------
    BlobError
        The directory cannot be used.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        self.url = url
        self._directory = make_directory(directory_of(url), BlobError).resolve()
        remove_abandoned(self._directory, now=clock())

    def put(self, data: bytes, media_type: str) -> BlobRef:
        """Store a payload; again, its time is renewed, or a file that was damaged repaired.

        Raises
        ------
        BlobError
            The payload cannot be kept: no space, no permission.
        """
        found = reference(data, media_type)
        path = self._path(found.hash)
        try:
            if not _renewed(path, data):
                write_whole(path, data, beside=self._directory)
        except OSError as error:
            raise BlobError("blob", str(path), f"cannot be kept: {unwritten(error)}") from error
        return found

    def get(self, hash: str) -> bytes:
        """Return a payload. Raises BlobError when there is none or its bytes no longer match the hash."""
        try:
            data = self._path(hash).read_bytes() if _HASH.fullmatch(hash) else None
        except FileNotFoundError:
            data = None
        except OSError as error:
            raise BlobError("blob", hash, f"cannot be read: {unwritten(error)}") from error
        if data is None:
            raise BlobError("blob", hash, "is not stored here; it was deleted or never put")
        if reference(data, "").hash != hash:
            raise BlobError("blob", hash, "is damaged; put the payload again or restore a backup")
        return data

    def exists(self, hash: str) -> bool:
        """Whether a payload is stored."""
        try:
            return _HASH.fullmatch(hash) is not None and self._path(hash).exists()
        except OSError as error:
            raise BlobError("blob", hash, f"cannot be looked for: {unwritten(error)}") from error

    def delete(self, hash: str) -> None:
        """Remove a payload; removing what is not there is harmless."""
        if _HASH.fullmatch(hash):
            try:
                self._path(hash).unlink(missing_ok=True)
            except OSError as error:
                raise BlobError("blob", hash, f"cannot be removed: {unwritten(error)}") from error

    def stored(self) -> Iterator[StoredBlob]:
        """List the payloads, in no order; one that is put or removed meanwhile may come or not."""
        for path in self._directory.glob("[0-9a-f][0-9a-f]/*"):
            hash = f"{path.parent.name}{path.name}"
            if _HASH.fullmatch(hash):
                with suppress(FileNotFoundError):  # removed meanwhile
                    status = path.stat()
                    yield StoredBlob(hash, status.st_mtime_ns, status.st_size)

    def close(self) -> None:
        """Nothing is held between calls."""

    def _path(self, hash: str) -> Path:
        return self._directory / hash[:2] / hash[2:]


def _renewed(path: Path, data: bytes) -> bool:
    """Return a payload that is there a new time; False when it is not, or is damaged."""
    try:
        if path.read_bytes() != data:
            return False
        os.utime(path)
    except FileNotFoundError:
        return False
    return True
