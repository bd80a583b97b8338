"""From labelled candidates to a version."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any, Final, Literal
from uuid import uuid4

from davy.codec import decode, dump_any
from davy.codec import load as load_event
from davy.errors import DatasetError
from davy.event import Inference, Label
from davy.runtime import Runtime
from davy.store import Batch
from davy_miner.candidates import COLLECTION as CANDIDATES
from davy_miner.candidates import Candidate
from davy_miner.dataset.exports import export
from davy_miner.dataset.files import FORMAT, ROWS, content_hash, hash_of, pack, write
from davy_miner.dataset.versions import directory, model_directory, versions
from davy_miner.decision import Verdict, called
from davy_miner.labels import Judge, answer_of

COLLECTION: Final = "datasets"
_LEASE_SECONDS: Final = 600.0
_ANSWERED: Final = frozenset({"labelled", "disputed", "skipped", "deleted"})


@dataclass(frozen=True, slots=True)
class _Row:
    candidate: Candidate
    label: Label
    verdict: Verdict
    inference: Inference


def lease(model: str) -> str:
    """Name the lease under which a model's versions are built and changed."""
    return f"dataset/{model}"


def build(runtime: Runtime, model: str, *, suite_share: float = 0.0) -> Path:
    """Write a version with every labelled candidate of a model; return its directory.

    Without a new answer since the last version that version is given and nothing is written, but by exporters that have
    not written it yet.

    Parameters
    ----------
    model
        Whose candidates.
    suite_share
        Share of groups, by a hash of the group's name, that goes into the split "suite" instead of "train". A group is
        what must not be torn apart: the inference's own group, else a candidate with its near-duplicates.

    Raises
    ------
    DatasetError
        Nothing is labelled yet, another build runs, or the directory cannot be written.
    """
    if not 0.0 <= suite_share < 1.0:
        raise DatasetError("suite share", suite_share, "give a number from 0 up to, but not, 1")
    held = runtime.store.acquire(lease(model), uuid4().hex, seconds=_LEASE_SECONDS)
    if held is None:
        raise DatasetError("dataset", model, "is being built by another process; try again when it is done")
    try:
        path = _build(runtime, model, suite_share)
        export(runtime, path, model)
        return path
    finally:
        runtime.store.release(held)


def _build(runtime: Runtime, model: str, suite_share: float) -> Path:
    rows = _labelled(runtime, model)
    if not rows:
        raise DatasetError(
            "model", model, "has no labelled candidate; `davy candidates` shows where they are"
        )
    root = directory(runtime)
    existing = versions(root, model)
    data = pack(_columns(rows))
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "model": model,
        "suite_share": suite_share,
        "rows": [_entry(row, suite_share) for row in rows],
        "files": {ROWS: {"hash": hash_of(data), "bytes": len(data)}},
    }
    content = content_hash(manifest)
    if existing and existing[-1][1]["content"] == content:
        return existing[-1][0]
    number = existing[-1][1]["number"] + 1 if existing else 1
    created = datetime.fromtimestamp(runtime.clock() / 1e9, tz=UTC)
    manifest |= {
        "version": f"v{number}-{content[:8]}",
        "number": number,
        "content": content,
        "parent": existing[-1][1]["version"] if existing else None,
        "created_at": created.isoformat(timespec="seconds"),
        "davy": installed("davy"),
    }
    path = model_directory(root, model) / str(manifest["version"])
    write(path, manifest, {ROWS: data})
    runtime.store.apply(Batch().put(COLLECTION, f"{model}/{manifest['version']}", summary(manifest, path)))
    return path


def _labelled(runtime: Runtime, model: str) -> list[_Row]:
    """Return the candidates about which one answer counts and says what is right."""
    rows = []
    judge = Judge(runtime.store, runtime.settings.mine.last_word)
    for _, data in runtime.store.items(CANDIDATES):
        candidate = load_event(Candidate, data)
        if candidate.model != model or candidate.state not in _ANSWERED or not candidate.inference:
            continue
        decision = judge.decided(candidate)
        if decision is not None and decision.label is not None and decision.label.answer is not None:
            found = called(decision.label, answer_of(candidate))
            rows.append(_Row(candidate, decision.label, found, decode(candidate.inference).inference(0)))
    return rows


def _entry(row: _Row, suite_share: float) -> dict[str, Any]:
    candidate = row.candidate
    group = row.inference.group or candidate.duplicate_of or candidate.id
    return {
        "candidate": candidate.id,
        "inference_id": candidate.inference_id.hex(),
        "label_revision": row.label.revision,
        "verdict": row.verdict,
        "arm": candidate.arm,
        "probability": candidate.probability,
        "incident": candidate.incident,
        "group": group,
        "split": _split(candidate.model, group, suite_share),
    }


def _split(model: str, group: str, suite_share: float) -> Literal["train", "suite"]:
    digest = hashlib.blake2b(f"{model}\0{group}".encode(), digest_size=8).digest()
    return "suite" if int.from_bytes(digest) / 2**64 < suite_share else "train"


def _columns(rows: Sequence[_Row]) -> dict[str, list[Any]]:
    fields = [_fields(row.inference) for row in rows]
    names = sorted({name for one in fields for name in one})
    columns: dict[str, list[Any]] = {name: [one.get(name) for one in fields] for name in names}
    return columns | {
        "inference_id": [row.candidate.inference_id.hex() for row in rows],
        "candidate": [row.candidate.id for row in rows],
        "label": [row.label.answer for row in rows],
        "arm": [row.candidate.arm for row in rows],
        "probability": [row.candidate.probability for row in rows],
    }


def _fields(inference: Inference) -> dict[str, Any]:
    sections = {"inputs": inference.inputs, "outputs": inference.outputs, "tags": inference.tags}
    found = {
        f"{section}.{name}": value for section, values in sections.items() for name, value in values.items()
    }
    if inference.embedding is not None:
        found["embedding"] = inference.embedding
    return found


def summary(manifest: Mapping[str, Any], path: Path) -> bytes:
    """Return what the store keeps of a version."""
    kept = ("model", "version", "number", "content", "parent", "created_at")
    return dump_any(
        {
            "v": 1,
            **{key: manifest[key] for key in kept},
            "rows": len(manifest["rows"]),
            "failures": sum(row["verdict"] == "failure" for row in manifest["rows"]),
            "path": str(path),
        }
    )
