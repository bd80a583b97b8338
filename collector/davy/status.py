"""What `davy status` prints: who works, on what, and how far it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from davy import console
from davy.config import Settings
from davy.console import age
from davy.health import Status, read_status
from davy.health.roles import expected_roles
from davy.health.status import ProcessStatus, RoleStatus
from davy.runner import open_what_answers
from davy.runtime import Runtime

_OPENING_SECONDS: Final = 3.0
_PATIENCE_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 4.0
"""Less than the above, so that brokers that do not answer are told by what the client says of them."""
_HEARD: Final = {True: "{} ago", False: "gone, {} ago", None: "not heard for {}"}


@contextmanager
def opened(settings: Settings) -> Iterator[Runtime]:
    """Open what answers within seconds.

    Raises
    ------
    SettingError
        A setting or an address is wrong, or names a directory that is not there.
    """
    kafka = replace(settings.kafka, answer_seconds=min(settings.kafka.answer_seconds, _ANSWER_SECONDS))
    with open_what_answers(replace(settings, kafka=kafka), seconds=_OPENING_SECONDS) as runtime:
        yield runtime


def look(runtime: Runtime) -> Status:
    """Return the status as far as it can be found out within seconds."""
    return read_status(runtime, expected_roles(runtime.settings), seconds=_PATIENCE_SECONDS)


def show(status: Status, *, as_json: bool) -> None:
    """Print a status: three tables, or one JSON object."""
    if as_json:
        console.show_one(status.shown(), title="", as_json=True)
        return
    console.show(_findings(status), title="davy status")
    processes = [_process(role, one) for role in status.roles for one in role.processes]
    for title, rows in (("processes", processes), ("positions", _positions(status.roles))):
        console.say("")
        console.show(rows, title=title, empty="none known")


def _findings(status: Status) -> list[dict[str, Any]]:
    return [check.shown() for check in (*status.places(), *status.checks())]


def _process(role: RoleStatus, one: ProcessStatus) -> dict[str, Any]:
    failed = f"{one.error} ({age(one.failed)} ago)" if one.error else None
    return {
        "role": role.role,
        "process": one.process,
        "version": one.version or None,
        "up": age(one.up),
        "heard": _HEARD[one.alive].format(age(one.told)),
        "silent": age(one.silent),
        "partitions": _holds(role, one),
        "last error": failed,
    }


def _holds(role: RoleStatus, one: ProcessStatus) -> str | None:
    """Return what a process handles: of each topic its partitions."""
    if not role.reads or not one.alive:
        return None
    if not one.holds:
        return "none, stands by"
    numbers: dict[str, list[str]] = {}
    for place in one.holds:
        topic, _, number = place.rpartition("/")
        numbers.setdefault(topic, []).append(number)
    return "; ".join(f"{topic} {' '.join(found)}" for topic, found in numbers.items())


def _positions(roles: Sequence[RoleStatus]) -> list[dict[str, Any]]:
    return [
        {
            "role": role.role,
            "topic": one.topic,
            "partition": one.partition,
            "position": one.position,
            "end": one.end,
            "unread": one.unread,
            "behind": age(one.behind),
            "process": one.process or None,
        }
        for role in roles
        for one in role.places
    ]
