"""Labels from a file: one JSON object a line, all or none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from davy.codec import dump, load
from davy.errors import LabelError
from davy.event import LABELS, Label
from davy.log import Message
from davy.runtime import Runtime
from davy.store import Store
from davy_miner.candidates import COLLECTION as CANDIDATES
from davy_miner.candidates import Candidate
from davy_miner.labels import COLLECTION, Revisions

_FIELDS: Final = frozenset({"candidate", "answer", "annotator", "seconds"})


def import_labels(runtime: Runtime, file: Path) -> int:
    """Append the labels of a file to the topic of labels; give how many are new.

    A line whose answer is already the candidate's current one, by the same annotator, changes nothing. An answer of
    null skips the candidate.

    Raises
    ------
    LabelError
        Names the line and the field; nothing was imported.
    """
    messages = [
        Message(LABELS, label.model, dump(label)) for label in _labels(runtime, file) if label is not None
    ]
    producer = runtime.log.producer()
    try:
        producer.append(messages)
    finally:
        producer.close()
    return len(messages)


def _labels(runtime: Runtime, file: Path) -> Iterator[Label | None]:
    seen: dict[str, int] = {}
    for number, text in enumerate(_lines(file), start=1):
        if not text.strip():
            continue
        where = f"{file.name} line {number}"
        fields = _fields(where, text)
        candidate = _candidate(where, fields, runtime.store)
        if candidate.id in seen:
            remedy = f"was answered in line {seen[candidate.id]} already; keep one line a candidate"
            raise LabelError(f"{where}: candidate", candidate.id, remedy)
        seen[candidate.id] = number
        yield _label(runtime, candidate, fields)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise LabelError("file", str(file), f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LabelError("file", str(file), "is not UTF-8 text") from error


def _fields(where: str, text: str) -> Mapping[str, Any]:
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise LabelError(where, text, f"is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise LabelError(where, text, "must be an object with candidate and answer")
    unknown = sorted(fields.keys() - _FIELDS)
    if unknown:
        raise LabelError(
            f"{where}: {unknown[0]}", fields[unknown[0]], f"known are {', '.join(sorted(_FIELDS))}"
        )
    for name in ("candidate", "answer"):
        if name not in fields:
            raise LabelError(f"{where}: {name}", None, "is missing")
    for name in ("candidate", "annotator"):
        if not isinstance(fields.get(name, ""), str):
            raise LabelError(f"{where}: {name}", fields[name], "must be text")
    seconds = fields.get("seconds")
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, (int, float))):
        raise LabelError(f"{where}: seconds", seconds, "must be a number")
    return fields


def _candidate(where: str, fields: Mapping[str, Any], store: Store) -> Candidate:
    data = store.get(CANDIDATES, fields["candidate"])
    if data is None:
        raise LabelError(
            f"{where}: candidate", fields["candidate"], "no such candidate; `davy candidates` lists them"
        )
    candidate = load(Candidate, data)
    if not candidate.inference:
        remedy = (
            f"is {candidate.state} and its payload is gone; label its representative or another candidate"
        )
        raise LabelError(f"{where}: candidate", candidate.id, remedy)
    return candidate


def _label(runtime: Runtime, candidate: Candidate, fields: Mapping[str, Any]) -> Label | None:
    current = Revisions.from_bytes(runtime.store.get(COLLECTION, candidate.id)).current
    answer, annotator = fields["answer"], fields.get("annotator", "")
    if current is not None and (current.answer, current.annotator) == (answer, annotator):
        return None
    return Label(
        candidate=candidate.id,
        inference_id=candidate.inference_id,
        model=candidate.model,
        answer=answer,
        revision=current.revision + 1 if current else 1,
        at=runtime.clock(),
        annotator=annotator,
        seconds=fields.get("seconds"),
        state="skipped" if answer is None else "labelled",
    )
