"""What of an app's objects travels: fields with dotted names and plain values; what cannot travel is counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, TypeAlias

import numpy as np

from davy.event import Array, Path
from davy.fields import Flattener, Unfit, column, is_missing, plain, settled
from davy.fields.arrays import is_masked
from davy.fields.distributions import Distributions
from davy.fields.flattening import Varying
from davy.fields.listed import Lists
from davy.fields.losses import loss
from davy.fields.plain import is_named, is_plain, key_text
from davy.fields.records import FIELDS
from davy.fields.secrets import is_number, without_secrets

CLASS_NAMES: Final = "class_names"
_NATIVE: Final = (list, tuple, np.generic, np.ndarray, int)
_CONTAINERS: Final = (list, dict)
Asks: TypeAlias = Callable[[Path], bool]
"""Told the path of a field."""
_ANSWERS: Final = ("outputs", "alternatives.")
_LISTS: Final = 16
"""So many different lists of class names may follow one another before names travel with each inference."""
_SECRET: Final = object()
_FIELDS: Final = 64
"""The most fields of a model whose losses are counted by name."""


def is_native(value: Any) -> bool:
    """Whether the codec keeps a value of this type without looking at it first."""
    if is_plain(value):
        return True
    kind = type(value)  # not `isinstance`: a proxy may refuse to tell its `__class__`
    return (
        issubclass(kind, _NATIVE)
        and not issubclass(kind, np.void)
        and not is_named(value)
        and not is_masked(value)
    )


def same_names(values: Any, count: int) -> list[str] | None:
    """Return the class names of a batch when all its rows have the same: names, or a list of them a row."""
    rows = list(values)
    if len(rows) != count or not count or not isinstance(rows[0], (list, tuple, np.ndarray)):
        return None
    first = rows[0]
    if any(row is not first and list(row) != list(first) for row in rows):
        return None
    return _names(first)


class Settler:
    """Settles the inferences of one model.

    Attributes
    ----------
    rough
        Whether they want settling: most models send plain numbers, and nothing is done about those.
    shared
        What all of them share, by the path of the field.
    renewed
        The class names that the last one brought, when they were new.
    """

    __slots__ = (
        "_denied",
        "_distributions",
        "_flatteners",
        "_lists",
        "_lost",
        "_opened",
        "_ruled",
        "_said",
        "renewed",
        "rough",
        "shared",
    )

    def __init__(self, ruled: Asks = lambda _: False, denied: Asks = lambda _: False) -> None:
        self._ruled = ruled
        self._denied = denied
        self.rough = False
        self.shared: dict[Path, Any] = {}
        self.renewed: Mapping[str, Any] = {}
        self._flatteners: dict[str, Flattener] = {}
        self._said: tuple[str, ...] | None = None
        self._lists = 0
        self._lost: set[str] = set()
        self._opened: dict[str, Lists] = {}
        self._distributions: dict[str, Distributions] = {}

    def describe(self, outputs: Mapping[str, Any]) -> bool:
        """Take what all outputs share from now on; false when that was so before."""
        names = _names(outputs.get(CLASS_NAMES))
        self._said = None if names is None else tuple(names)
        found: dict[Path, Any] = {} if names is None else {("outputs", CLASS_NAMES): names}
        before, self.shared, self.renewed = self.shared, found, {}
        return before != self.shared

    def flatten(self, section: str, fields: Mapping[Any, Any]) -> dict[str, Any]:
        """Return fields with dotted names instead of mappings and records; of answers, lists of records as columns."""
        if section.startswith(_ANSWERS):
            fields = self._lists_of(section).open(fields)
        found = self._flattener_of(section).flatten(fields)
        if not section.startswith(_ANSWERS):
            return found
        if any("." in name for name in found):  # in a mapping lists of records are columns as well
            found = dict(self._lists_of(section).open(found))
        return self._joined(section, found)

    def varies(self, **sections: Mapping[str, Any]) -> bool:
        """Whether the names of the fields of a section vary, so that they must not be fields; told of new names."""
        seen = [self._flattener_of(name).varying.see(fields) for name, fields in sections.items()]
        return any(seen)

    def _flattener_of(self, section: str) -> Flattener:
        found = self._flatteners.get(section)
        if found is None:
            found = self._flatteners[section] = Flattener()
        return found

    def _joined(self, section: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Return answers with probabilities by name as ``probs``; the names are the class names if there are none."""
        joins = self._distributions.get(section)
        if joins is None:
            joins = self._distributions[section] = Distributions()
        found = joins.join(fields, self._said)
        if found is not fields and section == "outputs" and self._said is None and CLASS_NAMES not in found:
            self.renewed = {CLASS_NAMES: list(joins.names)}
        return found

    def settle(
        self,
        inputs: Mapping[Any, Any],
        outputs: Mapping[Any, Any],
        embedding: Any,
        tags: Mapping[Any, Any],
        alternatives: Mapping[Any, Mapping[Any, Any]],
    ) -> tuple[Any, ...]:
        """Return these parts as they travel, and how many values are left out, by what the client report calls it."""
        lost: dict[str, int] = {}
        given = self._without_names(self.flatten("outputs", outputs))
        return (
            self._values("inputs", self.flatten("inputs", inputs), lost),
            self._values("outputs", given, lost),
            self._value("embedding", "", embedding, lost),
            self._values("tags", {key_text(name): value for name, value in tags.items()}, lost),
            {
                key_text(model): self._values(
                    f"alternatives.{model}", self.flatten(f"alternatives.{model}", found), lost
                )
                for model, found in alternatives.items()
            },
            lost,
        )

    def columns(
        self,
        section: str,
        fields: Mapping[Any, Any],
        count: int,
        lost: dict[str, int],
        keep: Callable[[Any], bool] = lambda _: False,
    ) -> dict[str, Array]:
        """Return the columns of a batch as they travel; one of another length is left out."""
        reasons: dict[tuple[str, str], int] = {}
        if section.startswith(_ANSWERS):
            fields = self._lists_of(section).open_rows(fields)
        named: dict[str, Any] = {key_text(name): values for name, values in fields.items()}
        varying, gathered = self._flattener_of(section).varying, dict[str, Array]()
        if section and varying.see_columns(named):
            named, gathered = _gathered(varying, named, count)
        if len(named) > FIELDS or not all(map(str.isascii, named)):
            named = self._named(section, named, lost)
        found = {**gathered, **settled(named, reasons, keep=keep)}
        reasons |= {(name, "length"): count for name, values in found.items() if len(values) != count}
        for (name, reason), number in reasons.items():
            lost[self.loss(f"{section}.{name}" if section else name, reason)] = number
        found = {
            name: values
            for name, values in found.items()
            if len(values) == count and self._may_travel(section, name, values, lost)
        }
        if section.startswith(_ANSWERS) and any("." in name for name in found):
            found = settled(self._lists_of(section).open_rows(found), reasons, keep=keep)
        return self._joined(section, found) if section.startswith(_ANSWERS) else found

    def _lists_of(self, section: str) -> Lists:
        found = self._opened.get(section)
        if found is None:
            parts = tuple(section.split(".", 1))
            found = self._opened[section] = Lists(lambda name: self._ruled((*parts, name)))
        return found

    def first(self, section: str, fields: Mapping[Any, Any], lost: dict[str, int]) -> Mapping[Any, Any]:
        """Return as many fields as a section may have, and count the others."""
        if len(fields) <= FIELDS:
            return fields
        self._lose(section, "count", len(fields) - FIELDS, lost)
        return dict(islice(fields.items(), FIELDS))

    def loss(self, name: str, reason: str) -> str:
        """Return what the client report calls a value left out; fields beyond the bound have one name."""
        if name not in self._lost:
            if len(self._lost) >= _FIELDS:
                name = "*"
            else:
                self._lost.add(name)
        return loss(name, reason)

    def _without_names(self, outputs: dict[str, Any]) -> dict[str, Any]:
        names = _names(outputs.get(CLASS_NAMES))
        if names is None or self._lists >= _LISTS:
            return outputs
        if tuple(names) != self._said:
            self._lists += 1
            self.renewed = {CLASS_NAMES: names}
        return {name: value for name, value in outputs.items() if name != CLASS_NAMES}

    def _values(self, section: str, fields: Mapping[str, Any], lost: dict[str, int]) -> dict[str, Any]:
        kept = (
            fields
            if len(fields) <= FIELDS and all(map(str.isascii, fields))
            else self._named(section, fields, lost)
        )
        found = {name: self._value(section, name, value, lost) for name, value in kept.items()}
        return {name: value for name, value in found.items() if value is not _SECRET}

    def _named(self, section: str, fields: Mapping[str, Any], lost: dict[str, int]) -> dict[str, Any]:
        """Return the fields whose names travel, and of very many the first."""
        kept: dict[str, Any] = {}
        for place, (name, value) in enumerate(fields.items()):
            if len(kept) >= FIELDS:
                self._lose(section, "count", len(fields) - place, lost)
                break
            if _travels(name):
                kept[name] = value
            else:
                self._lose(section, "name", 1, lost)
        return kept

    def _lose(self, section: str, reason: str, count: int, lost: dict[str, int]) -> None:
        key = self.loss(f"{section}.*", reason)
        lost[key] = lost.get(key, 0) + count

    def _value(self, section: str, name: str, value: Any, lost: dict[str, int]) -> Any:
        try:
            found = plain(value)
        except Exception as error:  # noqa: BLE001 - whatever the value's own methods raise costs this field only
            reason = error.reason if isinstance(error, Unfit) else "unreadable"
            self._count(section, name, reason, lost)
            return None
        return self._openly(section, name, found, lost)

    def _openly(self, section: str, name: str, value: Any, lost: dict[str, int]) -> Any:
        """Return what is no secret of a plain value, by its name and those in it; `_SECRET` where nothing is."""
        path = (*section.split(".", 1), name)
        if self._denied(path) and not is_number(value):
            self._count(section, name, "secret", lost)
            return _SECRET
        if type(value) not in _CONTAINERS:
            return value
        found: list[str] = []
        value = without_secrets(value, lambda key: self._denied((*path[:-1], f"{name}.{key}")), found)
        for key in found:
            self._count(section, f"{name}.{key}", "secret", lost)
        return value

    def _may_travel(self, section: str, name: str, values: Array, lost: dict[str, int]) -> bool:
        """Whether a column is no secret; secrets within its values are taken out, and counted."""
        if values.dtype.kind in "buif":
            return True
        if self._denied((*section.split(".", 1), name)):
            self._count(section, name, "secret", lost, len(values))
            return False
        if values.dtype == object:
            for row, value in enumerate(values):
                if type(value) in _CONTAINERS:
                    values[row] = self._openly(section, name, value, lost)
        return True

    def _count(self, section: str, name: str, reason: str, lost: dict[str, int], count: int = 1) -> None:
        key = self.loss(f"{section}.{name}" if section and name else section or name, reason)
        lost[key] = lost.get(key, 0) + count


def _gathered(
    varying: Varying, columns: dict[str, Any], count: int
) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the columns that stay, and one of mappings: what each row has of the others."""
    kept, others = varying.parted(columns)
    if not others:
        return kept, {}
    rows: list[Any] = [{} for _ in range(count)]
    if others.keys() == {varying.name}:  # it was gathered before
        rows = list(others[varying.name])
    else:
        for key, values in others.items():
            for row, value in zip(rows, values, strict=False):
                if not is_missing(value):
                    row[key] = value
    return kept, {varying.name: column(rows, {})}


def _names(found: Any) -> list[str] | None:
    if isinstance(found, np.ndarray):
        found = found.tolist()
    if not isinstance(found, Sequence) or isinstance(found, (str, bytes)) or not found:
        return None
    return [key_text(plain(name)) for name in found] if all(_is_name(name) for name in found) else None


def _travels(name: str) -> bool:
    """Whether a name is Unicode: one with a lone surrogate is not, and the whole envelope would fail on it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_name(value: Any) -> bool:
    return isinstance(value, (str, int, np.integer, np.str_))
