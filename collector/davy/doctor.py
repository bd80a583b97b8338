"""What `davy doctor` checks: what is configured, what answers, what is wrong and what to do."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Literal

from davy.config import describe
from davy.errors import DavyError
from davy.event import INFERENCES
from davy.runner import targets
from davy.runtime import Runtime

_LOW_DISK = 2**30


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: `state` is ok, warning or wrong; `remedy` says what to do unless all is well."""

    what: str
    state: Literal["ok", "warning", "wrong"]
    found: str
    remedy: str = ""


def examine(runtime: Runtime) -> list[Check]:
    """Check this process's settings and everything they name; other rooms add theirs by ``davy.checks``."""
    checks = [
        Check("davy", "ok", f"{version('davy')} on Python {sys.version.split()[0]}"),
        *_settings(runtime),
        _try("log", runtime.log.url, lambda: _log(runtime)),
        _try("store", runtime.store.url, lambda: _store(runtime)),
        _try("blobs", runtime.blobs.url, lambda: _blobs(runtime)),
        _disk(runtime),
        *_roles(),
    ]
    for point in sorted(entry_points(group="davy.checks"), key=lambda point: point.name):
        checks += point.load()(runtime)
    return checks


def _settings(runtime: Runtime) -> Iterator[Check]:
    for one in describe(runtime.settings):
        if one.value != one.default:
            yield Check(f"setting {one.key}", "ok", str(one.shown))


def _try(what: str, where: str, action: Callable[[], str]) -> Check:
    try:
        return Check(what, "ok", action())
    except DavyError as error:
        return Check(what, "wrong", where, error.remedy)


def _log(runtime: Runtime) -> str:
    end = runtime.log.end(INFERENCES)
    ends = ", ".join(map(str, end.values())) or "nothing: the topic is not there yet"
    return f"{runtime.log.url}, {INFERENCES} ends at {ends}"


def _store(runtime: Runtime) -> str:
    models = [key for key, _ in runtime.store.items("models")]
    return f"{runtime.store.url}, models seen: {', '.join(models) or 'none'}"


def _blobs(runtime: Runtime) -> str:
    stored = runtime.blobs.put(b"davy doctor", "text/plain")
    runtime.blobs.get(stored.hash)
    runtime.blobs.delete(stored.hash)
    return runtime.blobs.url


def _disk(runtime: Runtime) -> Check:
    scheme, _, rest = runtime.settings.url.partition("://")
    if scheme != "sqlite":
        return Check("disk", "ok", "the log is not on a disk of this machine")
    free = shutil.disk_usage(Path(rest.removeprefix("/") or ".").absolute().anchor).free
    state: Literal["ok", "warning"] = "ok" if free > _LOW_DISK else "warning"
    remedy = "" if state == "ok" else "free space, or lower DAVY_LOG_KEEP_BYTES"
    return Check("disk", state, f"{free / 2**30:.1f} GiB free", remedy)


def _roles() -> Iterator[Check]:
    for name, point in sorted(targets().items()):
        try:
            point.load()
        except ImportError as error:
            yield Check(f"role {name}", "warning", f"{error.name} is missing", "pip install 'davy[all]'")
        else:
            yield Check(f"role {name}", "ok", "installed")
