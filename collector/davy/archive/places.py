"""Where the files lie: a directory or a bucket, by URL. The only file that knows pyarrow's file systems."""

from __future__ import annotations

import time
from typing import Final, Protocol

from davy._directory import directory_of, make_directory, remove_abandoned, write_whole
from davy.errors import ArchiveError, SettingError

_UNFINISHED: Final = ".unfinished"


class Place(Protocol):
    """Keeps files by path; whoever finds a path finds the whole file."""

    def put(self, path: str, data: bytes) -> None:
        """Write a file, over the one that is there if any. Raises ArchiveError when it cannot be kept."""


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
            remedy = f"cannot be written ({error.strerror}): free space or give write permission"
            raise ArchiveError("archive", f"{self._root}/{path}", remedy) from error


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
            remedy = f"cannot be written: is the bucket there, and may this user write to it? ({error})"
            raise ArchiveError("archive", f"s3://{self._root}/{path}", remedy) from error


def open_place(url: str) -> Place:
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
