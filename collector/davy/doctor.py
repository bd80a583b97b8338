"""What `davy doctor` checks: what is configured, what answers, what is wrong and what to do."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import entry_points, version
from typing import Any, Final, cast

from davy._urls import without_password
from davy.blobs import Blobs, open_blobs
from davy.config import Settings, describe
from davy.errors import DavyError
from davy.event import INFERENCES
from davy.existing import require_place
from davy.health import Check, attempt
from davy.health.places import blobs_check, disk_check, integrity_checks, log_check, store_check
from davy.health.roles import expected_roles, told_checks
from davy.log import Log, open_log
from davy.meter import Meter
from davy.placeholders import REMEDY, placeholders
from davy.requirements import absent, needs
from davy.runner import beside_the_log, targets
from davy.runtime import Runtime
from davy.store import Store, open_store

_PATIENCE_SECONDS: Final = 25.0
_LOOK_OVER_SECONDS: Final = 10.0


@contextmanager
def open_what_answers(settings: Settings) -> Iterator[Runtime]:
    """Open log, store and blobs as they are; what cannot be opened says why whenever it is used.

    Raises
    ------
    SettingError
        A setting or an address is wrong, or names a directory that is not there.
    """
    settings = beside_the_log(settings)
    require_place(settings)
    with ExitStack() as stack:
        store = _opened(stack, settings.store_url, partial(open_store, settings.store_url))
        log = _opened(stack, settings.url, partial(open_log, settings.url, settings))
        blobs = _opened(stack, settings.blob_url, partial(open_blobs, settings.blob_url))
        yield Runtime(
            settings=settings,
            log=cast("Log", log),
            store=cast("Store", store),
            blobs=cast("Blobs", blobs),
            meter=Meter(),
        )


def examine(runtime: Runtime) -> list[Check]:
    """Check this process's settings and everything they name.

    Other rooms add theirs by ``davy.health`` and ``davy.checks``. Everything is asked at once and for 25 seconds at
    most, so that what hangs hides nothing else.
    """
    expected = expected_roles(runtime.settings)
    questions: dict[str, Callable[[], list[Check]]] = {
        "log": lambda: [*log_check(runtime), *_ends(runtime)],
        "store": partial(store_check, runtime),
        "blobs": partial(blobs_check, runtime),
        "disk": partial(disk_check, runtime),
        "files": partial(integrity_checks, runtime, _LOOK_OVER_SECONDS),
        "roles": lambda: [*told_checks(runtime, expected)],
    }
    for group in ("davy.health", "davy.checks"):
        for point in sorted(entry_points(group=group), key=lambda point: point.name):
            questions[f"{point.name} ({group})"] = partial(_ask, point.load(), runtime)
    return [
        Check("davy", "ok", f"{version('davy')} on Python {sys.version.split()[0]}"),
        *_settings(runtime),
        *_roles(but=expected),
        *_told_once(_asked(questions)),
    ]


class _Absent:
    """Stands for what cannot be opened: whatever is asked of it fails in the way that opening it did."""

    def __init__(self, url: str, error: DavyError) -> None:
        self.url, self.exclusive = without_password(url), False
        self._error = error

    def __getattr__(self, name: str) -> Any:
        raise self._error


def _opened(stack: ExitStack, url: str, action: Callable[[], Log | Store | Blobs]) -> object:
    try:
        return stack.enter_context(closing(action()))
    except DavyError as error:
        return _Absent(url, error)


def _asked(questions: Mapping[str, Callable[[], list[Check]]]) -> list[Check]:
    """Ask in threads of their own, so that whoever hangs is left behind."""
    found: dict[str, list[Check]] = {}

    def ask(name: str, question: Callable[[], list[Check]]) -> None:
        found[name] = attempt(name, question)

    threads = [
        threading.Thread(target=ask, args=question, name=f"davy-doctor-{question[0]}", daemon=True)
        for question in questions.items()
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = f"has not answered for {_PATIENCE_SECONDS:g} s"
    remedy = "it hangs: is the service within reach, the disk well?"
    return [
        check
        for name in questions
        for check in found.get(name, [Check(name.partition(" ")[0], "wrong", late, remedy)])
    ]


def _told_once(checks: list[Check]) -> Iterator[Check]:
    """Leave out a reason that was given already: what does not answer makes many questions fail in the same way."""
    told: set[tuple[str, str]] = set()
    for check in checks:
        reason = check.found, check.remedy
        if check.state != "wrong" or reason not in told:
            yield replace(check, what=check.what.partition(" (davy.")[0])
        if check.state == "wrong":
            told.add(reason)


def _ask(question: Callable[[Runtime], list[Check]], runtime: Runtime) -> list[Check]:
    return question(runtime)


def _settings(runtime: Runtime) -> Iterator[Check]:
    known = placeholders(runtime.settings)
    for one in describe(runtime.settings):
        if one.key in known:
            yield Check(f"setting {one.key}", "wrong", str(one.shown), REMEDY)
        elif one.value != one.default:
            yield Check(f"setting {one.key}", "ok", str(one.shown))


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
