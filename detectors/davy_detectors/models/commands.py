"""The command ``davy models``: which models there are, and which of them leave metrics, pages and memory."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from davy import console, retired
from davy.event import INFERENCES
from davy.existing import require_model
from davy.models import MODELS
from davy.runner import open_runtime
from davy.store import Batch

if TYPE_CHECKING:
    from davy.log import Log
    from davy.store import Store
    from davy_detectors.models.known import KnownModel

Names = Annotated[list[str], typer.Argument(help="Models, as name:version.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

models = typer.Typer(
    help="List models; retire those that are over, keep those that are not.", no_args_is_help=True
)

_RATE_SECONDS: Final = 60


@models.command("list")
def _list(
    every: Annotated[bool, typer.Option("--all", help="Those that are retired, too.")] = False,
    as_json: Json = False,
) -> None:
    """List models with their state, those that need attention first, and how many are not shown by name."""
    from davy_detectors.models.known import STATES, known_models, unlisted

    with open_runtime(make=False) as runtime:
        store, settings, now = runtime.store, runtime.settings.detect, runtime.clock()
        found = known_models(store, settings, now, retired=every)
        rates = {one.name: _rate(store, one, now) for one in found}
        others = unlisted(store, now)
        uncounted = 0 if found else _records(runtime.log)
    found.sort(key=lambda one: (one.retirement is not None, STATES.index(one.state)))
    rows = [_row(one, rates[one.name]) for one in found]
    if as_json:
        more = {"models": others.models, "inferences": others.inferences}
        console.show_one({"models": rows, "not_shown": more}, title="models", as_json=True)
        return
    waiting = f"messages of inferences that wait in the log for the role detect: {uncounted}; start `davy up`"
    empty = f"none yet; {waiting if uncounted else 'the first inference makes one'}"
    console.show(rows, title="models", empty=empty)
    if others.models:
        told = f"about {others.models} more models are not shown by name, {others.inferences} inferences of theirs"
        console.warn(f"{told} are counted together: {others.remedy}")


@models.command("retire")
def _retire(names: Names, as_json: Json = False) -> None:
    """Retire models from metrics, pages and memory; log, labels and datasets stay, and new inferences are not shown."""
    with open_runtime(make=False) as runtime:
        changes = Batch()
        for name in names:
            require_model(name, runtime.store)
        # A model that its silence retired is from now on retired by a person, so it does not come back by itself.
        retired.keep(names, changes)
        retired.retire(names, changes, at=runtime.clock(), by="a person")
        runtime.store.apply(changes)
    console.show([{"model": name, "retired": True} for name in names], title="models", as_json=as_json)


@models.command("keep")
def _keep(names: Names, as_json: Json = False) -> None:
    """Take retired models back."""
    with open_runtime(make=False) as runtime:
        changes = Batch()
        for name in names:
            require_model(name, runtime.store)
            MODELS.add(changes, name, "")
        retired.keep(names, changes)
        runtime.store.apply(changes)
    console.show([{"model": name, "retired": False} for name in names], title="models", as_json=as_json)


def _row(model: KnownModel, rate: float) -> dict[str, Any]:
    gone = model.retirement
    return {
        "model": model.name,
        "state": model.state if gone is None else "retired",
        "first": _iso(model.totals.first_seen),
        "last": _iso(model.totals.last_at),
        "tested_until": _iso(model.tested_until),
        "inferences": model.totals.events,
        "a_second": round(rate, 3),
        "reference": model.watched,
        "incidents": model.open_incidents,
        "retired": None if gone is None else f"by {gone.by}, {_iso(gone.at)}",
    }


def _rate(store: Store, model: KnownModel, now: int) -> float:
    """Return the inferences a second in the last minute."""
    from davy_detectors.stream.windows import sizes

    if model.silent is None or model.silent > _RATE_SECONDS:
        return 0.0
    return sizes(store, model.name, now - _RATE_SECONDS * 10**9) / _RATE_SECONDS


def _records(log: Log) -> int:
    """Return how many messages of inferences the log holds."""
    return sum(log.end(INFERENCES).values()) - sum(log.start(INFERENCES).values())


def _iso(nanoseconds: int) -> str | None:
    return (
        datetime.fromtimestamp(nanoseconds / 1e9, UTC).isoformat(timespec="seconds") if nanoseconds else None
    )
