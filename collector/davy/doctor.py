"""What `davy doctor` checks: what is configured, what answers, what is wrong and what to do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import EntryPoint, entry_points, version
from typing import Final

from davy.config import describe
from davy.event import INFERENCES
from davy.health import Check, read_status, told_once, trouble
from davy.health.asking import at_once
from davy.health.places import blobs_check, disk_check
from davy.health.roles import expected_roles
from davy.placeholders import REMEDY, placeholders
from davy.requirements import absent, lacking, needs
from davy.runner import targets
from davy.runtime import Runtime

_PATIENCE_SECONDS: Final = 25.0
_STATUS_SECONDS: Final = 20.0


def examine(runtime: Runtime) -> list[Check]:
    """Check this process's settings and everything they name.

    Other rooms add theirs by ``davy.health`` and ``davy.checks``. Everything is asked at once and for 25 seconds at
    most, so that what hangs hides nothing else.
    """
    expected = expected_roles(runtime.settings)
    questions: dict[str, Callable[[], list[Check]]] = {
        "status": partial(_status, runtime, expected),
        "blobs": partial(blobs_check, runtime),
        "disk": partial(disk_check, runtime),
    }
    for group in ("davy.health", "davy.checks"):
        for point in sorted(entry_points(group=group), key=lambda point: point.name):
            questions[f"{point.name} ({group})"] = partial(_ask, point, runtime)
    return [
        Check("davy", "ok", f"{version('davy')} on Python {sys.version.split()[0]}"),
        *_settings(runtime),
        *_roles(but=expected),
        *told_once(_asked(questions)),
    ]


def _asked(questions: Mapping[str, Callable[[], list[Check]]]) -> list[Check]:
    """Ask everything at once, so that whoever hangs is left behind."""
    return [
        replace(check, what=check.what.partition(" (davy.")[0])
        for name, found in at_once(questions, _PATIENCE_SECONDS).items()
        for check in ([trouble(name.partition(" ")[0], found)] if isinstance(found, Exception) else found)
    ]


def _ask(point: EntryPoint, runtime: Runtime) -> list[Check]:
    try:
        question: Callable[[Runtime], list[Check]] = point.load()
    except ImportError as error:
        found = lacking("check", point, error)
        return [Check(point.name, "warning", f"{error.name} is missing", found.remedy)]
    return question(runtime)


def _settings(runtime: Runtime) -> Iterator[Check]:
    known = placeholders(runtime.settings)
    for one in describe(runtime.settings):
        if one.key in known:
            yield Check(f"setting {one.key}", "wrong", str(one.shown), REMEDY)
        elif one.value != one.default:
            yield Check(f"setting {one.key}", "ok", str(one.shown))


def _status(runtime: Runtime, expected: Mapping[str, Sequence[str]]) -> list[Check]:
    """Return what `davy status` says, with longer to find it out."""
    status = read_status(runtime, expected, seconds=_STATUS_SECONDS)
    ends = _ends(runtime) if status.log.state == "ok" else ()
    return [*status.places(), *ends, *status.checks()]


def _ends(runtime: Runtime) -> Iterator[Check]:
    end = runtime.log.end(INFERENCES)
    ends = ", ".join(map(str, end.values())) or "nothing: the topic is not there yet"
    yield Check(f"topic {INFERENCES}", "ok", f"ends at {ends}")


def _roles(*, but: Collection[str]) -> Iterator[Check]:
    for name, point in sorted(targets().items()):
        if absent(point):
            remedy = needs(*absent(point), extras=",".join(point.extras))
            yield Check(f"role {name}", "wrong", "cannot run", remedy)
        elif name not in but:
            yield Check(f"role {name}", "ok", "installed")
