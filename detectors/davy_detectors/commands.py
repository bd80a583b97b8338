"""The commands ``davy reference`` and ``davy incidents``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from davy import console
from davy.config import load as load_settings
from davy.errors import ReferenceInvalid, SettingError
from davy.event import INFERENCES
from davy.existing import require_model, unknown
from davy.health.progress import read_through
from davy.runner import open_runtime
from davy_detectors.incidents.incident import INCIDENTS, RESOLVED, Incident
from davy_detectors.incidents.words import in_words
from davy_detectors.models.known import KnownModel, known_models
from davy_detectors.reference.active import REFERENCES
from davy_detectors.reference.active import put as put_reference

Model = Annotated[str, typer.Option("--model", help="The model, as name:version.")]
OnlyModel = Annotated[str, typer.Option("--model", help="Only this model, as name:version.")]
Fields = Annotated[
    list[str] | None,
    typer.Option(help="A field, or a pattern of names; as often as needed.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

reference = typer.Typer(help="Say what is normal for a model.", no_args_is_help=True)
incidents = typer.Typer(help="List incidents: what went wrong, since when, and which samples show it.")

_LAST: Final = 10_000
_NAMED: Final = 12
_MOST: Final = 200_000


@reference.command("fit")
def _fit(  # noqa: PLR0913 - options of a command
    model: Model,
    file: Annotated[
        Path | None,
        typer.Option(help="Inferences to learn from: .npz, .csv or .parquet.", show_default=False),
    ] = None,
    from_log: Annotated[bool, typer.Option("--from-log", help="Learn from what the log holds.")] = False,
    last: Annotated[
        int | None, typer.Option(help=f"Newest inferences to take; {_LAST} without a time.", min=1)
    ] = None,
    since: Annotated[str, typer.Option(help="Only from this time on, ISO 8601; UTC without an offset.")] = "",
    until: Annotated[str, typer.Option(help="Only before this time, ISO 8601.")] = "",
    ignore: Fields = None,
    categorical: Fields = None,
    numeric: Fields = None,
    text: Fields = None,
    time: Fields = None,
    as_json: Json = False,
) -> None:
    """Learn what is normal from a time when the model did well; running detectors take it up within a second.

    What a field is follows from its values; --ignore, --categorical, --numeric, --text and --time say it instead, for
    names such as inputs.zip, zip or 'inputs.*_id'.
    """
    from davy_detectors.reference.fitting import fit_on_file, fit_on_log, read_examples, rules

    if (file is None) == (not from_log):
        remedy = "give either --file or --from-log: learn from a file, or from what the log holds"
        raise ReferenceInvalid("--file", "" if file is None else file.name, remedy)
    if file is not None and (last or since or until):
        raise ReferenceInvalid("--file", file.name, "--last, --since and --until go with --from-log")
    asked = rules(ignore=ignore, categorical=categorical, numeric=numeric, text=text, time=time)
    begin, end = _nanoseconds("--since", since), _nanoseconds("--until", until)
    last = last or (_MOST if since or until else _LAST)
    if file is None:
        with open_runtime(make=False) as runtime:
            fitted = fit_on_log(runtime, model, last=last, since=begin, until=end, asked=asked)
            put_reference(runtime.store, model, fitted.to_bytes())
    else:
        batch = read_examples(model, file, asked)  # before a directory is made
        with open_runtime() as runtime:
            fitted = fit_on_file(runtime, model, file, batch, asked)
            put_reference(runtime.store, model, fitted.to_bytes())
    console.show_one(_reference_row(fitted) | _unwatched(fitted, as_json), title="reference", as_json=as_json)


@reference.command("list")
def _list_references(as_json: Json = False) -> None:
    """List the references in force."""
    from davy_detectors.reference import Reference

    with open_runtime(make=False) as runtime:
        rows = [_reference_row(Reference.from_bytes(data)) for data in REFERENCES.values(runtime.store)]
    console.show(rows, title="references", as_json=as_json, empty="none yet; `davy reference fit` makes one")


@reference.command("show")
def _show_reference(model: Model, as_json: Json = False) -> None:
    """Show what the reference of a model was learned from and what it watches."""
    from davy_detectors.reference import Reference

    with open_runtime(make=False) as runtime:
        require_model(model, runtime.store)
        data = REFERENCES.get(runtime.store, model)
    if data is None:
        raise ReferenceInvalid("--model", model, "has no reference; `davy reference fit` makes one")
    found = Reference.from_bytes(data)
    row = {**_reference_row(found), "watched": list(found.streams), **_unwatched(found, as_json)}
    console.show_one(row, title="reference", as_json=as_json)


@incidents.callback(invoke_without_command=True)
def _incidents(
    context: typer.Context,
    model: OnlyModel = "",
    only_open: Annotated[bool, typer.Option("--open", help="Only those that are not resolved.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until the inferences that are in the log now are tested.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Longest such wait, in seconds.", min=0)] = 60.0,
    as_json: Json = False,
) -> int:
    """List incidents, the newest first, and models nobody watches. Exit code 1 when --wait ran out of time."""
    if context.invoked_subcommand is not None:
        return 0
    from davy_detectors.stream.waiting import wait_until_tested

    with open_runtime(make=False) as runtime:
        done = not wait or wait_until_tested(runtime.log, runtime.store, model, seconds=timeout)
        if model:  # now that what the log held is counted
            require_model(model, runtime.store)
        found = [incident for incident in INCIDENTS.values(runtime.store) if model in {"", incident.model}]
        known = known_models(
            runtime.store, runtime.settings.detect, read_through(runtime, "detect", (INFERENCES,))
        )
    if only_open:
        found = [incident for incident in found if incident.state != RESOLVED]
    found.sort(key=lambda incident: incident.raised_at, reverse=True)
    _show_incidents(found, [one for one in known if model in {"", one.name}], as_json)
    if not done:
        console.warn(
            f"davy: not all of it was tested within {timeout:g} s; is `davy up` or `davy run detect` up?"
        )
    return 0 if done else 1


def _show_incidents(found: Sequence[Incident], known: Sequence[KnownModel], as_json: bool) -> None:
    unwatched = [one.name for one in known if not one.watched]
    rows = [_incident_json(one) if as_json else _incident_row(one) for one in found]
    console.show(rows, title="incidents", as_json=as_json, empty="none")
    tested = [f"{one.name} to {_iso(one.tested_until)}" for one in known if one.tested_until]
    if tested:
        console.warn(f"tested: {_few(tested)}")
    if unwatched:
        fit = console.command("reference", "fit", "--model", unwatched[0], "--from-log")
        remedy = f"`{fit}` says what is normal"
        console.warn(f"unwatched, for they have no reference: {_few(unwatched)}; {remedy}")


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


@incidents.command("show")
def _show_incident(
    id: Annotated[str, typer.Argument(help="The incident, or the beginning of its id.")],
    as_json: Json = False,
) -> None:
    """Show one incident: guilty features, since when, how large, and the samples that carry it."""
    with open_runtime(make=False) as runtime:
        found = [
            incident for incident in INCIDENTS.values(runtime.store) if id and incident.id.startswith(id)
        ]
        known = list(INCIDENTS.keys(runtime.store))
    if not found:
        raise unknown("incident", id, known, what="incident", remedy="`davy incidents` lists them")
    if len(found) > 1:
        raise SettingError("incident", id, "several begin so; give more of it")
    shown = _incident_json(found[0])
    if as_json:
        console.show_one(shown, title="incident", as_json=True)
        return
    features, samples = shown.pop("features"), shown.pop("samples")
    console.show_one({**shown, "samples": len(samples)}, title="incident")
    console.show(features, title="features")
    console.show([{"sample": sample} for sample in samples], title="samples")


def replay(
    since: Annotated[
        str, typer.Option("--from", help="Only from this time on, ISO 8601; UTC without an offset.")
    ] = "",
    until: Annotated[str, typer.Option("--to", help="Only before this time, ISO 8601.")] = "",
    detectors: Annotated[
        Path | None,
        typer.Option(help="Settings to detect with instead, as in davy.toml.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what would have been raised over what the log still holds; nothing is changed."""
    from davy_detectors.stream.replay import replay as run

    with open_runtime(make=False) as runtime:
        found = run(
            runtime,
            since=_nanoseconds("--from", since),
            until=_nanoseconds("--to", until),
            settings=load_settings(file=detectors).detect if detectors else None,
        )
    models = [
        {"model": one.model, "inferences": one.inferences, "flags": one.flags, "incidents": 0}
        for one in found.models
    ]
    for row in models:
        row["incidents"] = sum(incident.model == row["model"] for incident in found.incidents)
    if as_json:
        shown = {
            "incidents": [_incident_json(one) for one in found.incidents],
            "models": models,
            "seconds": round(found.seconds, 3),
            "log_seconds": round(found.log_seconds, 3),
        }
        console.show_one(shown, title="replay", as_json=True)
        return
    rows = [_incident_row(one) for one in found.incidents]
    console.show(rows, title="what would have been raised", empty="nothing would have been raised")
    console.show(models, title="what was read", empty="the log holds nothing of that time")
    console.say(f"{found.log_seconds:,.0f} s of the log in {found.seconds:,.1f} s")


