"""Objects with named parts: what they are called and what they hold, without running code of the app."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from itertools import islice
from typing import Any, Final

import numpy as np

from davy.event import BlobRef, Summary
from davy.fields.detections import detections
from davy.fields.messages import is_message, message_fields
from davy.fields.parameters import parameters
from davy.fields.plain import VALUES, known_name, named
from davy.fields.plumbing import is_plumbing, is_response

_NEVER: Final = frozenset(
    {
        bool,
        int,
        float,
        str,
        bytes,
        list,
        set,
        type(None),
        np.ndarray,
        np.float32,
        np.float64,
        BlobRef,
        Summary,
    }
)
FIELDS: Final = 4096
"""The most fields of a section of an inference; mappings beyond are not looked into."""
_NO_RECORDS: Final = frozenset(
    {"builtins", "PIL", "torch", "polars", "pyarrow", "jax", "jaxlib", "tensorflow"}
)
"""Libraries whose objects are values or tables, never records."""


def record(value: Any) -> dict[str, Any] | None:
    """Return the parts of an object by name; None for what has no named parts.

    A mapping, a dataclass, a named tuple, a model of pydantic, a class of attrs or a struct of msgspec, a message of
    protobuf, a row of pandas or of a structured array give their fields, a distribution of PyTorch its parameters. Of
    any other object the public attributes that it holds itself count; properties are never called. What belongs to the
    server, as a request or a response does, has none. A mapping of more than 4,096 items is one value: nobody looks
    into it here.

    Examples
    --------
    >>> record({"age": 4, 7: "x"}), record(3.5), record(np.array((1, 2.0), [("a", "i4"), ("b", "f8")])[()])["a"]
    ({'age': 4, '7': 'x'}, None, np.int32(1))
    """
    kind = type(value)
    if kind in _NEVER or is_plumbing(value) or is_response(value):
        return None
    if issubclass(kind, Mapping):
        return _items(value)
    if issubclass(kind, tuple):
        return dict(value._asdict()) if hasattr(value, "_asdict") else None
    if issubclass(kind, np.void):
        return {name: value[name] for name in value.dtype.names} if value.dtype.names else None
    if issubclass(kind, (type, np.generic, *VALUES)) or hasattr(kind, "toarray") or known_name(kind):
        return None
    if is_message(kind):
        return message_fields(value)
    if (known := parameters(value, kind)) is not None:
        return known
    if is_dataclass(value):
        return _attributes(value, (field.name for field in fields(value)))
    if str(kind.__module__).partition(".")[0] == "pandas":
        if kind.__name__ == "Interval":
            return {"left": value.left, "right": value.right}
        single = getattr(value, "ndim", 0) == 1 and hasattr(value, "to_dict")
        return named(zip(value.index, value.tolist(), strict=True)) if single and _is_row(value) else None
    return _declared(value, kind)


def _items(value: Mapping[Any, Any]) -> dict[str, Any] | None:
    """Return the items of a mapping; None when it is too long, whatever it says of its length."""
    if len(value) > FIELDS:
        return None
    found = named(islice(value.items(), FIELDS + 1))
    return found if len(found) <= FIELDS else None


def _declared(value: Any, kind: type) -> dict[str, Any] | None:
    for declaration in ("model_fields", "__pydantic_fields__", "__struct_fields__", "__fields__"):
        found = getattr(kind, declaration, None)
        if found is not None and isinstance(found, Iterable) and not isinstance(found, str):
            extra = getattr(value, "__pydantic_extra__", None)
            return _attributes(value, found) | (dict(extra) if isinstance(extra, dict) else {})
    attrs = getattr(kind, "__attrs_attrs__", None)
    if attrs is not None:
        return _attributes(value, (each.name for each in attrs))
    if (
        str(kind.__module__).partition(".")[0] in _NO_RECORDS
        or callable(value)
        or hasattr(value, "__array__")
    ):
        return None
    held = getattr(value, "__dict__", None)
    slots = [name for base in kind.__mro__ for name in _slots(base)]
    found = {} if held is None else dict(held)
    found |= {name: getattr(value, name) for name in slots if hasattr(value, name)}
    objects = detections(found)
    if objects is not None:
        return objects
    public = {name: item for name, item in found.items() if not name.startswith("_")}
    return public or None


def _slots(kind: type) -> tuple[str, ...]:
    found = kind.__dict__.get("__slots__", ())
    return (found,) if isinstance(found, str) else tuple(name for name in found if not name.startswith("_"))


def _attributes(value: Any, names: Iterable[str]) -> dict[str, Any]:
    return {str(name): getattr(value, name) for name in names if hasattr(value, name)}


def _is_row(series: Any) -> bool:
    """Whether a series of pandas is a row, whose labels are names, and not a column, whose labels count."""
    pandas = sys.modules["pandas"]
    return isinstance(series, pandas.Series) and bool(
        series.index.map(lambda label: isinstance(label, str)).all()
    )
