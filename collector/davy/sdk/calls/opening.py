"""Arguments and answers opened: what lies in mappings, records, lists and tuples gets a name with dots.

This happens in two steps, for a list may be one value an inference or several inputs of all of them. First everything
with names is opened; then, when the number of inferences is known, lists are (`davy.sdk.calls.batches`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import numpy as np

from davy.fields.flattening import DEPTH
from davy.fields.plain import key_text
from davy.sdk.calls.tensors import is_array
from davy.sdk.fields import Holders, by_place, record_fields

Leaves: TypeAlias = dict[str, Any]
MEMBERS: Final = 256
"""The most members that an argument or answer is opened into; what lies behind them is left out by name."""
_INSIDE: Final = ("hidden_states", "attentions", "past_key_values", "mems", "cache_params")
"""How answers of Hugging Face call what goes on inside a model, at the end of a name."""
_TEXT: Final = (str, bytes, bytearray)


def is_inside(name: str) -> bool:
    """Whether a member of an answer is what went on inside the model: every layer's states, not what it answers.

    Examples
    --------
    >>> is_inside("encoder_hidden_states"), is_inside("last_hidden_state")
    (True, False)
    """
    return name.endswith(_INSIDE)


def open_arguments(arguments: Mapping[str, Any], holders: Holders | None = None) -> Leaves:
    """Return the leaves of arguments: those of the only mapping or record among them keep their names.

    Of several, by what `holders` saw, the name of the argument stands before them, as it does where a name is another
    argument's.

    Examples
    --------
    >>> open_arguments({"batch": {"x": 1, "more": {"y": 2}}, "scale": 3})
    {'x': 1, 'more.y': 2, 'scale': 3}
    """
    parts = {name: found for name, value in arguments.items() if (found := _parts(value)) is not None}
    if not parts:
        return dict(arguments)
    several = (holders or Holders()).several(parts)
    leaves: Leaves = {}
    for name, value in arguments.items():
        inner = parts.get(name)
        if inner is None:
            leaves[name] = value
            continue
        for key, item in inner.items():
            taken = key in arguments and key not in parts
            _add(leaves, f"{name}.{key}" if several or taken else key, item, 1)
    opened: Leaves = {}
    for name, value in leaves.items():
        opened |= {name: value} if name in arguments else _as_columns(name, value)
    return opened


def _as_columns(name: str, value: Any) -> Leaves:
    """Return what lies in an argument, a structured array by its fields."""
    names = value.dtype.names if isinstance(value, np.ndarray) else None
    return {name: _as_column(value)} if not names else {f"{name}.{key}": value[key] for key in names}


def _as_column(value: Any) -> Any:
    """Return records in a list as a column: only what is an argument itself is a table, whose names stand alone."""
    if not issubclass(type(value), list) or not value or record_fields(value[0]) is None:
        return value
    found = np.empty(len(value), dtype=object)
    found[:] = value
    return found


def open_answer(result: Any) -> Leaves:
    """Return the leaves of an answer: a bare one has no name, those of a tuple are numbered but of its first mapping.

    Examples
    --------
    >>> open_answer({"risk": 1, "aux": {"deep": 2}}), open_answer((1, {"a": 2}, {"b": 3}))
    ({'risk': 1, 'aux.deep': 2}, {'output_0': 1, 'a': 2, 'output_2.b': 3})
    """
    if result is None:
        return {}
    if is_array(result):
        return {"": result}
    found = _parts(result)
    if found is None:
        if not issubclass(type(result), tuple):
            return {"": result}
        found = by_place(result)
    leaves: Leaves = {}
    for name, item in found.items():
        if is_inside(key_text(name)):
            leaves[key_text(name)] = INSIDE
        elif item is not None:
            _add(leaves, key_text(name), item, 1)
    return leaves


class _Inside:
    """Stands for what went on inside a model."""


INSIDE: Final = _Inside()


def _parts(value: Any) -> Mapping[str, Any] | None:
    """Return the parts of a mapping or record; None for arrays, lists, scalars and objects without any."""
    if is_array(value) or value is None or issubclass(type(value), (list, *_TEXT)):
        return None
    return record_fields(value)


def _add(leaves: Leaves, name: str, value: Any, depth: int) -> None:
    inner = _parts(value) if depth < DEPTH else None
    if inner is None or len(leaves) + len(inner) > MEMBERS:
        leaves[name] = value
        return
    for key, item in inner.items():
        _add(leaves, f"{name}.{key_text(key)}", item, depth + 1)


def members(name: str, items: list[Any] | tuple[Any, ...]) -> Leaves:
    """Return the items of a list by their places, those with names opened."""
    leaves: Leaves = {}
    for place, item in enumerate(items):
        if item is not None:
            _add(leaves, f"{name}.{place}" if name else f"output_{place}", item, 2)
    return leaves


def has_parts(result: Any) -> bool:
    """Whether an answer is a mapping, a tuple or a record."""
    return not is_array(result) and (issubclass(type(result), tuple) or record_fields(result) is not None)


def is_list(value: Any) -> bool:
    """Whether a value is a list or tuple, by its type: `isinstance` asks a proxy what it may refuse to tell.

    Packed sequences are a tuple for Python, and for us an array.
    """
    return issubclass(type(value), (list, tuple)) and not is_array(value)


def holds_arrays(items: list[Any] | tuple[Any, ...]) -> bool:
    """Whether an array lies in a list, or in a list or mapping of it."""
    for each in items[:MEMBERS]:
        if is_array(each):
            return True
        inner = each[:MEMBERS] if is_list(each) else [*each.values()][:MEMBERS] if type(each) is dict else ()
        if any(map(is_array, inner)):
            return True
    return False
