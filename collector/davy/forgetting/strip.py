"""What the record of a topic holds of some inferences, and what is left of it without them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from davy.codec import decode, dump, load, references, select
from davy.errors import DecodeError
from davy.event import (
    ALERTS,
    FEEDBACK,
    FLAGS,
    INFERENCES,
    LABELS,
    TOPICS,
    Alert,
    Envelope,
    Feedback,
    Flag,
    Label,
    dead_letters,
)
from davy.forgetting.names import Ids

SOURCES: Final = {name: topic for topic in TOPICS for name in (topic, dead_letters(topic))}
"""Every topic that may hold inferences, and the one its records were written for."""
KIND: Final = {
    INFERENCES: "inferences",
    FEEDBACK: "feedback",
    FLAGS: "flags",
    ALERTS: "flags",
    LABELS: "labels",
}
"""Under which kind the things of a topic are counted; an alert that names a sample counts with the flags."""


@dataclass(frozen=True, slots=True)
class Stripped:
    """What is left of a record's value, and what was taken out.

    Attributes
    ----------
    value
        The value without it; empty when nothing is left.
    kind, names
        What was taken out, under names that are the same wherever it is found.
    payloads
        Hashes of the payloads it referred to.
    """

    value: bytes
    kind: str
    names: frozenset[str]
    payloads: frozenset[str] = frozenset()


def strip(topic: str, value: bytes, ids: Ids) -> Stripped | None:
    """Take some inferences out of the value of a record, also of a dead letter; None when it holds none of them.

    Other inferences of an envelope stay as they are, byte by byte. What cannot be decoded loses everything when one of
    the ids stands in it.

    Examples
    --------
    >>> value = dump(Feedback(id=bytes(16), truth=3, at=7))
    >>> strip(FEEDBACK, value, frozenset({bytes(16)})).value, strip(FEEDBACK, value, frozenset())
    (b'', None)
    """
    source = SOURCES.get(topic)
    if source is None or not value or not ids:
        return None
    try:
        return _STRIP[source](value, ids)
    except DecodeError:
        found = frozenset(id.hex() for id in ids if id in value)
        return Stripped(b"", KIND[source], found, references(value)) if found else None


def tagged(topic: str, value: bytes, name: str, text: str) -> frozenset[bytes]:
    """Return the ids of inferences in a record that carry a tag whose value reads `text`; none when it is damaged."""
    source = SOURCES.get(topic)
    try:
        if source == INFERENCES:
            return with_tag(decode(value), name, text)
        if source == FLAGS:
            return with_tag(decode(load(Flag, value).inference), name, text)
    except DecodeError:
        pass  # what cannot be read has no tags; the roles set it aside and count it
    return frozenset()


def with_tag(envelope: Envelope, name: str, text: str) -> frozenset[bytes]:
    """Return the ids of the inferences of an envelope that carry a tag whose value reads `text`."""
    column = envelope.get(("tags", name))
    if column is None:
        return frozenset()
    rows = zip(envelope.ids.tolist(), column.values.tolist(), column.present.tolist(), strict=True)
    return frozenset(id for id, value, present in rows if present and str(value) == text)


def _inferences(value: bytes, ids: Ids) -> Stripped | None:
    rows = decode(value).ids.tolist()
    gone = [row for row, id in enumerate(rows) if id in ids]
    if not gone:
        return None
    rest = select(value, [row for row, id in enumerate(rows) if id not in ids], report=True)
    names = frozenset(rows[row].hex() for row in gone)
    return Stripped(rest, KIND[INFERENCES], names, references(select(value, gone)))


def _flag(value: bytes, ids: Ids) -> Stripped | None:
    flag = load(Flag, value)
    if flag.inference_id not in ids:
        return None
    return Stripped(b"", KIND[FLAGS], frozenset({flag.id}), references(value))


def _alert(value: bytes, ids: Ids) -> Stripped | None:
    alert = load(Alert, value)
    samples = [sample for sample in alert.samples if sample not in ids]
    if len(samples) == len(alert.samples):
        return None
    return Stripped(dump(replace(alert, samples=samples)), KIND[ALERTS], frozenset({alert.id}))


def _feedback(value: bytes, ids: Ids) -> Stripped | None:
    feedback = load(Feedback, value)
    if feedback.id not in ids:
        return None
    return Stripped(b"", KIND[FEEDBACK], frozenset({f"{feedback.id.hex()}/{feedback.at}"}))


def _label(value: bytes, ids: Ids) -> Stripped | None:
    label = load(Label, value)
    if label.inference_id not in ids:
        return None
    return Stripped(b"", KIND[LABELS], frozenset({f"{label.candidate}/{label.revision}"}))


_STRIP: Final[Mapping[str, Callable[[bytes, Ids], Stripped | None]]] = {
    INFERENCES: _inferences,
    FEEDBACK: _feedback,
    FLAGS: _flag,
    ALERTS: _alert,
    LABELS: _label,
}
