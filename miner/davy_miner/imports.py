"""Labels from a file: one JSON object a line, all or none."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from davy.codec import dump
from davy.errors import LabelError
from davy.event import LABELS, Label
from davy.log import Message
from davy.outputs import CORRECT, UNCLEAR, WRONG, Answer
from davy.runtime import Runtime
from davy.store import Store
from davy_miner.candidates import CANDIDATES
from davy_miner.classes import Classes
from davy_miner.decision import as_said, standing, verdict_named
from davy_miner.labels import REVISIONS, answer_of

_Thing = TypeVar("_Thing")
_AT_ONCE: Final = 1000
"""So many candidates are read, and labels appended, at once."""
_FIELDS: Final = frozenset({"candidate", "answer", "verdict", "annotator", "seconds", "note"})
_DEEP: Final = 32
"""Levels of lists and objects in a line: more are no answer of a person, and cannot travel."""
_TEXTS: Final = ("candidate", "annotator", "verdict", "note")


def import_labels(runtime: Runtime, file: Path, *, allow_new: bool = False) -> int:
    """Append the labels of a file to the topic of labels; return how many are new.

    A line that says what its annotator says already changes nothing. An answer of null without a verdict skips the
    candidate. One candidate may have a line for each annotator.

    Parameters
    ----------
    runtime
        Log and store.
    file
        JSON Lines.
    allow_new
        Take in classes that the model never named and nobody answered with.

    Raises
    ------
    LabelError
        Names the line and the field; nothing was imported, unless it is the log that failed. What an interrupted run
        appended is no harm: run again, it comes to the same.
    """
    classes = None if allow_new else Classes(runtime.store)
    labels = [label for label in _labels(runtime, file, classes) if label is not None]
    producer = runtime.log.producer()
    try:
        for batch in _batches(labels):
            producer.append([Message(LABELS, label.model, dump(label)) for label in batch])
    finally:
        producer.close()
    return len(labels)


@dataclass(slots=True)
class _Asked:
    """A candidate as lines ask of it, with the model's own answer, its last revision and what each person says."""

    id: str
    inference_id: bytes
    model: str
    state: str
    readable: bool
    own: Answer | None
    revision: int
    said: Mapping[str, Label]


def _labels(runtime: Runtime, file: Path, classes: Classes | None) -> Iterator[Label | None]:
    lines = [
        (where, _fields(where, text))
        for where, text in (
            (f"{file.name} line {number}", text) for number, text in enumerate(_lines(file), 1)
        )
        if text.strip()
    ]
    known: dict[str, _Asked] = {}
    seen: dict[tuple[str, str], str] = {}
    for batch in _batches(lines):
        _learn(known, [fields["candidate"] for _, fields in batch], runtime.store)
        for where, fields in batch:
            asked = _asked(where, fields["candidate"], known)
            said_by = (asked.id, fields.get("annotator") or "")
            if said_by in seen:
                remedy = f"was answered in {seen[said_by]} already; keep one line a candidate and annotator"
                raise LabelError(f"{where}: candidate", asked.id, remedy)
            seen[said_by] = where.removeprefix(f"{file.name} ")
            label = _label(runtime, where, asked, fields)
            if label is not None and classes is not None:
                classes.require(where, asked.model, asked.own, label.answer)
            if label is not None:  # several lines about one candidate are one revision after the other
                asked.revision = label.revision
            yield label


def _batches(things: Sequence[_Thing]) -> Iterator[Sequence[_Thing]]:
    return (things[start : start + _AT_ONCE] for start in range(0, len(things), _AT_ONCE))


