"""How the fields of one argument or answer are taken out of it again, once a call of its kind was read the long way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from davy.event import Array
from davy.sdk.calls.tensors import in_memory

Take: TypeAlias = Callable[[Any], "list[Any] | None"]
"""From another value of the same type to its fields; None when it is of another kind all the same."""
Copy: TypeAlias = Callable[[Any], bytes]
"""From another array or tensor of the same dtype and shape to its bytes."""

_PLAIN: Final = frozenset(
    {bool, int, float, str, bytes, list, np.ndarray, np.float32, np.float64, np.int64, np.bool_}
)
"""Types whose values are one field each."""
_SHAPED: Final = frozenset({list, np.ndarray})
_LABELLED: Final = ["probs", "label"]
_LARGEST: Final = 2**63 - 1


class Taken(NamedTuple):
    """The fields of one value: their names and values, and how they are taken; None where it is the field itself.

    `copy` takes all there is of one that is an array; `labels` are those of its largest number by its place.
    """

    names: list[str]
    values: list[Any]
    take: Take | None = None
    copy: Copy | None = None
    labels: Sequence[int] = ()


def taken(
    value: Any,
    name: str,
    read: Mapping[str, Any],
    columns: Sequence[str] | None = None,
    classes: Any = None,
    *,
    ragged: bool = False,
) -> Taken | None:
    """Return how the fields `read` of a call are taken out of one of its values; None when that is not known.

    Parameters
    ----------
    value, name
        An argument and what it is called, or the answer and what it is called where it is one field.
    read
        The inputs or the outputs of the call.
    columns, classes
        The names of the columns of a matrix, and the labels of those of ``probs``.
    ragged
        Whether the layout takes arrays of any shape, so that it does not tell whether one has an axis of one.
    """
    if type(value) is dict and all(type(key) is str for key in value):
        parts = [_one(item, key, read, ragged) for key, item in value.items()]
        if any(part is None for part in parts):
            return None
        takes = [None if part is None else part.take for part in parts]
        values = [part.values[0] for part in parts if part is not None]
        return Taken([*value], values, _items([*value], takes))
    if columns is not None and name not in read and type(value) is np.ndarray:
        return _spread(value, read, columns)
    found = _one(value, name, read, ragged)
    if found is not None and [*read] == _LABELLED and name == "probs" and classes is not None:
        return _labelled(value, read, classes)
    return found


def same(one: Any, other: Any) -> bool:
    """Whether two values are one, or views of the same memory.

    Examples
    --------
    >>> x = np.ones((1, 3))
    >>> same(x[0], x[0]), same(x[0], x[0].copy()), same(np.float64(1.0), np.float64(1.0))
    (True, False, True)
    """
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if type(one) is np.ndarray:
        a, b = one.__array_interface__, other.__array_interface__
        return all(a[key] == b[key] for key in ("data", "shape", "strides", "typestr"))
    return isinstance(one, (np.generic, float)) and bool(one == other or (one != one and other != other))


def _one(value: Any, name: str, read: Mapping[str, Any], ragged: bool) -> Taken | None:
    """Return how a value that is one field is taken: as it is, or without a leading axis of one."""
    found = read.get(name, value)  # where it is not there, an argument that is no field
    if found is value:
        if type(value) not in _PLAIN:
            return None
        whole = _whole(value) if ragged and type(value) in _SHAPED else None
        return Taken([name], [value], whole, np.ndarray.tobytes if type(value) is np.ndarray else None)
    tensor = in_memory(value)
    if tensor is not None:
        return _of_tensor(tensor, name, found)
    if type(value) is np.ndarray and value.ndim and len(value) == 1 and same(value[0], found):
        copy = np.ndarray.tobytes if value.ndim > 1 else None
        return Taken([name], [value[0]], _row(value.shape), copy)
    if type(value) is list and len(value) == 1 and value[0] is found:
        return Taken([name], [found], lambda other: other[:] if len(other) == 1 else None)
    return None


def _of_tensor(array: Array, name: str, found: Any) -> Taken | None:
    """Return how a tensor of PyTorch in main memory is taken, where it lies."""
    if same(array, found):
        return Taken([name], [array], _tensor, _tensor_bytes)
    if array.ndim and len(array) == 1 and same(array[0], found):
        copy = _tensor_bytes if array.ndim > 1 else None
        return Taken([name], [array[0]], _tensor_row(array.shape), copy)
    return None


def _spread(value: Any, read: Mapping[str, Any], columns: Sequence[str]) -> Taken | None:
    """Return how the only row of a matrix with named columns is taken."""
    if value.shape != (1, len(columns)):
        return None
    names, shape = [str(column) for column in columns], value.shape
    if not all(name in read and same(read[name], value[0, i]) for i, name in enumerate(names)):
        return None
    found = [read[name] for name in names]  # equal to what is taken of others, and a number of NumPy's
    return Taken(names, found, lambda other: other[0].tolist() if other.shape == shape else None)


def _labelled(value: Any, read: Mapping[str, Any], classes: Any) -> Taken | None:
    """Return how probabilities are taken of which the likeliest class is the label."""
    labels, shape = list(np.asarray(classes)), getattr(value, "shape", ())
    if type(value) is not np.ndarray or shape != (1, len(labels)):
        return None
    if not same(labels[int(value[0].argmax())], read["label"]):
        return None

    def take(other: Any) -> list[Any] | None:
        if other.shape != shape:
            return None
        row = other[0]
        return [row, labels[row.argmax()]]

    if all(isinstance(label, np.integer) and label <= _LARGEST for label in labels):
        return Taken(_LABELLED, take(value) or [], take, np.ndarray.tobytes, [int(label) for label in labels])
    return Taken(_LABELLED, take(value) or [], take)


def _items(keys: list[str], takes: list[Take | None]) -> Take:
    if not any(takes):
        return lambda value: [*value.values()] if [*value] == keys else None

    def take(value: Any) -> list[Any] | None:
        if [*value] != keys:
            return None
        found: list[Any] = []
        for item, each in zip(value.values(), takes, strict=True):
            part = [item] if each is None else each(item)
            if part is None:
                return None
            found += part
        return found

    return take


def _whole(value: Any) -> Take:
    begins = _begins(value)
    return lambda other: [other] if type(other) in _SHAPED and _begins(other) == begins else None


def _begins(value: Any) -> tuple[bool, bool]:
    """Return whether an array or list has several axes, and whether the first of them is one long."""
    several = value.ndim > 1 if type(value) is np.ndarray else bool(value) and type(value[0]) is list
    size = len(value) if type(value) is list or value.ndim else 0
    return several, size == 1


def _row(shape: tuple[int, ...]) -> Take:
    return lambda value: [value[0]] if value.shape == shape else None


def _tensor(value: Any) -> list[Any]:
    return [value.detach().numpy()]


def _tensor_bytes(value: Any) -> bytes:
    array: Array = (value.detach() if value.requires_grad else value).numpy()
    return array.tobytes()


def _tensor_row(shape: tuple[int, ...]) -> Take:
    return lambda value: [value.detach().numpy()[0]] if value.shape == shape else None
