"""Rows of forgotten inferences leave the versions that hold them.

A version keeps its name and its original content hash: who trained on it can say so. Its manifest tells how many rows
were forgotten and when, and carries the hash of what is left, by which it is verified from then on.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from davy.errors import DatasetError
from davy.forgetting import Ids, Trace
from davy.runtime import Runtime
from davy.store import Batch
from davy_miner.dataset.build import COLLECTION, lease, summary
from davy_miner.dataset.exports import withdraw
from davy_miner.dataset.files import (
    TEMPORARY,
    content_hash,
    hash_of,
    load,
    pack,
    read_manifest,
    rewrite,
    strays,
    tidy,
)
from davy_miner.dataset.versions import places

__all__ = ["lease", "models", "tagged", "traces"]


def models(root: Path | None) -> set[str]:
    """Name the models that have versions whose manifest can be read."""
    found = set()
    for path in places(root):
        try:
            found.add(str(read_manifest(path)["model"]))
        except DatasetError:
            continue  # the trace of this version tells
    return found


def tagged(root: Path | None, name: str, text: str) -> Iterator[bytes]:
    """Return the ids of rows that carry a tag whose value reads `text`; raises DatasetError on a damaged version."""
    for path in places(root):
        arrays = load(path).arrays
        column = arrays.get(f"tags.{name}")
        if column is not None:
            rows = zip(arrays["inference_id"].tolist(), column.tolist(), strict=True)
            yield from (bytes.fromhex(id) for id, value in rows if value is not None and str(value) == text)


def traces(root: Path | None, ids: Ids, runtime: Runtime) -> Iterator[Trace]:
    """Return the versions with rows of `ids`, those that cannot be read, and what a killed build left."""
    for path in places(root):
        if _holds(path, ids):
            name = frozenset({f"{path.parent.name}/{path.name}"})
            yield Trace({"datasets": name}, partial(_remove, path, ids, runtime))
    if root is not None:
        for left in sorted(root.glob(f"*/{TEMPORARY}*")):
            yield Trace({}, partial(_discard, left))


def _holds(path: Path, ids: Ids) -> bool:
    try:
        manifest = read_manifest(path)
    except DatasetError:
        return True
    return bool(_gone(manifest, ids)) or bool(strays(path, manifest))


def _gone(manifest: Any, ids: Ids) -> list[int]:
    return [row for row, one in enumerate(manifest["rows"]) if bytes.fromhex(one["inference_id"]) in ids]


def _remove(path: Path, ids: Ids, runtime: Runtime) -> None:
    found = load(path)
    manifest, gone = dict(found.manifest), _gone(found.manifest, ids)
    if gone:
        withdraw(path)  # before the manifest says that there is nothing left to do
        kept = sorted(set(range(len(found))) - set(gone))
        data = pack({name: list(array[kept]) for name, array in found.arrays.items()})
        before = manifest.pop("forgotten", {"rows": 0})
        now = datetime.fromtimestamp(runtime.clock() / 1e9, tz=UTC)
        manifest["rows"] = [manifest["rows"][row] for row in kept]
        name = f"rows-{hash_of(data)[:8]}.npz"
        manifest["files"] = {name: {"hash": hash_of(data), "bytes": len(data)}}
        manifest["forgotten"] = {
            "rows": before["rows"] + len(gone),
            "at": now.isoformat(timespec="seconds"),
            "content": content_hash(manifest),
        }
        rewrite(path, manifest, {name: data})
    key = f"{manifest['model']}/{manifest['version']}"
    runtime.store.apply(Batch().put(COLLECTION, key, summary(manifest, path)))
    tidy(path, manifest)


def _discard(path: Path) -> None:
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise DatasetError("dataset directory", str(path), f"cannot be removed: {error.strerror}") from error
