"""Versions in other formats: every installed exporter writes each version, beside it, and fails alone.

Third parties add their own by the entry point group ``davy.exporters``. What one writes lies in
``<model>/exports/<version>/<exporter>``, whole or not at all. One that fails is suspended for the model and tried again
after an upgrade, with the next build, for every version it has not written then is the newest.
"""

from __future__ import annotations

import logging
import shutil
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from davy.errors import DatasetError
from davy.plugins import OfModel
from davy.runtime import Runtime
from davy_miner.dataset.files import TEMPORARY, Dataset, load
from davy_miner.plugins import Plugins

_EXPORTS: Final = "exports"
_logger: Final = logging.getLogger("davy.datasets")


class Exporter(Protocol):
    """Writes dataset versions in a format; made without arguments, and known by the name of its entry point."""

    def export(self, dataset: Dataset, directory: Path) -> None:
        """Write a version into an empty directory; the same version always comes to the same files."""


def export(runtime: Runtime, path: Path, model: str) -> None:
    """Let every installed exporter write the version at `path`, unless it has; the caller holds the model's lease."""
    plugins, dataset = Plugins(runtime), None
    for name in plugins.names("exporter"):
        if name in exported(path):
            continue
        dataset = dataset or load(path)
        # A build is a process of its own, which nobody counts failures over: one is enough.
        work = partial(_export, plugins, name, dataset)
        plugins.attempt("exporter", OfModel(model), name, work, tries=1)


def exported(path: Path) -> list[str]:
    """Return the names of the exporters that have written the version at `path`, sorted."""
    return sorted(one.name for one in _directory(path).glob("*"))


def withdraw(path: Path) -> None:
    """Remove what exporters wrote of the version at `path`: the next build writes it anew.

    Raises
    ------
    DatasetError
        It cannot be removed.
    """
    try:
        shutil.rmtree(_directory(path))
    except FileNotFoundError:
        pass
    except OSError as error:
        raise DatasetError(
            "exports", str(_directory(path)), f"cannot be removed: {error.strerror}"
        ) from error


def _export(plugins: Plugins, name: str, dataset: Dataset) -> None:
    path = dataset.path
    temporary, place = path.with_name(f"{TEMPORARY}{path.name}-{name}"), _directory(path) / name
    exporter: Exporter = plugins.load("exporter", name)()
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        exporter.export(dataset, temporary)
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary.rename(place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _logger.info("version %s is exported by %s to %s", dataset.version, name, place)


def _directory(path: Path) -> Path:
    return path.parent / _EXPORTS / path.name
