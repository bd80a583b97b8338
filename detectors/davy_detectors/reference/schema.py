"""What each captured field is, decided once on the reference: live columns are read by it, however they came."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Final, Self

import numpy as np

from davy.errors import ReferenceInvalid
from davy.event import Column, Path
from davy.fields.fitting import FieldKind, kind_of
from davy.fields.reading import is_absent, numbers, rows_of, texts, times, vector, vectors
from davy.outputs import find
from davy_detectors.batch import Batch
from davy_detectors.reference.mappings import VARIES, prefixes, varying
from davy_detectors.reference.summaries import classes_of, has_corners
from davy_detectors.reference.text import TextModel

_A_ROW: Final = ("scores", "labels", "classes", "confidences")
PROBS: Final = (("outputs", "probs"), ("outputs", "logits"))
LABEL: Final = ("outputs", "label")
EMBEDDING: Final = ("embedding",)
_NAMES: Final = ("outputs", "class_names")
_SECTIONS: Final = frozenset({"inputs", "outputs", "embedding"})
_BOX: Final = 4
MINUTE: Final = 60.0
DAY: Final = 86_400.0

Rule = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Field:
    """What one captured field is.

    Attributes
    ----------
    path
        Where it sits.
    kind
        What it is.
    age
        Of moments: how many seconds their age at the inference is rounded to, a minute or, of dates, a day; so that a
        field of now is always young. Zero watches the moments themselves.
    corners
        Of rows of four numbers: whether they are two corners of a box.
    texts
        Of free text: what its texts usually say; None until that has been learned.
    classes
        Of dense answers: the classes that the reference has.
    """

    path: Path
    kind: FieldKind
    age: float = 0.0
    corners: bool = False
    texts: TextModel | None = None
    classes: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The name as people write it."""
        return ".".join(self.path)

    def dump(self) -> list[Any]:
        """Return the state."""
        kind = self.kind
        learned = None if self.texts is None else self.texts.dump()
        return [
            list(self.path), [kind.form, kind.codes, kind.width, kind.listed], self.age, self.corners, learned,
            list(self.classes),
        ]  # fmt: skip

    @classmethod
    def load(cls, state: Sequence[Any]) -> Self:
        """Make a field of what `dump` returned."""
        path, kind, age, corners, learned, *classes = state
        texts = None if learned is None else TextModel.load(learned)
        return cls(tuple(path), FieldKind(*kind), age, corners, texts, tuple(classes[0]) if classes else ())


@dataclass(frozen=True, slots=True)
class Schema:
    """What the fields of a model are.

    Attributes
    ----------
    fields
        By name.
    widths
        How many numbers an embedding, probabilities and logits have.
    class_names
        What the probabilities are of, where the reference knew.
    unwatched
        Why a captured field, or a column of a file, is compared with nothing; by name.
    """

    fields: Mapping[str, Field] = field(default_factory=dict)
    widths: Mapping[Path, int] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    unwatched: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def decide(
        cls,
        batch: Batch,
        rules: Sequence[Rule] = (),
        captured: Collection[Path] | None = None,
    ) -> Self:
        """Decide what every field among inputs and outputs is.

        Parameters
        ----------
        batch
            Reference inferences.
        rules
            What the user decided, as ``(pattern, meaning)``; the first that matches a name counts.
        captured
            The fields that the model's inferences have had, where that is known: others are watched by nothing.
        """
        fields: dict[str, Field] = {}
        unwatched = dict(batch.unread)
        widths: dict[Path, int] = {}
        known = {
            path: column for path, column in batch.fields.items() if path[0] in _SECTIONS and path != _NAMES
        }
        asked = {path: _rule(rules, path) for path in known}
        loose = varying({path: column for path, column in known.items() if asked[path] is None})
        unwatched |= {".".join(mapping): VARIES for mapping in loose.values()}
        for path, column in known.items():
            name, rule = ".".join(path), asked[path]
            if rule is None and path in loose:
                continue
            if rule == "ignore":
                unwatched[name] = "ignored, as asked"
            elif captured is not None and not _is_captured(path, captured):
                unwatched[name] = "never captured: no inference of this model has it"
            elif path in PROBS or path in {batch.of_classes, EMBEDDING}:
                matrix = vectors(column)
                if matrix is not None and (matrix.shape[1] > 1 or path == EMBEDDING):
                    widths[path] = matrix.shape[1]
                    unwatched |= _other_widths(name, column, matrix.shape[1])
                    continue
                if path == EMBEDDING:
                    unwatched[name] = _no_vectors(column)
                    continue
            if name not in unwatched:
                fields[name] = _decide(path, column, rule, batch)
        return cls(fields, widths, batch.class_names, unwatched)

    def learn(self, batch: Batch, seed: int) -> Schema:
        """Return the schema with what the texts of `batch` usually say."""
        learned = {
            name: replace(each, texts=learn_texts(each, batch, seed)) if each.kind.form == "text" else each
            for name, each in self.fields.items()
        }
        return replace(self, fields=learned)

    def only(self, *, text: bool) -> Schema:
        """Return the fields that are free text, or all others."""
        fields = {name: each for name, each in self.fields.items() if (each.kind.form == "text") == text}
        return replace(self, fields=fields, widths={} if text else self.widths)

    def reason(self, path: Path) -> tuple[str, str] | None:
        """Return why a field is not watched, with the name of the mapping that the reason is about; None if unknown."""
        name = ".".join(path)
        if name in self.unwatched:
            return name, self.unwatched[name]
        mappings = (".".join(prefix) for prefix in prefixes(path))
        return next(((each, VARIES) for each in mappings if self.unwatched.get(each) == VARIES), None)

    def conform(self, batch: Batch) -> Batch:
        """Return a batch whose embedding and probabilities have the widths of the reference, or none at all."""
        changed = {}
        for path, width in self.widths.items():
            column = batch.fields.get(path)
            if column is None or (column.values.dtype != object and column.values.shape[1:] == (width,)):
                continue
            matrix = vectors(column, width)
            if matrix is not None:
                changed[path] = Column(matrix, np.isnan(matrix).all(axis=1))
        return batch.replaced(changed) if changed else batch

    def dump(self) -> dict[str, Any]:
        """Return the state."""
        return {
            "fields": [each.dump() for each in self.fields.values()],
            "widths": [[list(path), width] for path, width in self.widths.items()],
            "class_names": list(self.class_names),
            "unwatched": dict(self.unwatched),
        }

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> Self:
        """Make a schema of what `dump` returned."""
        fields = [Field.load(found) for found in state["fields"]]
        widths = {tuple(path): width for path, width in state["widths"]}
        return cls(
            {each.name: each for each in fields}, widths, tuple(state["class_names"]), state["unwatched"]
        )


