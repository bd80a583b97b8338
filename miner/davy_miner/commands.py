"""The commands ``davy mine``, ``davy candidates``, ``davy labels`` and ``davy dataset``."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from davy import console
from davy.codec import load, load_any
from davy.errors import DavyError, SettingError
from davy.event import Label
from davy.existing import require_model
from davy.outputs import text as shown_text
from davy.runner import open_runtime
from davy.runtime import Runtime

Model = Annotated[str, typer.Option("--model", help="Only this model, as name:version.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

mine = typer.Typer(help="Choose the next samples to label.")
candidates = typer.Typer(help="List candidates: what may be worth a label, and what became of it.")
State = Annotated[str, typer.Option("--state", help="Only this state, for example waiting or labelled.")]
labels = typer.Typer(help="Bring labels in, and see what they say about quality.", no_args_is_help=True)
dataset = typer.Typer(help="Build, list and compare dataset versions.", no_args_is_help=True)

_POLL_SECONDS: Final = 0.1
_DAY_NS: Final = 86_400 * 10**9
_CHOSEN: Final = ("selected", "pushing", "pushed", "labelled", "disputed")
"""States of candidates that are listed first: what was chosen, before what waits or has gone."""


@mine.callback(invoke_without_command=True)
def _mine(
    model: Model = "",
    budget: Annotated[
        int | None, typer.Option(help="Labels to spend a model, at least 1; mine.budget if not given.")
    ] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the miner; 0 only asks.", min=0)] = 60.0,
    as_json: Json = False,
) -> None:
    """Ask the running miner for a selection round over everything flagged until now."""
    from davy_miner import rounds

    if budget is not None and budget < 1:
        raise SettingError("--budget", budget, "give at least 1, or leave it out for mine.budget")
    with open_runtime(make=False) as runtime:
        _require_model(runtime, model)
        key = rounds.request(runtime, model, budget)
        if not wait:
            console.show_one({"round": key, "state": rounds.REQUESTED}, title="round", as_json=as_json)
            return
        done = _wait_for(runtime, key, wait)
    console.show([asdict(result) for result in done.results], title=f"round {key}", as_json=as_json)


def _wait_for(runtime: Runtime, key: str, seconds: float) -> Any:
    from davy_miner import rounds

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = rounds.read(runtime.store, key)
        if found is not None and found.state == rounds.DONE:
            return found
        time.sleep(_POLL_SECONDS)
    remedy = f"no miner ran it within {seconds:g} s; start one with `davy up` or `davy run mine`: the request stays"
    raise DavyError("round", key, remedy)


@candidates.callback(invoke_without_command=True)
def _candidates(
    context: typer.Context,
    model: Model = "",
    state: State = "",
    limit: Annotated[int, typer.Option(help="Print at most so many; 0 prints all.", min=0)] = 0,
    as_json: Json = False,
) -> None:
    """List candidates, or change some with a command below."""
    if context.invoked_subcommand is not None:
        return
    with open_runtime(make=False) as runtime:
        rows = _candidate_rows(runtime, model, state)
    rows = rows[:limit] if limit else rows
    if not as_json:
        hidden = ("scores", "draws", "duplicate_of", "answers")
        rows = [
            {key: value for key, value in row.items() if key not in hidden} | {"label": _said(row)}
            for row in rows
        ]
    console.show(rows, title="candidates", as_json=as_json, empty="nothing was flagged yet")


Ids = Annotated[list[str] | None, typer.Argument(help="Ids of candidates; else choose by model or state.")]
Wait = Annotated[float, typer.Option(help="Seconds to wait for the miner; 0 only asks.", min=0)]


@candidates.command()
def retry(
    ids: Ids = None, model: Model = "", state: State = "", wait: Wait = 30.0, as_json: Json = False
) -> None:
    """Send candidates again that nobody could be asked about, once the cause is mended."""
    _order("retry", ids or [], model, state, wait, as_json)


@candidates.command()
def reject(
    ids: Ids = None, model: Model = "", state: State = "", wait: Wait = 30.0, as_json: Json = False
) -> None:
    """Take candidates out of the queue for good: waiting, selected or unlabellable ones."""
    _order("reject", ids or [], model, state, wait, as_json)


def _order(action: Any, ids: list[str], model: str, state: str, wait: float, as_json: bool) -> None:
    from davy_miner import orders

    if not ids and not model and not state:
        raise SettingError("candidates", "", "name ids, or choose with --model or --state")
    with open_runtime(make=False) as runtime:
        if not ids:
            states = (state,) if state else ("unlabellable",)
            rows = [row for one in states for row in _candidate_rows(runtime, model, one)]
            ids = [row["id"] for row in rows]
        ordered = orders.order(runtime, action, ids)
        _wait_until(
            lambda: not orders.open_orders(runtime.store, ordered), wait, action, f"{len(ids)} candidates"
        )
    console.show_one({"action": action, "candidates": len(ordered)}, title="candidates", as_json=as_json)


def _wait_until(done: Callable[[], bool], seconds: float, what: str, value: str) -> None:
    """Wait for the miner; 0 seconds only ask."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() >= end:
            if not seconds:
                return
            remedy = f"no miner did it within {seconds:g} s; start one with `davy up` or `davy run mine`"
            raise DavyError(what, value, f"{remedy}: the request stays")
        time.sleep(_POLL_SECONDS)


