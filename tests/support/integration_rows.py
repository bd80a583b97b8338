"""Ways in, each with what becomes of it: captured fields, what `davy reference fit` watches, a planted shift by name.

A group's ``rows.py`` registers functions that put something under watch and return what lets it answer, to usual
questions and to shifted ones. ``rows.json`` says what became of each, the page shows it, and the tests of the group
compare; with ``WRITE_ROWS=1`` they write it anew.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import davy
from davy.codec import decode
from davy.config import load as load_settings
from davy.event import INFERENCES, BlobRef
from davy.integrations._completions import HttpExchange
from davy.runner import open_runtime
from davy.runtime import Runtime
from davy.sdk.watching import Watch
from davy_detectors.reference import Reference
from davy_detectors.reference.active import put_fitted
from davy_detectors.reference.fitting import fit_on_log
from davy_detectors.stream.replay import replay

FILE: Final = Path(__file__).parents[1] / "integrations" / "rows.json"
USUAL, SHIFTED = 240, 240
"""Inferences a reference is fitted on, and that are shifted afterwards."""
_NEAR: Final = 0.25
"""How far the bytes of an inference may be from those of the page."""

Answer: TypeAlias = Callable[[int, bool], None]
"""Lets a model answer so many questions, shifted ones when it is told so."""
Make: TypeAlias = Callable[[str], Answer]
"""Puts a model under watch, under the name it is given."""


class Row(NamedTuple):
    """One way in."""

    group: str
    framework: str
    call: str
    make: Make
    named: str
    """The stream an alarm names first, or the beginning of its name, when questions are shifted."""

    @property
    def name(self) -> str:
        """Its name."""
        return f"{self.framework}: {self.call}"


ROWS: list[Row] = []


def way_in(group: str, framework: str, call: str, *, named: str) -> Callable[[Make], Make]:
    """Say which way in a function is for."""

    def register(make: Make) -> Make:
        ROWS.append(Row(group, framework, call, make, named))
        return make

    return register


def become_of(row: Row, url: str) -> tuple[dict[str, Any], list[str]]:
    """Let a model answer; return what became of it, as the page shows it, and what an alarm named."""
    model = "row:1"
    with _timed() as spent:
        answer = row.make(model)
        answer(USUAL, False)
        _settle()
    with open_runtime(load_settings(env={"DAVY_URL": url})) as runtime:
        kept = _kept(runtime, model)
        reference = fit_on_log(runtime, model, last=100_000, since=None, until=None)
        put_fitted(runtime, reference)
        found = {
            "group": row.group,
            "framework": row.framework,
            "call": row.call,
            "fields": kept.fields,
            "bytes": kept.size,
            "watched": _watched(reference),
            "scorers": sorted(reference.scorers),
            "micros": round(statistics.median(spent) * len(spent) / kept.count / 1e3) if spent else None,
        }
        answer(SHIFTED, True)
        _settle()
        incidents = replay(runtime).incidents
    return found, [evidence.feature for one in incidents for evidence in one.features]


def expected(row: Row) -> dict[str, Any]:
    """Return what the file says of a way in."""
    return {one["framework"] + one["call"]: one for one in _read()}[row.framework + row.call]


def require_same(found: dict[str, Any], row: Row) -> None:
    """Require what the page says, or write it where that is asked for."""
    if os.environ.get("WRITE_ROWS"):
        _write(found)
        return
    said = expected(row)
    exact = ("fields", "watched", "scorers")
    assert {name: found[name] for name in exact} == {name: said[name] for name in exact}
    assert abs(found["bytes"] - said["bytes"]) <= _NEAR * said["bytes"] + 8


def _read() -> list[dict[str, Any]]:
    return list(json.loads(FILE.read_text())) if FILE.is_file() else []


def _write(found: dict[str, Any]) -> None:
    key = (found["framework"], found["call"])
    order = {(row.framework, row.call): at for at, row in enumerate(ROWS)}
    others = [one for one in _read() if (one["framework"], one["call"]) != key]
    others = [
        one for one in others if one["group"] != found["group"] or (one["framework"], one["call"]) in order
    ]
    rows = [*others, found]
    rows.sort(key=lambda one: (one["group"], order.get((one["framework"], one["call"]), 0)))
    FILE.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


class _Kept(NamedTuple):
    fields: dict[str, str]
    size: int
    count: int


def _kept(runtime: Runtime, model: str) -> _Kept:
    fields: dict[str, str] = {}
    size, sizes = 0, []
    count = 0
    for record in runtime.log.read(INFERENCES, 0, 0):
        envelope = decode(record.value)
        if envelope.model != model:
            continue
        size += len(record.value)
        for one in envelope.inferences():
            count += 1
            for section in ("inputs", "outputs"):
                for name, value in getattr(one, section).items():
                    fields[f"{section}.{name}"] = _kind(value, fields.get(f"{section}.{name}"))
                    if isinstance(value, BlobRef):
                        sizes.append(value.length)
            if one.embedding is not None:
                fields["embedding"] = _kind(one.embedding, fields.get("embedding"))
    return _Kept(fields, round((size + sum(sizes)) / count), count)


def _kind(value: Any, before: str | None) -> str:
    found = _spelt(value)
    if before and getattr(value, "size", 1) == 0:
        return before  # an empty list is of any kind
    if before and "[0]" in before:
        return found
    return found if before in {None, found} else _joined(str(before), found)


def _joined(one: str, other: str) -> str:
    """Return the kind of two arrays of one type, with the axes in which they differ left open."""
    (kind, _, first), (_, _, second) = one.partition("["), other.partition("[")
    axes, others = first.rstrip("]").split(", "), second.rstrip("]").split(", ")
    if kind != other.partition("[")[0] or len(axes) != len(others):
        return f"{one} or {other}" if other not in one.split(" or ") else one
    shape = ", ".join(a if a == b else "n" for a, b in zip(axes, others, strict=True))
    return f"{kind}[{shape}]"


def _spelt(value: Any) -> str:
    if isinstance(value, BlobRef):
        return "payload"
    if hasattr(value, "dtype") and getattr(value, "shape", ()):
        return f"{value.dtype}[{', '.join(map(str, value.shape))}]"
    if isinstance(value, (list, tuple)):
        return "list"
    names = {bool: "bool", str: "text", int: "int", float: "float"}
    return names.get(type(value), type(value).__name__)


def _watched(reference: Reference) -> list[str]:
    """Return what is watched, the parts of vectors as one."""
    found: dict[str, None] = {}
    for name in reference.streams:
        stem, bracket, _ = name.partition("[")
        found[f"{stem}[…]" if bracket else name] = None
    return sorted(found)


@contextmanager
def _timed() -> Iterator[list[int]]:
    """Measure the CPU that Davy takes on the thread of the caller, call by call, in nanoseconds."""
    spent: list[int] = []
    before = [(Watch, "observe", Watch.observe), (HttpExchange, "_capture", HttpExchange._capture)]

    def measured(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            started = time.thread_time_ns()
            try:
                return function(*given)
            finally:
                spent.append(time.thread_time_ns() - started)

        return call

    for kind, name, function in before:
        setattr(kind, name, measured(function))
    try:
        yield spent
    finally:
        for kind, name, function in before:
            setattr(kind, name, function)


def _settle() -> None:
    assert davy.flush(30), "what was captured was not sent"
