"""The commands ``davy mine``, ``davy candidates``, ``davy labels`` and ``davy dataset``."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from davy import console
from davy.codec import load
from davy.errors import DavyError, SettingError
from davy.runner import open_runtime
from davy.runtime import Runtime
from davy.store import Store

Model = Annotated[str, typer.Option("--model", help="Only this model, as name:version.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

mine = typer.Typer(help="Choose the next samples to label.")
candidates = typer.Typer(help="List candidates: what may be worth a label, and what became of it.")
labels = typer.Typer(help="Bring labels in, and see what they say about quality.", no_args_is_help=True)
dataset = typer.Typer(help="Build, list and compare dataset versions.", no_args_is_help=True)

_POLL_SECONDS: Final = 0.1


@mine.callback(invoke_without_command=True)
def _mine(
    model: Model = "",
    budget: Annotated[int, typer.Option(help="Labels to spend a model; 0 takes mine.budget.", min=0)] = 0,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the miner; 0 only asks.", min=0)] = 60.0,
    as_json: Json = False,
) -> None:
    """Ask the running miner for a selection round over everything flagged until now."""
    from davy_miner import rounds

    with open_runtime() as runtime:
        key = rounds.request(runtime, model, budget or None)
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
    model: Model = "",
    state: Annotated[str, typer.Option(help="Only this state, for example waiting or labelled.")] = "",
    limit: Annotated[int, typer.Option(help="Print at most so many; 0 prints all.", min=0)] = 0,
    as_json: Json = False,
) -> None:
    """List candidates."""
    with open_runtime() as runtime:
        rows = _candidate_rows(runtime.store, model, state)
    rows = rows[:limit] if limit else rows
    if not as_json:
        hidden = ("scores", "draws", "duplicate_of")
        rows = [{key: value for key, value in row.items() if key not in hidden} for row in rows]
    console.show(rows, title="candidates", as_json=as_json, empty="nothing was flagged yet")


def _candidate_rows(store: Store, model: str, state: str) -> list[dict[str, Any]]:
    from davy_miner.candidates import COLLECTION, STATES, Candidate

    if state and state not in STATES:
        raise SettingError("--state", state, f"is one of {', '.join(STATES)}")
    found = (load(Candidate, data) for _, data in store.items(COLLECTION))
    return [
        _candidate_row(store, candidate)
        for candidate in found
        if model in {"", candidate.model} and state in {"", candidate.state}
    ]


def _candidate_row(store: Store, candidate: Any) -> dict[str, Any]:
    from davy_miner.labels import COLLECTION, Revisions, answer_of

    label = Revisions.from_bytes(store.get(COLLECTION, candidate.id)).current
    return {
        "id": candidate.id,
        "model": candidate.model,
        "inference_id": candidate.inference_id.hex(),
        "state": candidate.state,
        "arm": candidate.arm,
        "probability": candidate.probability,
        "scores": dict(candidate.scores),
        "draws": [asdict(draw) for draw in candidate.draws],
        "incident": candidate.incident,
        "duplicates": candidate.duplicates,
        "duplicate_of": candidate.duplicate_of,
        "task": candidate.task,
        "answer": answer_of(candidate),
        "label": label.answer if label else None,
    }


@labels.command("import")
def _import(
    file: Annotated[Path, typer.Argument(help='Lines of {"candidate": …, "answer": …, "annotator": …}.')],
    as_json: Json = False,
) -> None:
    """Bring in labels from a file, all or none; an answer of null skips the candidate."""
    from davy_miner.imports import import_labels

    with open_runtime() as runtime:
        count = import_labels(runtime, file)
    console.show_one({"file": str(file), "labels": count}, title="import", as_json=as_json)


@labels.command()
def quality(model: Annotated[str, typer.Option(help="Which model.")], as_json: Json = False) -> None:
    """Estimate the model's error rate in production from the labels of the random arm."""
    from davy_miner.labels import quality as estimate

    with open_runtime() as runtime:
        found = estimate(runtime.store, model)
    if found is None:
        remedy = "nothing of its random arm is labelled yet; `davy mine` chooses, `davy candidates` shows what waits"
        raise DavyError("model", model, remedy)
    console.show_one({"model": model, **asdict(found)}, title="error rate", as_json=as_json)


@dataset.command()
def build(
    model: Annotated[str, typer.Option(help="Whose labelled candidates.")],
    suite_share: Annotated[float, typer.Option(help="Share of groups set apart for the suite.")] = 0.0,
    as_json: Json = False,
) -> None:
    """Write a version; without new labels it names the last one."""
    from davy_miner import dataset as versions

    with open_runtime() as runtime:
        path = versions.build(runtime, model, suite_share=suite_share)
        built = versions.load(path)
    console.show_one(_version_row(path, built.manifest), title="dataset", as_json=as_json)


@dataset.command("list")
def _list(model: Model = "", as_json: Json = False) -> None:
    """List versions."""
    from davy_miner import dataset as versions

    with open_runtime() as runtime:
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

    with open_runtime() as runtime:
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

    with open_runtime() as runtime:
        root = versions.directory(runtime)
        found = versions.diff(versions.find(root, old)[1], versions.find(root, new)[1])
    if as_json:
        console.show_one(found, title="difference", as_json=True)
        return
    rows = [{"change": change, "candidate": key} for change, keys in found.items() for key in keys]
    console.show(rows, title=f"{old} to {new}", empty="no difference")


def _version_row(path: Path, manifest: Any) -> dict[str, Any]:
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
        "path": str(path),
    }