def _candidate_rows(runtime: Runtime, model: str, state: str) -> list[dict[str, Any]]:
    from davy_miner.candidates import COLLECTION, STATES, Candidate

    if state and state not in STATES:
        raise SettingError("--state", state, f"is one of {', '.join(STATES)}")
    _require_model(runtime, model)
    found = (load(Candidate, data) for _, data in runtime.store.items(COLLECTION))
    wanted = [one for one in found if model in {"", one.model} and state in {"", one.state}]
    wanted.sort(key=lambda one: _CHOSEN.index(one.state) if one.state in _CHOSEN else len(_CHOSEN))
    return [_candidate_row(runtime, candidate) for candidate in wanted]


def _candidate_row(runtime: Runtime, candidate: Any) -> dict[str, Any]:
    from davy_miner.labels import COLLECTION, Revisions, answer_of

    own = answer_of(candidate)
    revisions = Revisions.from_bytes(runtime.store.get(COLLECTION, candidate.id))
    decision = revisions.decided(runtime.settings.mine.last_word, own)
    return {
        "id": candidate.id,
        "model": candidate.model,
        "inference_id": candidate.inference_id.hex(),
        "state": candidate.state,
        "reason": candidate.reason,
        "arm": candidate.arm,
        "probability": candidate.probability,
        "scores": dict(candidate.scores),
        "draws": [asdict(draw) for draw in candidate.draws],
        "incident": candidate.incident,
        "duplicates": candidate.duplicates,
        "duplicate_of": candidate.duplicate_of,
        "task": candidate.task,
        "answer": own.value if own else None,
        "label": decision.label.answer if decision and decision.label else None,
        "answers": [_answer_row(one) for one in decision.opinions] if decision else [],
    }


def _answer_row(label: Label) -> dict[str, Any]:
    kept = ("annotator", "answer", "verdict", "state", "note")
    return {name: getattr(label, name) for name in kept}


def _said(row: Mapping[str, Any]) -> Any:
    """The answer that counts; where people differ, who says what."""
    if row["state"] != "disputed":
        return row["label"]
    said = [
        (one["annotator"], one["answer"] or one["verdict"])
        for one in row["answers"]
        if one["state"] == "labelled"
    ]
    return " | ".join(
        f"{name}: {shown_text(answer)}" if name else shown_text(answer) for name, answer in said
    )