def rules_for(model: str, pairs: Sequence[tuple[str, str]]) -> list[Rule]:
    """Return the rules of a model among those of the settings: a pattern may begin with a model and a slash.

    Examples
    --------
    >>> rules_for("iris:1", [("iris:*/inputs.zip", "categorical"), ("other:1/age", "text"), ("*.id", "ignore")])
    [('inputs.zip', 'categorical'), ('*.id', 'ignore')]
    """
    found = []
    for pattern, meaning in pairs:
        of_model, _, name = pattern.rpartition("/")
        if not of_model or fnmatchcase(model, of_model):
            found.append((name, meaning))
    return found


def matches(pattern: str, path: Path) -> bool:
    """Whether a pattern means a field: by its whole name, or for short without its section."""
    return fnmatchcase(".".join(path), pattern) or fnmatchcase(".".join(path[1:]), pattern)


def learn_texts(each: Field, batch: Batch, seed: int) -> TextModel | None:
    """Learn what the texts of a field usually say."""
    column = batch.fields.get(each.path)
    if column is None:
        return None
    answers = each.path[0] == "outputs"
    return TextModel.fit(texts(column, empty=answers), answers=answers, seed=seed)


def _rule(rules: Sequence[Rule], path: Path) -> str | None:
    return next((meaning for pattern, meaning in rules if matches(pattern, path)), None)


def _is_captured(path: Path, captured: Collection[Path]) -> bool:
    if path in captured:
        return True
    names = [other[1] for other in captured if other[0] == "outputs" and len(other) == 2]
    return path == LABEL and bool(find(names, "probs") or find(names, "logits"))


def _decide(path: Path, column: Column, rule: str | None, batch: Batch) -> Field:
    kind = kind_of(column, path, label=path == LABEL, rows=_has_values_a_row(path, column, batch))
    if rule is not None:
        kind = _as_asked(".".join(path), column, rule, kind)
    age = _age(column) if kind.form == "time" and (batch.at > 0).all() else 0.0
    corners = kind.form == "rows" and kind.width == _BOX and has_corners(column)
    classes = classes_of(batch.dense(path)) if kind.form == "places" else ()
    return Field(path, kind, age, corners, classes=classes)


def _has_values_a_row(path: Path, column: Column, batch: Batch) -> bool:
    """Whether scores or labels stand beside an answer, one for each row of its matrices."""
    shape = column.values.shape
    return len(shape) == 3 and any(
        other[:-1] == path[:-1] and other[-1].endswith(_A_ROW) and beside.values.shape == shape[:2]
        for other, beside in batch.fields.items()
    )


def _age(column: Column) -> float:
    moments = times(column)
    known = moments[np.isfinite(moments)]
    return DAY if len(known) and bool((known % DAY == 0).all()) else MINUTE


def _as_asked(name: str, column: Column, rule: str, kind: FieldKind) -> FieldKind:
    """Return what the user says a field is; refuse where not one value reads so."""
    match rule:
        case "categorical":
            number = kind.form == "number" or (kind.form == "category" and kind.codes == "number")
            return FieldKind("category", "number" if number else kind.codes)
        case "text":
            return FieldKind("text")
        case "numeric":
            read, form = numbers(column), FieldKind("number")
        case _:
            read, form = times(column), FieldKind("time")
    if len(read) and not np.isfinite(read).any() and np.isinf(read).any():
        sample = next((value for value in rows_of(column) if not is_absent(value)), None)
        raise ReferenceInvalid(name, sample, f"was asked to be {rule}, and no value of it can be read so")
    return form


def _no_vectors(column: Column) -> str:
    present = [value for value in rows_of(column) if not is_absent(value)]
    if not present:
        return "always missing"
    first = vector(present[0])
    if first is None:
        shape = np.shape(present[0]) if isinstance(present[0], np.ndarray) else type(present[0]).__name__
        return f"not a vector of numbers: {shape}; send one vector an inference"
    return "vectors of many widths; send one width"


def _other_widths(name: str, column: Column, width: int) -> dict[str, str]:
    if column.values.dtype != object:
        return {}
    rows = [value for value in rows_of(column) if not is_absent(value)]
    other = sum(1 for row in map(vector, rows) if row is None or len(row) != width)
    if not other:
        return {}
    return {
        f"{name} ({other} of {len(rows)})": f"not of width {width}, as the others are; counted as missing"
    }
