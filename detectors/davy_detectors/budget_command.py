"""The command ``davy budget``: where the accepted false alarms of models go and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from davy import console
from davy.codec import load_any
from davy.errors import ReferenceInvalid
from davy.existing import require_model
from davy.retired import retirements
from davy.runner import open_runtime

if TYPE_CHECKING:
    from davy.config import DetectSettings
    from davy.store import Store
    from davy_detectors.budget import Asked
    from davy_detectors.budget_report import CleanWeek, Delay, Share

_SIMULATED: Final = "e-detector"
_FEATURES: Final = 12


def budget(
    model: Annotated[str, typer.Option("--model", help="Only this model, as name:version.")] = "",
    a_day: Annotated[
        float | None,
        typer.Option(
            "--a-day", help="Inferences a day instead of what it has shown.", min=1, show_default=False
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="Longest time for delays, and for clean weeks.", min=0)
    ] = 20.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show where the accepted false alarms go; of one model also what delay they cost and how often a week has one."""
    from davy_detectors.budget_report import installed, spending

    with open_runtime(make=False) as runtime:
        store, settings = runtime.store, runtime.settings.detect
        if model:
            found = _of_model(require_model(model, store), store, settings, a_day, seconds)
        else:
            rows = {
                name: spending(settings, installed(), a_day or _traffic(store, name))
                for name in _watched(store)
            }
    _warn_unmatched("monitor_weights", installed(), settings.monitor_weights)
    if model:
        _warn_unmatched("feature_weights", list(found["features"]), settings.feature_weights)
    if not model:
        table = [{"model": name, **_row(share)} for name, spent in rows.items() for share in spent]
        empty = "no model has a reference yet; `davy reference fit` makes one"
        console.show(table, title="budget", as_json=as_json, empty=empty)
    elif as_json:
        console.show_one(found, title="budget", as_json=True)
    else:
        _show(found)


def _of_model(
    model: str, store: Store, settings: DetectSettings, a_day: float | None, seconds: float
) -> dict[str, Any]:
    from davy_detectors.budget import with_share
    from davy_detectors.budget_report import Rehearsal, features, installed, spending
    from davy_detectors.reference import Reference
    from davy_detectors.reference.active import COLLECTION as REFERENCES

    data = store.get(REFERENCES, model)
    if data is None:
        fit = console.command("reference", "fit", "--model", model, "--from-log")
        raise ReferenceInvalid(
            "--model", model, f"has no reference, so no alarm is raised; `{fit}` makes one"
        )
    reference, rate = Reference.from_bytes(data), a_day or _traffic(store, model)
    spent = spending(settings, installed(), rate)
    delays: list[Delay] = []
    week: CleanWeek | None = None
    for share in spent:
        if share.monitor == _SIMULATED:
            rehearsal = Rehearsal(reference, with_share(settings, share.weight), rate, seconds)
            delays, week = rehearsal.delays(), rehearsal.clean_week()
    return {
        "model": model,
        "false_alarm_every": settings.false_alarm_every,
        "false_alarm_days": settings.false_alarm_days or None,
        "inferences_a_day": rate,
        "monitors": [_row(share) for share in spent],
        "features": features(reference, settings),
        "delays": [asdict(one) for one in delays],
        "clean_week": None if week is None else asdict(week),
    }


def _show(found: dict[str, Any]) -> None:
    week, parts = found.pop("clean_week"), found.pop("features")
    monitors, delays = found.pop("monitors"), found.pop("delays")
    console.show_one(found, title="budget")
    console.show(monitors, title="monitors")
    ordered = sorted(parts.items(), key=lambda one: (-one[1], one[0]))
    console.show([{"feature": name, "weight": part} for name, part in ordered[:_FEATURES]], title="features")
    if len(ordered) > _FEATURES:
        console.say(f"and {len(ordered) - _FEATURES} more features")
    console.show(delays, title=f"delays of {_SIMULATED}", empty="nothing to work them out on")
    if week is not None:
        console.show_one(week, title="a clean week")
    else:
        console.warn("the traffic is not known, so nothing is said in days: give it as --a-day")


def _warn_unmatched(setting: str, names: Sequence[str], asked: Asked) -> None:
    from davy_detectors.budget import unmatched

    for pattern in unmatched(names, asked):
        console.warn(f"detect.{setting}: {pattern!r} matches none of {', '.join(sorted(names)[:_FEATURES])}")


def _row(share: Share) -> dict[str, Any]:
    days = None if not share.a_day else 1.0 / share.a_day
    return {
        "monitor": share.monitor,
        "weight": share.weight,
        "false_alarm_every": share.every,
        "false_alarms_a_day": share.a_day,
        "days_between": days,
    }


def _watched(store: Store) -> Sequence[str]:
    from davy_detectors.reference.active import names

    return sorted(names(store) - retirements(store).keys())


def _traffic(store: Store, model: str) -> float | None:
    from davy_detectors.budget_report import traffic
    from davy_detectors.models.known import COLLECTION
    from davy_detectors.stream.totals import Totals

    data = store.get(COLLECTION, model)
    return None if data is None else traffic(Totals.load(load_any(data)))