@labels.command("import")
def _import(
    file: Annotated[
        Path, typer.Argument(help='Lines of {"candidate": …, "answer": …, "verdict": …, "annotator": …}.')
    ],
    allow_new: Annotated[
        bool, typer.Option("--allow-new", help="Take in classes that the model never named.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring in labels from a file, all or none; an answer of null skips the candidate."""
    from davy_miner.imports import import_labels

    with open_runtime(make=False) as runtime:
        count = import_labels(runtime, file, allow_new=allow_new)
    console.show_one({"file": str(file), "labels": count}, title="import", as_json=as_json)


@labels.command()
def quality(model: Annotated[str, typer.Option(help="Which model.")], as_json: Json = False) -> None:
    """Estimate the model's error rate in production from the labels of the random arm."""
    from davy_miner.labels import quality as estimate

    with open_runtime(make=False) as runtime:
        _require_model(runtime, model)
        mine = runtime.settings.mine
        since = runtime.clock() - int(mine.estimate_days * _DAY_NS)
        found = estimate(runtime.store, model, mine.last_word, since=since)
        disputed = len(_candidate_rows(runtime, model, "disputed"))
    if found is None:
        remedy = "nothing of its random arm is labelled yet; `davy mine` chooses, `davy candidates` shows what waits"
        raise DavyError("model", model, remedy)
    console.show_one(
        {"model": model, **asdict(found), "disputed": disputed}, title="error rate", as_json=as_json
    )


@labels.command()
def agreement(model: Model = "", as_json: Json = False) -> None:
    """Say how far annotators agree: each against everybody else who answered the same candidates."""
    from davy_miner.agreement import agreement as measure

    with open_runtime(make=False) as runtime:
        _require_model(runtime, model)
        found = measure(runtime.store, model)
    console.show(
        [asdict(one) for one in found], title="agreement", as_json=as_json, empty="nobody answered yet"
    )


@dataset.command()
def build(
    model: Annotated[str, typer.Option(help="Whose labelled candidates.")],
    suite_share: Annotated[float, typer.Option(help="Share of groups set apart for the suite.")] = 0.0,
    as_json: Json = False,
) -> None:
    """Write a version; without new labels it names the last one."""
    from davy_miner import dataset as versions

    with open_runtime(make=False) as runtime:
        _require_model(runtime, model)
        path = versions.build(runtime, model, suite_share=suite_share)
        built = versions.load(path)
    console.show_one(_version_row(path, built.manifest), title="dataset", as_json=as_json)


@dataset.command("list")
def _list(model: Model = "", as_json: Json = False) -> None:
    """List versions."""
    from davy_miner import dataset as versions

    with open_runtime(make=False) as runtime:
        _require_model(runtime, model)
        found = versions.versions(versions.directory(runtime), model or None)
    console.show(
        [_version_row(path, manifest) for path, manifest in found], title="datasets", as_json=as_json
    )


@dataset.command()
def show(
    version: Annotated[str, typer.Argument(help="A version's id, or model/id.")], as_json: Json = False
) -> None:
    """Verify a version and print its rows."""
    from davy_miner import dataset as versions

    with open_runtime(make=False) as runtime:
        path, _ = versions.find(versions.directory(runtime), version)
    manifest = versions.load(path).manifest
    if as_json:
        console.show_one(manifest, title=version, as_json=True)
        return
    console.show(manifest["rows"], title=version)


@dataset.command()
def diff(
    old: Annotated[str, typer.Argument(help="A version's id, or model/id.")],
    new: Annotated[str, typer.Argument(help="A version's id, or model/id.")],
    as_json: Json = False,
) -> None:
    """Name the candidates by which two versions differ."""
    from davy_miner import dataset as versions

    with open_runtime(make=False) as runtime:
        root = versions.directory(runtime)
        found = versions.diff(versions.find(root, old)[1], versions.find(root, new)[1])
    if as_json:
        console.show_one(found, title="difference", as_json=True)
        return
    rows = [{"change": change, "candidate": key} for change, keys in found.items() for key in keys]
    console.show(rows, title=f"{old} to {new}", empty="no difference")


def _require_model(runtime: Runtime, model: str) -> None:
    """Refuse a model nobody has heard of; one that was forgotten since may have labels and datasets still."""
    from davy_miner.candidates import COLLECTION as CANDIDATES
    from davy_miner.dataset.build import COLLECTION as DATASETS

    if model:
        mined = {str(load_any(data)["model"]) for _, data in runtime.store.items(CANDIDATES)}
        built = {key.rpartition("/")[0] for key, _ in runtime.store.items(DATASETS)}
        require_model(model, runtime.store, *mined, *built)


def _version_row(path: Path, manifest: Any) -> dict[str, Any]:
    from davy_miner.dataset import exported

    verdicts = Counter(row["verdict"] for row in manifest["rows"])
    splits = Counter(row["split"] for row in manifest["rows"])
    return {
        "version": manifest["version"],
        "model": manifest["model"],
        "rows": len(manifest["rows"]),
        "failures": verdicts["failure"],
        "suite": splits["suite"],
        "forgotten": manifest.get("forgotten", {"rows": 0})["rows"],
        "parent": manifest["parent"],
        "created_at": manifest["created_at"],
        "exports": exported(path),
        "path": str(path),
    }
