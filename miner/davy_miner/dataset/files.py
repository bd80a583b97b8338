"""One version on disk: written whole or not at all; read back only when every hash holds."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from davy.codec import dump_any, load_any
from davy.errors import DatasetError
from davy.event import Array

MANIFEST: Final = "manifest.json"
ROWS: Final = "rows.npz"
TEMPORARY: Final = ".building-"
FORMAT: Final = 1
_NEW: Final = ".new-"
_PACKED: Final = ".msgpack"
_ENDS: Final = ".ends"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_CONTENT: Final = ("format", "model", "suite_share", "rows", "files")


@dataclass(frozen=True, slots=True)
class Dataset:
    """A verified version: the manifest and the arrays by field name, every first axis the rows.

    Fields of mixed kinds and shapes come back as object arrays.
    """

    path: Path
    manifest: Mapping[str, Any]
    arrays: Mapping[str, Array]

    @property
    def version(self) -> str:
        """The version's id."""
        return str(self.manifest["version"])

    def __len__(self) -> int:
        return len(self.manifest["rows"])


def pack(columns: Mapping[str, Sequence[Any]]) -> bytes:
    """Write columns as an NPZ file; equal columns give equal bytes.

    Numbers, tensors of one shape and text become plain arrays. Anything else, and columns with missing values, are kept
    as MessagePack: ``<name>.msgpack`` holds the bytes, ``<name>.ends`` where each value ends.
    """
    arrays: dict[str, Array] = {}
    for name, values in columns.items():
        plain = _plain(values)
        if plain is not None:
            arrays[name] = plain
            continue
        packed = [dump_any(value) for value in values]
        arrays[name + _PACKED] = np.frombuffer(b"".join(packed), np.uint8)
        arrays[name + _ENDS] = np.cumsum([len(data) for data in packed], dtype=np.int64)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            member = io.BytesIO()
            np.save(member, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _EPOCH), member.getvalue())
    return buffer.getvalue()


def content_hash(manifest: Mapping[str, Any]) -> str:
    """Hash what makes a version what it is: rows, data files, model; not when and by what it was built."""
    text = json.dumps({key: manifest[key] for key in _CONTENT}, sort_keys=True, allow_nan=False)
    return hash_of(text.encode())


def hash_of(data: bytes) -> str:
    """Return the BLAKE2b-256 in hexadecimal, the hash of the blob store."""
    return hashlib.blake2b(data, digest_size=32).hexdigest()


def write(path: Path, manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Write a version; after a crash at any moment it is there whole or not at all.

    Raises
    ------
    DatasetError
        The directory cannot be written.
    """
    temporary = path.with_name(TEMPORARY + path.name)
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for name, data in {**files, MANIFEST: _manifest_bytes(manifest)}.items():
            _write_durably(temporary / name, data)
        _sync_directory(temporary)
        temporary.rename(path)
        _sync_directory(path.parent)
    except OSError as error:
        raise DatasetError("dataset directory", str(path), f"cannot be written: {error.strerror}") from error


def rewrite(path: Path, manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Replace a version's manifest and other files, under names of their own.

    At any moment the manifest names files that are there: what it no longer names waits for `tidy`.

    Raises
    ------
    DatasetError
        The directory cannot be written.
    """
    try:
        for name, data in {**files, MANIFEST: _manifest_bytes(manifest)}.items():
            new = path / f"{_NEW}{name}"
            new.unlink(missing_ok=True)
            _write_durably(new, data)
            new.replace(path / name)
        _sync_directory(path)
    except OSError as error:
        raise DatasetError("dataset directory", str(path), f"cannot be written: {error.strerror}") from error


def strays(path: Path, manifest: Mapping[str, Any]) -> list[Path]:
    """Return the files in a version that its manifest does not name."""
    return sorted(file for file in path.iterdir() if file.name not in {MANIFEST, *manifest["files"]})


def tidy(path: Path, manifest: Mapping[str, Any]) -> None:
    """Remove what a version's manifest does not name; raises DatasetError when that cannot be done."""
    try:
        for file in strays(path, manifest):
            file.unlink(missing_ok=True)
        _sync_directory(path)
    except OSError as error:
        raise DatasetError("dataset directory", str(path), f"cannot be written: {error.strerror}") from error


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest and check it against its own content hash; raises DatasetError when it is damaged.

    A version that forgot rows is checked against the hash of what is left, and keeps the name of its first content.
    """
    place = path / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
        version, content = str(manifest["version"]), str(manifest["content"])
        found, expected = content_hash(manifest), manifest.get("forgotten", manifest)["content"]
        format_version = int(manifest["format"])
    except FileNotFoundError:
        raise DatasetError("manifest", str(place), "is missing; this is no dataset version") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            "manifest", str(place), f"is damaged ({error}); build the version again"
        ) from error
    if format_version > FORMAT:
        raise DatasetError("manifest format", format_version, f"this Davy reads up to {FORMAT}; upgrade it")
    if not version.endswith(f"-{content[:8]}") or found != expected:
        raise DatasetError("manifest", str(place), "does not match its own hash; build the version again")
    return manifest


def load(path: Path | str) -> Dataset:
    """Read a version and verify every hash.

    Raises
    ------
    DatasetError
        A file is missing or damaged; nothing of the version should be used.
    """
    path = Path(path)
    manifest = read_manifest(path)
    for name, expected in manifest["files"].items():
        try:
            data = (path / name).read_bytes()
        except OSError as error:
            raise DatasetError(
                "dataset file", str(path / name), f"cannot be read: {error.strerror}"
            ) from error
        if len(data) != expected["bytes"] or hash_of(data) != expected["hash"]:
            raise DatasetError("dataset file", str(path / name), "does not match its hash; build it again")
    (rows,) = manifest["files"]
    with np.load(path / rows, allow_pickle=False) as found:
        return Dataset(path, manifest, _unpack({name: found[name] for name in found.files}))


def _plain(values: Sequence[Any]) -> Array | None:
    if values and all(isinstance(value, str) for value in values):
        # NumPy drops trailing NULs of text
        return None if any(value.endswith("\0") for value in values) else np.array(values)
    if any(isinstance(value, (str, bytes)) or value is None for value in values):
        return None
    if len({type(value) for value in values} & {bool, int, float}) > 1:
        return None
    try:
        array = np.array(values)
    except (ValueError, OverflowError):
        return None
    return array if array.dtype.kind in "buif" else None


def _unpack(arrays: Mapping[str, Array]) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for name, array in arrays.items():
        if name.endswith(_PACKED):
            name = name.removesuffix(_PACKED)
            ends = arrays[name + _ENDS].tolist()
            data = array.tobytes()
            column = np.empty(len(ends), dtype=object)
            for row, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
                column[row] = load_any(data[start:end])
            found[name] = column
        elif not (name.endswith(_ENDS) and name.removesuffix(_ENDS) + _PACKED in arrays):
            found[name] = array
    return found


def _manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    return (json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    path.chmod(0o444)


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
