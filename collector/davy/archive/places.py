"""Where the files lie: a directory or a bucket, by URL. The only file that knows pyarrow's file systems."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, Final, Protocol
from urllib.parse import quote

from davy._directory import directory_of, make_directory, remove_abandoned, unwritten, write_whole
from davy.errors import ArchiveError, SettingError

_UNFINISHED: Final = ".unfinished"
_NAME_BYTES: Final = 200
_NO_NAME: Final = "__HIVE_DEFAULT_PARTITION__"


class FilePlace(Protocol):
    """Keeps files by path; whoever finds a path finds the whole file."""

    def put(self, path: str, data: bytes) -> None:
        """Write a file, over the one that is there if any. Raises ArchiveError when it cannot be kept."""

    def paths(self, folder: str) -> Iterator[str]:
        """Return the path of every Parquet file below a folder; raise ArchiveError when it cannot be looked through."""

    def open(self, path: str) -> BinaryIO | None:
        """Open a file for reading; None when it is not there. Raises ArchiveError when it cannot be read."""

    def remove(self, path: str) -> None:
        """Remove a file; harmless when it is gone. Raises ArchiveError when it stays."""

    def tidy(self) -> None:
        """Remove what killed processes left unfinished, while nobody writes."""


class Directory:
    """Files below a directory of this host.

    Parameters
    ----------
    url
        ``file:///relative/directory`` or ``file:////absolute/directory``.
    """

    def __init__(self, url: str) -> None:
        self._root = make_directory(directory_of(url), ArchiveError).resolve()
        self._unfinished = make_directory(self._root / _UNFINISHED, ArchiveError)
        remove_abandoned(self._unfinished, now=time.time())

    def put(self, path: str, data: bytes) -> None:
        """Write beside, then rename."""
        try:
            write_whole(self._root / path, data, beside=self._unfinished)
        except OSError as error:
            remedy = f"cannot be written: {unwritten(error)}"
            raise ArchiveError("archive", f"{self._root}/{path}", remedy) from error

    def paths(self, folder: str) -> Iterator[str]:
        """Look through the folder."""
        found = sorted((self._root / folder).rglob("*.parquet"))
        return (path.relative_to(self._root).as_posix() for path in found)

    def open(self, path: str) -> BinaryIO | None:
        """Open a file."""
        try:
            return (self._root / path).open("rb")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._out_of_reach(self._root / path, error) from error

    def remove(self, path: str) -> None:
        """Unlink a file."""
        try:
            (self._root / path).unlink(missing_ok=True)
        except OSError as error:
            raise self._out_of_reach(self._root / path, error) from error

    def tidy(self) -> None:
        """Unlink files that were to be renamed."""
        try:
            remove_abandoned(self._unfinished, now=math.inf)
        except OSError as error:
            raise self._out_of_reach(self._unfinished, error) from error

    @staticmethod
    def _out_of_reach(path: Path, error: OSError) -> ArchiveError:
        remedy = f"cannot be read or removed: {unwritten(error)}"
        return ArchiveError("archive", str(path), remedy)


class Bucket:
    """Objects below a prefix of an S3 bucket; an object is there when all of it is.

    Credentials, region and endpoint come from the environment (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL`` …) or the
    profile of this machine; region and endpoint may stand in the URL's query too.

    Parameters
    ----------
    url
        ``s3://bucket/prefix``.
    """

    def __init__(self, url: str) -> None:
        from pyarrow import fs

        bucket = url.partition("://")[2].partition("/")[0]
        if not bucket or "@" in bucket:
            remedy = "write s3://bucket/prefix; keys go into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            raise SettingError("archive.url", "s3://…" if bucket else url, remedy)
        try:
            self._files, self._root = fs.FileSystem.from_uri(url)
        except (ValueError, OSError) as error:
            raise SettingError("archive.url", url, f"is no S3 address ({error})") from error

    def put(self, path: str, data: bytes) -> None:
        """Write an object."""
        try:
            with self._files.open_output_stream(f"{self._root}/{path}") as stream:
                stream.write(data)
        except OSError as error:
            raise self._out_of_reach(path, "written", error) from error

    def paths(self, folder: str) -> Iterator[str]:
        """List the objects."""
        from pyarrow import fs

        selector = fs.FileSelector(f"{self._root}/{folder}", recursive=True, allow_not_found=True)
        bucket = self._root.partition("/")[0]
        try:
            found = sorted(one.path for one in self._files.get_file_info(selector))
            # `allow_not_found` takes a missing bucket for an empty one; nobody must believe that rows are gone from it.
            if not found and self._files.get_file_info(bucket).type is fs.FileType.NotFound:
                raise FileNotFoundError("there is no such bucket")
        except OSError as error:
            raise self._out_of_reach(folder, "listed", error) from error
        return (path.removeprefix(f"{self._root}/") for path in found if path.endswith(".parquet"))

    def open(self, path: str) -> BinaryIO | None:
        """Open an object."""
        try:
            file: BinaryIO = self._files.open_input_file(f"{self._root}/{path}")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._out_of_reach(path, "read", error) from error
        return file

    def remove(self, path: str) -> None:
        """Delete an object."""
        try:
            self._files.delete_file(f"{self._root}/{path}")
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._out_of_reach(path, "deleted", error) from error

    def tidy(self) -> None:
        """Do nothing: an object that is not whole is not there."""

    def _out_of_reach(self, path: str, verb: str, error: OSError) -> ArchiveError:
        remedy = f"cannot be {verb}: is the bucket there, and may this user do so? ({error})"
        return ArchiveError("archive", f"s3://{self._root}/{path}", remedy)


def file_name(name: str) -> str:
    """Write a name such that it is safe on every file system and no two are the same; most are decoded by `unquote`.

    Examples
    --------
    >>> file_name("fraud:3")
    'fraud%3A3'
    """
    safe = quote(name, safe="")
    if len(safe) > _NAME_BYTES:  # file systems take 255 bytes
        digest = blake2b(name.encode(), digest_size=8).hexdigest()
        safe = f"{safe[:_NAME_BYTES].rpartition('%')[0] or safe[:_NAME_BYTES]}~{digest}"
    return safe or _NO_NAME


def open_place(url: str) -> FilePlace:
    """Open the place at `url`.

    Raises
    ------
    SettingError
        The URL names no archive.
    """
    match url.partition("://")[0]:
        case "file":
            return Directory(url)
        case "s3":
            return Bucket(url)
    raise SettingError("archive.url", url, "an archive is file:///directory or s3://bucket/prefix")