def _reference_row(found: Any) -> dict[str, Any]:
    return {
        "model": found.model,
        "version": found.version,
        "inferences": found.size,
        "scores": list(found.scorers),
        "features": len(found.streams),
    }


def _unwatched(found: Any, as_json: bool) -> dict[str, Any]:
    if as_json:
        return {"unwatched": dict(found.unwatched)}
    return {"unwatched": [f"{name}: {reason}" for name, reason in found.unwatched.items()] or "nothing"}


def _incident_row(incident: Incident) -> dict[str, Any]:
    return {
        "id": incident.id,
        "model": incident.model,
        "cause": incident.cause,
        "state": incident.state,
        "since": _iso(incident.onset_at),
        "event": incident.onset_event,
        "features": [
            f"{found.feature}: {in_words(found.feature, found.change)}" for found in incident.features[:3]
        ],
        "size": f"{incident.size:.1%}",
        "samples": len(incident.samples),
    }


def _incident_json(incident: Incident) -> dict[str, Any]:
    return {
        "id": incident.id,
        "model": incident.model,
        "cause": incident.cause,
        "state": incident.state,
        "onset_event": incident.onset_event,
        "onset_at": _iso(incident.onset_at),
        "raised_event": incident.raised_event,
        "raised_at": _iso(incident.raised_at),
        "resolved_at": None if incident.resolved_at is None else _iso(incident.resolved_at),
        "features": [
            {
                "feature": found.feature,
                "change": found.change,
                "words": in_words(found.feature, found.change),
                "reference": found.reference,
                "current": found.current,
                "log_evidence": found.log_evidence,
            }
            for found in incident.features
        ],
        "size": incident.size,
        "samples": [sample.hex() for sample in incident.samples],
    }


def _iso(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).isoformat(timespec="milliseconds")


def _nanoseconds(option: str, text: str) -> int | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ReferenceInvalid(
            option, text, "give a time like 2026-03-01T12:00 or 2026-03-01T12:00+02:00"
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1_000
