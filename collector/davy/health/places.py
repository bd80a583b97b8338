"""Log, store, blobs and disks: written and looked over, not only asked."""

from __future__ import annotations

import os
import resource
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from davy._directory import directory_of, unwritten
from davy.errors import DavyError
from davy.health.check import Check, State, attempt
from davy.log import Log
from davy.log import sqlite as log_sqlite
from davy.runtime import Runtime
from davy.store import Store
from davy.store import sqlite as store_sqlite

PROBE_SECONDS: Final = 5.0
_ON_DISK: Final = frozenset({"sqlite", "file"})
_LOW_BYTES: Final = 2**30
_FULL_BYTES: Final = 32 * 2**20
_FULL_SHARE: Final = 0.02
_GIB: Final = 2**30
_FILES: Final = 4


def log_check(runtime: Runtime, seconds: float | None = None) -> list[Check]:
    """Write to the log where it can be written without a trace, else ask it; five seconds are the most."""
    return [_written("log", runtime.log, seconds)]


def store_check(runtime: Runtime, seconds: float | None = None) -> list[Check]:
    """Write to the store; five seconds are the most. What is known to be damaged is not written to."""
    return [_written("store", runtime.store, seconds)]


def log_checks(runtime: Runtime, look_over: float, seconds: float) -> list[Check]:
    """Look the log's file over for so long, and write to the log."""
    return _whole(partial(_log_file, runtime, look_over), "log", partial(log_check, runtime, seconds))


def store_checks(runtime: Runtime, look_over: float, seconds: float) -> list[Check]:
    """Look the store's file over for so long, so that damage is known, and write to the store."""
    return _whole(partial(_store_file, runtime, look_over), "store", partial(store_check, runtime, seconds))


def blobs_check(runtime: Runtime) -> list[Check]:
    """Put a payload nobody else has, read it back and remove it."""
    stored = runtime.blobs.put(b"probe " + secrets.token_bytes(16), "application/octet-stream")
    runtime.blobs.get(stored.hash)
    runtime.blobs.delete(stored.hash)
    return [Check("blobs", "ok", f"{runtime.blobs.url}: a payload was put, read back and removed")]


def files_check() -> list[Check]:
    """Open as many files as a connection and a file of the log take, and close them."""
    held: list[int] = []
    try:
        while len(held) < _FILES:
            held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return [
            Check("open files", "wrong", f"all are in use, this process may have {allowed}", unwritten(error))
        ]
    finally:
        for one in held:
            os.close(one)
    return [Check("open files", "ok", "more can be opened")]


def integrity_checks(runtime: Runtime, seconds: float) -> list[Check]:
    """Look over the SQLite files of log and store, each for `seconds` at most."""
    return [*_log_file(runtime, seconds), *_store_file(runtime, seconds)]


def _written(what: str, place: Log | Store, seconds: float | None) -> Check:
    proof = place.probe(PROBE_SECONDS if seconds is None else min(seconds, PROBE_SECONDS))
    return Check(what, "ok", f"{place.url}: {proof}")


def _whole(look_over: Callable[[], list[Check]], what: str, write: Callable[[], list[Check]]) -> list[Check]:
    """Return what is said of a place, and then of its file; one that cannot be opened says why when it is written."""
    files: list[Check] = []
    with suppress(DavyError):
        files = look_over()
    return [*attempt(what, write), *files]


def _log_file(runtime: Runtime, seconds: float) -> list[Check]:
    return _integrity("log file", runtime.log, seconds, log_sqlite.IF_DAMAGED)


def _store_file(runtime: Runtime, seconds: float) -> list[Check]:
    return _integrity("store file", runtime.store, seconds, store_sqlite.IF_DAMAGED)


def _integrity(what: str, place: Log | Store, seconds: float, remedy: str) -> list[Check]:
    if not place.url.startswith("sqlite:"):
        return []
    damage = place.damage(seconds)
    if damage is None:
        return [Check(what, "ok", f"no damage known; {seconds:g} s were not enough to look it over")]
    if damage:
        return [Check(what, "wrong", f"damaged: {damage}", remedy)]
    return [Check(what, "ok", "looked over, no damage")]


def disk_check(runtime: Runtime) -> list[Check]:
    """Ask each disk that a directory of Davy's lies on for its free space."""
    settings = runtime.settings
    urls = {
        "log": settings.url,
        "store": settings.store_url,
        "blobs": settings.blob_url,
        "archive": settings.archive.url,
    }
    found = [*_disks(urls)]
    return found or [Check("disk", "ok", "nothing lies on a disk of this machine")]


def _disks(urls: dict[str, str]) -> Iterator[Check]:
    seen: set[int] = set()
    for name, url in urls.items():
        if url.partition("://")[0] not in _ON_DISK:
            continue
        directory = _existing(directory_of(url))
        device = directory.stat().st_dev
        if device not in seen:
            yield _disk(f"disk of {name}" if seen else "disk", directory)
            seen.add(device)


def _disk(what: str, directory: Path) -> Check:
    usage = shutil.disk_usage(directory)
    free = f"{usage.free / _GIB:.2f} GiB free on the disk of {directory}"
    remedy = "free space on that disk, or lower DAVY_LOG_KEEP_BYTES"
    entries = os.statvfs(directory)
    if entries.f_files and not entries.f_favail:
        return Check(
            what, "wrong", f"no file can be made on the disk of {directory}: its inodes are used up", remedy
        )
    state: State = "ok"
    if usage.free < min(_FULL_BYTES, _FULL_SHARE * usage.total):
        state = "wrong"
    elif usage.free < _LOW_BYTES:
        state = "warning"
    return Check(what, state, free, "" if state == "ok" else remedy)


def _existing(directory: Path) -> Path:
    """Return the directory or, where it is not there, the nearest one above it."""
    place = directory.absolute()
    return next(path for path in (place, *place.parents) if path.exists())
