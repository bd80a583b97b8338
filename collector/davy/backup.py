"""The commands ``davy backup`` and ``davy restore``: one state of log, store, payloads and datasets of one machine.

The store is copied first, the log after it and the payloads last, each at one moment while others write. So no role's
position is ahead of the log, and every payload that an envelope names is there: what the store of the copy has not
counted yet is in its log, and is counted once Davy runs on it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import typer

from davy import console
from davy._directory import directory_of, make_directory, unread, unwritten
from davy._near import meant_path
from davy.blobs import reference
from davy.config import Settings, load
from davy.errors import SettingError
from davy.runner import beside_the_log, open_runtime
from davy.runtime import Runtime

if TYPE_CHECKING:
    from davy.log.sqlite import SqliteLog
    from davy.store.sqlite import SqliteStore

_FORMAT: Final = 1
_MANIFEST: Final = "backup.json"
_FILES: Final = ("store.db", "log.db")
_MARK: Final = "keys-needed"
_BLOBS: Final = "blobs"
_DATASETS: Final = "datasets"
_KINDS: Final = (".tar", ".tar.gz", ".tgz")
_TARS: Final = {".tar": "w", ".gz": "w:gz", ".tgz": "w:gz"}
_OTHERS: Final = (
    ".zip", ".7z", ".rar", ".xz", ".txz", ".bz2", ".tbz", ".tbz2", ".zst", ".tzst", ".lz", ".lz4", ".lzma",
)  # fmt: skip
"""Archives that are not made: what is called so is meant as a file."""
_UNFINISHED: Final = ".davy-unfinished-"
_TOOLS: Final = (
    "`davy backup` copies what lies on this machine's disks: of Redis take a snapshot first (`redis-cli --rdb`), then"
    " of the log (MirrorMaker, or the brokers' volumes), then of the bucket (its own versions); see docs/deploy.md"
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def backup(
    target: Annotated[
        Path,
        typer.Argument(help="A directory that is not there yet or empty, or a file .tar, .tar.gz or .tgz."),
    ],
    as_json: AsJson = False,
) -> None:
    """Copy log, store, payloads and datasets while Davy and apps run; what comes later is not in it."""
    settings = beside_the_log(load())
    _require_on_disk(settings, _TOOLS)
    with (
        open_runtime(settings, make=False, forgotten=True) as runtime,
        _made(target, "backup") as place,
    ):
        found = back_up(runtime, place)
    console.show_one({"backup": str(target), **found}, title="davy backup", as_json=as_json)
    if not runtime.blobs.url.startswith("file:"):
        console.warn(
            f"davy: payloads are in {runtime.blobs.url}, not in the backup: copy them after it, by that store's tools"
        )


def restore(
    source: Annotated[Path, typer.Argument(help="What `davy backup` made.")],
    as_json: AsJson = False,
) -> None:
    """Put a backup where the settings say, which has to be empty; then `davy up` goes on from it."""
    settings = beside_the_log(load())
    with ExitStack() as stack:
        found = put_back(_opened(source, stack), settings)
    console.show_one({"restored": str(source), **found}, title="davy restore", as_json=as_json)


def back_up(runtime: Runtime, place: Path) -> dict[str, Any]:
    """Copy everything into a directory; return what there is of it.

    Parameters
    ----------
    runtime
        With log and store on SQLite.
    place
        An empty directory.

    Raises
    ------
    SettingError
        Log or store lie on no disk of this machine.
    """
    settings = runtime.settings
    _require_on_disk(settings, _TOOLS)
    cast("SqliteStore", runtime.store).back_up(place / "store.db")
    cast("SqliteLog", runtime.log).back_up(place / "log.db")
    mark = directory_of(settings.url) / _MARK
    if mark.exists():
        shutil.copy2(mark, place / _MARK)
    blobs = _directory("file", settings.blob_url)
    payloads = _copied(blobs, place / _BLOBS) if blobs is not None else (0, 0)
    datasets = _copied(_datasets(settings), place / _DATASETS)
    files = {name: {"bytes": (place / name).stat().st_size, "sha256": _hash(place / name)} for name in _FILES}
    made = datetime.fromtimestamp(runtime.clock() / 1e9, UTC).isoformat(timespec="seconds")
    found = {
        "made": made,
        "log_bytes": files["log.db"]["bytes"],
        "store_bytes": files["store.db"]["bytes"],
        "payloads": payloads[0],
        "payload_bytes": payloads[1],
        "dataset_files": datasets[0],
        "dataset_bytes": datasets[1],
    }
    manifest = {"format": _FORMAT, "davy": version("davy"), "files": files, **found}
    (place / _MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    for path in (*(place / name for name in (*_FILES, _MANIFEST)), place):
        _sync(path)
    return found


def put_back(place: Path, settings: Settings) -> dict[str, Any]:
    """Put what `back_up` made where the settings say; return what there was of it.

    Raises
    ------
    SettingError
        It is no whole backup; or where it is to go something is already, or the settings name another kind of place.
    """
    manifest = _manifest(place)
    goals = _goals(place, settings)
    for goal in goals.values():
        _require_empty(goal if goal.name not in (*_FILES, _MARK) else goal.parent)
    for name, told in manifest["files"].items():
        if _hash(place / name) != told["sha256"]:
            raise SettingError("backup", str(place / name), "is not what was backed up: take another backup")
    for path in sorted((place / _BLOBS).glob("*/*")):
        if reference(path.read_bytes(), "").hash != f"{path.parent.name}{path.name}":
            raise SettingError("backup", str(path), "is damaged: take another backup")
    for name, goal in goals.items():
        _place(place / name, goal)
    return {name: value for name, value in manifest.items() if name not in {"format", "files"}}


def _goals(place: Path, settings: Settings) -> Mapping[str, Path]:
    """Return where each part of a backup goes; the log last, for by it others tell that all is there."""
    _require_on_disk(settings, "a backup goes to sqlite:///directory")
    log, store = directory_of(settings.url), directory_of(settings.store_url)
    goals = {_DATASETS: _datasets(settings), _MARK: log / _MARK, "store.db": store / "store.db"}
    blobs = _directory("file", settings.blob_url)
    if blobs is not None:
        goals = {_BLOBS: blobs, **goals}
    elif (place / _BLOBS).exists():
        raise SettingError(
            "DAVY_BLOB_URL", settings.blob_url, "the backup's payloads go to file:///directory"
        )
    return {
        name: goal for name, goal in {**goals, "log.db": log / "log.db"}.items() if (place / name).exists()
    }


def _require_on_disk(settings: Settings, remedy: str) -> None:
    """Raise SettingError unless log and store are SQLite files."""
    for variable, url in (("DAVY_URL", settings.url), ("DAVY_STORE_URL", settings.store_url)):
        if not url.startswith("sqlite:"):
            raise SettingError(variable, url, remedy)


def _require_empty(directory: Path) -> None:
    """Raise SettingError where there is anything in a directory that is to be restored into."""
    try:
        found = sorted(path.name for path in directory.iterdir()) if directory.exists() else []
    except OSError as error:
        raise SettingError("directory", str(directory), unread(error)) from error
    if found:
        some = ", ".join(found[:3]) + (" …" if len(found) > 3 else "")
        remedy = (
            f"is not empty ({some}): stop what uses it and move it away, or set DAVY_URL to another directory"
        )
        raise SettingError("directory", str(directory), remedy)


def _place(source: Path, goal: Path) -> None:
    """Copy a file or a directory to where nothing is; whoever finds its name finds all of it."""
    make_directory(goal.parent, SettingError)
    try:
        if source.is_dir():
            _copied(source, goal)
            return
        handle, name = tempfile.mkstemp(prefix=_UNFINISHED, dir=goal.parent)
        os.close(handle)
        try:
            shutil.copyfile(source, name)
            _sync(Path(name))
            os.link(name, goal)  # never over a file that somebody made meanwhile
        finally:
            Path(name).unlink()
        _sync(goal.parent)
    except FileExistsError as error:
        remedy = "somebody made it meanwhile: stop what uses the directory, move it away and restore again"
        raise SettingError("file", str(goal), remedy) from error
    except OSError as error:
        raise SettingError("file", str(goal), unwritten(error)) from error


def _copied(source: Path, goal: Path) -> tuple[int, int]:
    """Copy the files below a directory, if it is there; return how many and their bytes. One deleted now may lack."""
    count = size = 0
    for path in sorted(source.rglob("*")) if source.is_dir() else ():
        to = goal / path.relative_to(source)
        if path.name.startswith(".") or not path.is_file():
            continue
        make_directory(to.parent, SettingError)
        with suppress(FileNotFoundError):
            shutil.copy2(path, to)
            count, size = count + 1, size + to.stat().st_size
    return count, size


def _manifest(place: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((place / _MANIFEST).read_text(encoding="utf-8"))
        known, missing = found["format"], [name for name in found["files"] if not (place / name).is_file()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingError(
            "backup", str(place), f"has no {_MANIFEST} that can be read: give what `davy backup` made"
        ) from error
    if known != _FORMAT:
        raise SettingError("backup", str(place), f"has format {known}, this Davy reads {_FORMAT}; upgrade it")
    if missing:
        raise SettingError("backup", str(place), f"lacks {', '.join(missing)}: take another backup")
    return found


@contextmanager
def _made(target: Path, option: str) -> Iterator[Path]:
    """Yield a directory to fill that becomes `target`, as it is or as a tar, once all of it is there."""
    tar = _TARS.get(target.suffix)
    if target.suffix in _OTHERS and not target.is_dir():
        remedy = f"no archive of this kind is made: name a file {', '.join(_KINDS)}, or a directory"
        raise SettingError(option, str(target), remedy)
    try:
        if target.exists() and (tar is not None or not target.is_dir() or any(target.iterdir())):
            remedy = "is there already: name a new file, or a directory that is new or empty"
            raise SettingError(option, str(target), remedy)
        make_directory(target.parent, SettingError)
        with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=target.parent) as folder:
            place = Path(folder) / "davy-backup"
            place.mkdir(mode=0o700)
            yield place
            if tar is None:
                place.replace(target)
            else:
                whole = Path(folder) / target.name
                whole.touch(mode=0o600)
                with tarfile.open(whole, tar) as file:  # type: ignore[call-overload]
                    file.add(place, arcname="davy-backup")
                _sync(whole)
                whole.replace(target)
            _sync(target.parent)
    except OSError as error:
        raise SettingError(option, str(target), unwritten(error)) from error


def _opened(source: Path, stack: ExitStack) -> Path:
    """Return the directory of a backup, unpacked when it is a tar."""
    if source.is_dir():
        return source
    try:
        if not source.exists():
            near = meant_path(source, source.parent.iterdir() if source.parent.is_dir() else ())
            raise SettingError("backup", str(source), f"is not there; {near}give what `davy backup` made")
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=source.parent)))
        with tarfile.open(source) as file:
            file.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise SettingError("backup", str(source), "is no tar that can be read: is it a backup?") from error
    except OSError as error:
        raise SettingError("backup", str(source), unread(error)) from error
    return folder / "davy-backup"


def _directory(scheme: str, url: str) -> Path | None:
    return directory_of(url) if url.startswith(f"{scheme}:") else None


def _datasets(settings: Settings) -> Path:
    """Return where dataset versions lie: where the settings say, else beside the store."""
    return (
        Path(settings.mine.datasets)
        if settings.mine.datasets
        else directory_of(settings.store_url) / _DATASETS
    )


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
