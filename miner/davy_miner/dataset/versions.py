"""Where versions lie, which there are, how two differ."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from davy.errors import DatasetError, SettingError
from davy.existing import unknown
from davy.runtime import Runtime
from davy_miner.dataset.files import read_manifest


def directory(runtime: Runtime) -> Path:
    """Return the directory of all versions: ``mine.datasets``, else beside the store.

    Raises
    ------
    SettingError
        The store has no directory and the setting is empty.
    """
    if runtime.settings.mine.datasets:
        return Path(runtime.settings.mine.datasets)
    scheme, _, rest = runtime.store.url.partition("://")
    if scheme != "sqlite" or len(rest) < 2:
        remedy = "set DAVY_MINE_DATASETS to a directory: this store has none beside it"
        raise SettingError("mine.datasets", runtime.settings.mine.datasets, remedy)
    return Path(rest[1:]) / "datasets"


def model_directory(root: Path, model: str) -> Path:
    """Return the directory of a model's versions.

    Examples
    --------
    >>> model_directory(Path("datasets"), "digits:1").as_posix()
    'datasets/digits-1'
    """
    name = re.sub(r"[^A-Za-z0-9._-]", "-", model).lstrip(".")
    if not name:
        raise DatasetError("model", model, "has no letter or digit to name a directory by")
    return root / name


def versions(root: Path, model: str | None = None) -> list[tuple[Path, dict[str, Any]]]:
    """Return every version with its manifest, by model and number.

    Raises
    ------
    DatasetError
        A manifest is damaged, or two models share a directory.
    """
    found = [(path, read_manifest(path)) for path in places(root, model)]
    if model:
        for path, manifest in found:
            if manifest["model"] != model:
                remedy = f"holds versions of {manifest['model']!r}; set mine.datasets to another directory"
                raise DatasetError("dataset directory", str(path.parent), remedy)
    return sorted(found, key=lambda item: (item[1]["model"], item[1]["number"]))


def places(root: Path | None, model: str | None = None) -> list[Path]:
    """Return the directory of every version, sorted; none where there is no root."""
    if root is None:
        return []
    parents = [model_directory(root, model)] if model else root.glob("*")
    return sorted(path for parent in parents for path in parent.glob("v*-*"))


def find(root: Path, version: str) -> tuple[Path, dict[str, Any]]:
    """Return one version by its id, or by ``model/id`` where two models have the same id.

    Raises
    ------
    SettingError
        There is no such version.
    DatasetError
        There is more than one.
    """
    model, _, name = version.rpartition("/")
    found = [item for item in versions(root, model or None) if item[1]["version"] == name]
    if not found:
        known = {manifest["version"] for _, manifest in versions(root)}
        known |= {f"{manifest['model']}/{manifest['version']}" for _, manifest in versions(root)}
        raise unknown("version", version, known, what="version", remedy="`davy dataset list` shows all")
    if len(found) > 1:
        models = " or ".join(f"{manifest['model']}/{name}" for _, manifest in found)
        raise DatasetError("version", version, f"several models have it; say {models}")
    return found[0]


def diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, list[str]]:
    """Name the candidates by which two manifests differ: added, removed, answered differently, moved in the split."""
    before = {row["candidate"]: row for row in old["rows"]}
    after = {row["candidate"]: row for row in new["rows"]}
    both = sorted(before.keys() & after.keys())
    return {
        "added": sorted(after.keys() - before.keys()),
        "removed": sorted(before.keys() - after.keys()),
        "relabelled": [key for key in both if before[key]["label_revision"] != after[key]["label_revision"]],
        "moved": [key for key in both if before[key]["split"] != after[key]["split"]],
    }
