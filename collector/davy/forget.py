"""The command ``davy forget``: an inference, and everything that came of it, is gone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from davy import console
from davy.errors import InvalidInference, SettingError
from davy.forgetting import ForgetReport, Forgetting, Receipt, receipts
from davy.runner import open_runtime
from davy.sdk.ids import parse


def forget(
    ids: Annotated[
        list[str] | None,
        typer.Option("--id", help="An inference: 32 hexadecimal digits or a UUID. May be repeated."),
    ] = None,
    tag: Annotated[
        str, typer.Option("--tag", help="Every inference with this tag, as NAME=VALUE.", show_default=False)
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be removed; remove nothing.")
    ] = False,
    kept: Annotated[
        bool,
        typer.Option(
            "--receipts", help="Show what earlier runs did, those that named --id if given; remove nothing."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before removing what --tag found.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Remove inferences from log, store, payloads, Label Studio and datasets. Exit code 1 when something is left."""
    wanted = frozenset(map(_id, ids or ()))
    if kept:
        if tag:
            raise SettingError("--tag", tag, "receipts know inferences by id: give --id, or neither")
        with open_runtime(make=False) as runtime:
            _show_receipts(receipts(runtime.store, wanted), as_json=as_json)
        return 0
    with open_runtime(forgotten=True, make=False) as runtime:
        work = Forgetting(runtime)
        if tag:
            found = work.tagged(*_name_and_value(tag))
            if not found:
                console.warn(console.printable(f"davy: no inference is tagged {tag}"))
            elif not (yes or dry_run):
                _ask(tag, len(found))
            wanted |= found
        elif not wanted and not work.unfinished:
            raise SettingError("--id", "", "name an inference, or a tag with --tag NAME=VALUE")
        outcome = work.preview(wanted) if dry_run else work.forget(wanted)
    _show(outcome, as_json=as_json, title="would be removed" if dry_run else "removed")
    return 1 if outcome.problems else 0


def _ask(tag: str, count: int) -> None:
    """Ask whoever sits there whether so many inferences are to go; raises SettingError where nobody can answer."""
    if not sys.stdin.isatty():
        remedy = f"would forget {count:,} inferences: nobody can be asked here, say so with --yes"
        raise SettingError("--tag", tag, remedy)
    typer.confirm(console.printable(f"Forget {count:,} inferences tagged {tag}?"), abort=True, err=True)


def _id(text: str) -> bytes:
    try:
        return parse(text)
    except InvalidInference as error:  # names the type only: an app's ids may be private
        raise SettingError("--id", text, error.remedy) from error


def _name_and_value(tag: str) -> Sequence[str]:
    name, equals, value = tag.partition("=")
    if not name or not equals:
        raise SettingError("--tag", tag, "write NAME=VALUE")
    return name, value


def _show_receipts(found: Sequence[Receipt], *, as_json: bool) -> None:
    if as_json:
        rows = [{**asdict(one), "at": _time(one.at), "due": one.due and _time(one.due)} for one in found]
    else:
        rows = [
            {
                "at": _time(one.at),
                "ids": len(one.ids),
                "removed": sum(one.removed.values()),
                "hidden": sum(one.hidden.values()),
                "due": one.due and _time(one.due),
                "left": one.left,
            }
            for one in found
        ]
    console.show(rows, title="receipts", as_json=as_json, empty="none yet")


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1e9, UTC).isoformat(timespec="minutes")


def _show(outcome: ForgetReport, *, as_json: bool, title: str) -> None:
    until = None
    if outcome.stays_until is not None:
        until = _time(outcome.stays_until)
    hidden = outcome.hidden_counts
    if as_json:
        found = {**outcome.counts, "hidden": hidden, "hidden_until": until}
        console.show_one(found, title=title, as_json=True)
    else:
        rows: list[dict[str, object]] = [
            {"what": kind, title: count, **({"hidden": hidden[kind]} if until else {})}
            for kind, count in outcome.counts.items()
        ]
        console.show(rows, title="davy forget")
    if until is not None:
        console.warn(
            f"davy: the log cannot erase: nothing reads it any more, its bytes go by {until} (log.keep_hours)"
        )
    for problem in dict.fromkeys(outcome.problems):
        console.warn(f"davy: not removed: {problem}")
