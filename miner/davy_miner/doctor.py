"""What `davy doctor` says about the miner: what never becomes a task."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from davy.console import command
from davy.health import Check
from davy.plugins import suspensions
from davy.runtime import Runtime
from davy.store import Store
from davy_miner.labelstudio.records import Trouble, troubles_in
from davy_miner.plugins import KINDS
from davy_miner.problems import unlabellable_in

_REASONS: Final = 3


def checks(runtime: Runtime) -> list[Check]:
    """Say where candidates wait when there is no Label Studio, and look for what never becomes a task."""
    store = runtime.store
    return [
        *_unconfigured(runtime),
        *_troubles(troubles_in(store)),
        *_unlabellable(store),
        *_suspended(store),
    ]


def _suspended(store: Store) -> Iterator[Check]:
    for one in suspensions(store):
        if one.kind in KINDS:
            when = datetime.fromtimestamp(one.since / 1e9, UTC).isoformat(timespec="seconds")
            found = f"left out since {when}: {one.error}"
            remedy = "mend and upgrade it, or uninstall it; another version of it is tried anew"
            yield Check(f"{one.kind} {one.name} of {one.model}", "wrong", found, remedy)


def _unconfigured(runtime: Runtime) -> Iterator[Check]:
    if not runtime.settings.labelstudio.url:
        remedy = "set DAVY_LABELSTUDIO_URL and DAVY_LABELSTUDIO_API_KEY, or answer with `davy labels import`"
        yield Check("Label Studio", "warning", "not configured: candidates wait in Davy's queue", remedy)


def _troubles(troubles: list[Trouble]) -> Iterator[Check]:
    for one in troubles:
        found = f"its tasks cannot be sent to Label Studio (tried {one.attempts} times): {one.reason}"
        yield Check(f"tasks of {one.model}", "wrong", found, "mend what is named; Davy tries again by itself")


def _unlabellable(store: Store) -> Iterator[Check]:
    for one in unlabellable_in(store):
        reasons = "; ".join(f"{count} × {reason}" for reason, count in one.reasons[:_REASONS])  # noqa: RUF001
        more = f"; {len(one.reasons) - _REASONS} more reasons" if len(one.reasons) > _REASONS else ""
        show = command("candidates", "--model", one.model, "--state", "unlabellable")
        retry, reject = (command("candidates", verb, "--model", one.model) for verb in ("retry", "reject"))
        remedy = f"`{show}` lists them; mend the cause, then `{retry}`, or `{reject}`"
        found = f"{one.count} selected candidates cannot become tasks: {reasons}{more}"
        yield Check(f"tasks of {one.model}", "warning", found, remedy)