def _learn(known: dict[str, _Asked], ids: Iterable[str], store: Store) -> None:
    """Read the candidates that are not known yet, each once however many lines there are about it."""
    new = [one for one in dict.fromkeys(ids) if one not in known]
    answers = REVISIONS.get_many(store, new)
    for key, candidate in CANDIDATES.get_many(store, new).items():
        labels = answers[key].labels if key in answers else ()
        known[key] = _Asked(
            id=candidate.id,
            inference_id=candidate.inference_id,
            model=candidate.model,
            state=candidate.state,
            readable=bool(candidate.inference),
            own=answer_of(candidate),
            revision=max((one.revision for one in labels), default=0),
            said={one.annotator: one for one in standing(labels)},
        )


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8-sig").split("\n")  # a text may hold other ends of a line
    except OSError as error:
        raise LabelError("file", str(file), f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LabelError("file", str(file), "is not UTF-8 text") from error


def _fields(where: str, text: str) -> Mapping[str, Any]:
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise LabelError(where, text, f"is not JSON: {error}") from error
    except RecursionError:
        raise _too_deep(where, text) from None
    if not isinstance(fields, dict):
        raise LabelError(where, text, "must be an object with candidate and answer")
    if _deeper(fields, _DEEP):
        raise _too_deep(where, text)
    unknown = sorted(fields.keys() - _FIELDS)
    if unknown:
        raise LabelError(
            f"{where}: {unknown[0]}", fields[unknown[0]], f"known are {', '.join(sorted(_FIELDS))}"
        )
    if "candidate" not in fields:
        raise LabelError(f"{where}: candidate", None, "is missing")
    if "answer" not in fields and "verdict" not in fields:
        raise LabelError(f"{where}: answer", None, "is missing; null skips the candidate")
    for name in _TEXTS:
        if not isinstance(fields.get(name) or "", str):
            raise LabelError(f"{where}: {name}", fields[name], "must be text")
    seconds = fields.get("seconds")
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, (int, float))):
        raise LabelError(f"{where}: seconds", seconds, "must be a number")
    return fields


def _deeper(value: Any, levels: int) -> bool:
    """Whether a value nests deeper than so many levels."""
    layer = [value]
    for _ in range(levels + 1):
        layer = [
            inner
            for one in layer
            if isinstance(one, (dict, list))
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
    return bool(layer)


def _too_deep(where: str, text: str) -> LabelError:
    remedy = f"is nested deeper than {_DEEP} levels; write the answer flat"
    return LabelError(where, text if len(text) <= 200 else f"{text[:200]}…", remedy)


def _asked(where: str, candidate: str, known: Mapping[str, _Asked]) -> _Asked:
    asked = known.get(candidate)
    if asked is None:
        raise LabelError(f"{where}: candidate", candidate, "no such candidate; `davy candidates` lists them")
    if not asked.readable:
        remedy = f"is {asked.state} and its payload is gone; label its representative or another candidate"
        raise LabelError(f"{where}: candidate", candidate, remedy)
    return asked


def _label(runtime: Runtime, where: str, asked: _Asked, fields: Mapping[str, Any]) -> Label | None:
    """Make the label of a line; None when its annotator says the same already."""
    label = as_said(
        Label(
            candidate=asked.id,
            inference_id=asked.inference_id,
            model=asked.model,
            answer=fields.get("answer"),
            revision=asked.revision + 1,
            at=runtime.clock(),
            annotator=fields.get("annotator") or "",
            seconds=fields.get("seconds"),
            verdict=_verdict(where, fields),
            note=fields.get("note") or "",
        )
    )
    label = _checked(where, label, asked.own)
    before = asked.said.get(label.annotator)
    return None if before is not None and _unchanged(before, label) else label


def _verdict(where: str, fields: Mapping[str, Any]) -> str:
    given = fields.get("verdict") or ""
    found = verdict_named(given) if given else ""
    if found is None:
        raise LabelError(f"{where}: verdict", given, f"is one of {CORRECT}, {WRONG}, {UNCLEAR}")
    return found


def _checked(where: str, label: Label, own: Answer | None) -> Label:
    """Fill in the answer that "correct" confirms, and refuse one that is no answer to what the model was asked."""
    answer = label.answer
    if answer is None and label.verdict == CORRECT and own is not None:
        answer = own.value
    if label.verdict == UNCLEAR:
        answer = None
    if isinstance(answer, str) and not answer.strip():
        raise LabelError(f"{where}: answer", answer, "is empty; null skips the candidate")
    if answer is not None and own is not None and own.form and own.agrees(answer) is None:
        kind = own.form if own.form in {"number", "text"} else f"{own.task} answer"
        raise LabelError(f"{where}: answer", answer, f"is no {kind}, as the model's own: {own.shown()!r}")
    if label.verdict == CORRECT and answer is not None and own is not None and own.agrees(answer) is False:
        differs = f"is not the model's own, {own.shown()!r}, that the verdict {CORRECT!r} confirms"
        raise LabelError(f"{where}: answer", answer, f"{differs}; leave one of them out, or say {WRONG!r}")
    decided = answer is not None or label.verdict in {CORRECT, WRONG}
    return replace(label, answer=answer, state="labelled" if decided else "skipped")


def _unchanged(before: Label, now: Label) -> bool:
    """Whether somebody says what they said already; true is another answer than 1, and 3 than "3"."""
    said = [(one.verdict, one.state, one.note, json.dumps(one.answer, default=str)) for one in (before, now)]
    return said[0] == said[1]
