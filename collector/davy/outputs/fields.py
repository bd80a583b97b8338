"""The outputs of one inference by name: nested ones grouped again, missing ones left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from davy.outputs.values import items, missing, names, number

CLASS_NAMES: Final = ("class_names", "classes", "names", "target_names", "id2label", "label_names")
"""Fields that may hold the names of all classes, in the order they are asked."""


class Fields(Mapping[str, Any]):
    """Outputs by name.

    Nested mappings travel flat, under dotted names: ``scores.cat`` and ``scores.dog`` are one field ``scores`` again
    here, with two entries. What is missing (None, NaN) is not there; `absent` names it.
    """

    __slots__ = ("_found", "absent", "flat")

    def __init__(self, outputs: Mapping[Any, Any]) -> None:
        self.flat = {str(name): value for name, value in outputs.items() if not missing(value)}
        grouped = _grouped({str(name): value for name, value in outputs.items()})
        self._found = {name: value for name, value in grouped.items() if not missing(value)}
        self.absent = frozenset(grouped.keys() - self._found.keys())

    def __getitem__(self, name: str) -> Any:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def first(self, wanted: Iterable[str]) -> Any:
        """Return the first of these fields that is there; None without."""
        return next((self._found[name] for name in wanted if name in self._found), None)

    def class_names(self, wanted: Iterable[str] = CLASS_NAMES) -> tuple[str, ...]:
        """Return the class names the outputs carry; empty without."""
        return next((found for name in wanted if (found := names(self._found.get(name)))), ())

    def nested(self) -> Iterator[Fields]:
        """Return every field that is a mapping, or a list of one mapping, as outputs of its own."""
        for value in self._found.values():
            if isinstance(value, (list, tuple)) and len(value) == 1:
                value = value[0]
            if isinstance(value, Mapping):
                yield Fields(value)

    def numbers(self) -> dict[str, float]:
        """Return every field that is a single number."""
        return {name: found for name, value in self.flat.items() if (found := number(value)) is not None}


def rows_of(value: Any) -> list[Fields] | None:
    """Return a list of records as outputs, one each; None when it is no such list, or empty."""
    if isinstance(value, (list, tuple)) and value and all(isinstance(row, Mapping) for row in value):
        return [Fields(row) for row in value]
    if isinstance(value, (list, tuple)) and len(value) == 1:
        return rows_of(value[0])
    return None


def is_text_list(value: Any) -> bool:
    """Return whether a value is a list of texts."""
    found = items(value)
    return bool(found) and all(isinstance(one, str) for one in found or ())


def _grouped(flat: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in flat.items():
        head, dot, rest = name.partition(".")
        if not (dot and head and rest):
            found[name] = value
        elif isinstance(found.setdefault(head, {}), dict):
            found[head] = {**found[head], rest: value}
        else:
            found[name] = value
    return found
