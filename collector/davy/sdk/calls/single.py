"""Calls of functions that work on one request: a leading axis of one is no axis, and a batch is told from a request.

A function that nobody said works on batches makes one inference a call. Where it answers ``(1, C)``, as predictors by
hand do, that is a row, and so are arguments of ``(1, d)``. A list of one picture, text or record beside a list of one
answer is a batch of one. Where its answer shares a longer first axis with an argument, it looks like a batch; it is one
inference all the same, and counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from davy.fields.plain import VALUES
from davy.sdk.calls.batches import batch_size, without_labels
from davy.sdk.calls.opening import is_list, open_answer, open_arguments
from davy.sdk.calls.tensors import is_array, shape_of
from davy.sdk.fields import Holders, input_fields
from davy.sdk.naming import judged

_ENTRIES: Final = frozenset({"boxes", "masks", "keypoints", "polygons"})
"""Answers with these have as many rows as they found things."""
_NUMBERS: Final = frozenset({bool, int, float})
_PLAIN: Final = _NUMBERS | {str, bytes, type(None)}
_TABLES: Final = frozenset({"pandas", "polars", "pyarrow"})
_KNOWN: Final = (type(None), np.generic, Mapping, list, tuple, *VALUES)
_ROLE: Final = "role"
"""What every message of a chat has: a list of one is a chat, and no batch of one."""


class Single:
    """Takes the leading axis of one from the calls of one function.

    Without an argument that has such an axis too, an answer loses it until one comes whose first axis is longer: then
    it is no axis of requests, and answers stay as they are: `longer` says so. Lists of one beside one another lose it
    until a list is answered with one of another length: `apart` says so.

    Parameters
    ----------
    lists
        Whether lists of one may be a batch of one; not where the app has said that a call is one inference.
    """

    __slots__ = ("apart", "longer")

    def __init__(self, *, lists: bool = True) -> None:
        self.longer = False
        self.apart = not lists

    def answer(self, arguments: Mapping[str, Any], result: Any) -> tuple[Any, bool]:
        """Return the answer without its leading axis, and whether it had one."""
        if type(result) in _PLAIN:
            return result, False
        if issubclass(type(result), Mapping):
            return self._mapping(arguments, result)
        if type(result) is list and not self.apart and self._one_listed(arguments, result):
            return result[0], True
        axes = _axes(result)
        if axes[:1] != (1,):
            self.longer = self.longer or len(axes) > 1
            return result, False
        asked = _one_asked(arguments)
        if asked or (len(axes) > 1 and not self.longer):
            return result[0], True
        return result, False

    def _one_listed(self, arguments: Mapping[str, Any], result: list[Any]) -> bool:
        """Whether a list of one is answered with a list of one; one text beside it is what all of the call is about."""
        lengths = {len(value) for value in arguments.values() if _is_listed(value)}
        if not lengths or any(issubclass(type(value), str) for value in arguments.values()):
            return False
        self.apart = len(result) not in lengths
        return lengths == {1} and len(result) == 1

    def _mapping(self, arguments: Mapping[str, Any], result: Mapping[str, Any]) -> tuple[Any, bool]:
        axes = [found for value in result.values() if (found := _axes(value))]
        if not axes or any(found[0] != 1 for found in axes):
            self.longer = self.longer or any(len(found) > 1 for found in axes)
            return result, False
        if not any(len(found) > 1 for found in axes) or not _ENTRIES.isdisjoint(result):
            return result, False
        if not _one_asked(arguments) and (self.longer or any(len(found) < 2 for found in axes)):
            return result, False
        return {name: value[0] if _axes(value) else value for name, value in result.items()}, True


def inputs_of_one(inputs: Mapping[str, Any], holders: Holders) -> dict[str, Any]:
    """Return the inputs of a batch of one without its axis: of lists, the only item, the items of a record by names.

    A list of one number stays: it may be a row of one number.
    """
    rows = {name: value[0] if _is_row(value) else value for name, value in inputs.items()}
    listed = {name: value[0] for name, value in rows.items() if _is_listed(value) and len(value) == 1}
    opened = input_fields(listed, holders)
    if opened.keys() == listed.keys():
        return rows | listed
    return {name: value for name, value in rows.items() if name not in listed} | opened


def size_shown(arguments: Mapping[str, Any], result: Any) -> int | None:
    """Return how many inferences a call of a predictor shows; None where it shows one, without an axis of them.

    A table answered with a value or a vector a row is a batch, as scikit-learn's predictors take it. A vector of
    probabilities beside a picture is one answer, also where it has as many classes as the picture has lines; so is
    one that has the first two axes of its picture or sequence, and others.

    Examples
    --------
    >>> import numpy as np
    >>> size_shown({"X": np.ones((5, 2))}, np.ones((5, 2))), size_shown({"image": np.ones((10, 8))}, np.full(10, 0.1))
    (5, None)
    >>> size_shown({"x": np.ones(2)}, np.array([0.2, 0.8])), size_shown({"texts": ["a", "b"]}, ["x", "y"])
    (None, 2)
    """
    if type(result) in _PLAIN:
        return None
    given, answered = open_arguments(arguments), open_answer(result)
    rows = any(len(_axes(value)) > 1 for value in answered.values())
    size = batch_size(given, answered, vectors=rows)
    if size is None or _is_one_distribution(answered) or _is_made_of(given, answered, least=3):
        return None
    return size


def is_one(arguments: Mapping[str, Any], result: Any, *, of_classes: bool) -> bool:
    """Return whether a call of an estimator, which takes tables, was one sample all the same.

    An answer without an axis is one, a record too. So is one whose first axis no argument has, unless it is longer than
    one and an argument is of a kind that nobody knows here, as a team's own data set. Of an answer `of_classes` one
    distribution answers one vector, also where there are as many classes as numbers.

    Examples
    --------
    >>> is_one({"x": [1.0, 2.0]}, "good", of_classes=False), is_one({"x": [[1.0], [2.0]]}, ["a", "b"], of_classes=False)
    (True, False)
    >>> is_one({"x": [1.0, 2.0]}, [0.2, 0.8], of_classes=True), is_one({"horizon": 2}, [3.5, 4.0], of_classes=False)
    (True, True)
    """
    kind = type(result)
    if kind in _PLAIN or issubclass(kind, (str, bytes, np.generic)):
        return True
    length = _first_axis(result)
    if length is not None and any(_rows(value) == length for value in arguments.values()):
        return False  # as most calls are
    given, answered = open_arguments(without_labels(dict(arguments))), open_answer(without_labels(result))
    lengths = {_first_axis(value) for value in answered.values()} - {None}
    if not lengths:
        return True
    vectors = {axes[0] for value in given.values() if (axes := _axes(value))}
    if batch_size(given, answered) is not None or not vectors.isdisjoint(lengths):
        vector = of_classes and _is_one_distribution(answered)
        return vector and batch_size(open_arguments(arguments), answered, vectors=False) is None
    return lengths == {1} or all(map(_is_known, arguments.values()))


def is_for_each(made: Mapping[str, Any], result: Any) -> bool:
    """Whether something the app made of the arguments has a value for each of several answers.

    Examples
    --------
    >>> is_for_each({"place": [0, 1, 2], "season": "w"}, [3.5, 4.0, 4.5]), is_for_each({"n": 3}, [3.5, 4.0, 4.5])
    (True, False)
    """
    length = _first_axis(result)
    leaves = open_arguments(without_labels(dict(made))).values()
    return length is not None and any(_first_axis(value) == length for value in leaves)


def is_vector_of(value: Any, length: int) -> bool:
    """Whether an array or list is one sample of so many numbers."""
    if is_array(value):
        return shape_of(value) == (length,)
    return type(value) is list and len(value) == length and all(type(each) in _PLAIN for each in value)


def _first_axis(value: Any) -> int | None:
    """Return how long the first axis of an answer is; None where it has none."""
    if is_array(value):
        return next(iter(shape_of(value)), None)
    if is_list(value):
        return len(value) if type(value) in {list, tuple} else None
    return len(value) if _is_table(value) and hasattr(value, "__len__") else None


def _rows(value: Any) -> int | None:
    """Return how many rows a matrix or table has; None for anything else."""
    if is_array(value):
        shape = shape_of(value)
        return shape[0] if len(shape) > 1 else None
    return _length(value) if _is_table(value) else None


def _is_table(value: Any) -> bool:
    return str(type(value).__module__).partition(".")[0] in _TABLES


def _is_known(value: Any) -> bool:
    """Whether it is known of an argument whether it has an axis of inferences."""
    kind = type(value)
    return issubclass(kind, _KNOWN) or is_array(value) or _is_table(value)


def is_batch(arguments: Mapping[str, Any], result: Any) -> bool:
    """Whether a call looks like one of several inferences: its answer shares its first axis with an argument.

    One with the first two axes of an argument is a picture or sequence made of it; beside a text, as the query beside
    documents, a list is what one request is about.
    """
    if type(result) in _PLAIN or any(issubclass(type(value), str) for value in arguments.values()):
        return False
    given, answered = open_arguments(arguments), open_answer(result)
    size = batch_size(given, answered, vectors=False)
    if size is None or size < 2:
        return False
    return not (_is_one_distribution(answered) or _is_made_of(given, answered))


def _is_one_distribution(answered: Mapping[str, Any]) -> bool:
    """Whether the answer is one over classes, which may be as many as an argument happens to be long."""
    return len(answered) == 1 and all(
        len(_axes(each)) == 1 and judged(each) == "probs" for each in answered.values()
    )


def _is_made_of(given: Mapping[str, Any], answered: Mapping[str, Any], least: int = 2) -> bool:
    """Whether an answer of at least so many axes has the first two axes of an argument."""
    begins = {_axes(value)[:2] for value in given.values() if is_array(value)}
    found = [axes for value in answered.values() if len(axes := _axes(value)) >= least]
    return any(axes[:2] in begins for axes in found)


def _one_asked(arguments: Mapping[str, Any]) -> bool:
    """Whether an argument has a leading axis of one, or is a table of one row."""
    return any(
        _is_row(value) or (_is_table(value) and _length(value) == 1)
        for value in open_arguments(arguments).values()
    )


def _is_row(value: Any) -> bool:
    axes = _axes(value)
    return len(axes) > 1 and axes[0] == 1


def _is_listed(value: Any) -> bool:
    """Whether a value is a list of pictures, texts or records: of numbers it may be one row, of messages one chat."""
    if type(value) is not list or not value or type(value[0]) in _NUMBERS:
        return False
    return not (type(value[0]) is dict and _ROLE in value[0])


def _axes(value: Any) -> tuple[int, ...]:
    """Return the shape of an array, or of nested lists of numbers as far as the first of them tells."""
    if is_array(value):
        return shape_of(value)
    axes: tuple[int, ...] = ()
    while type(value) is list and value and len(axes) < 4:
        axes += (len(value),)
        value = value[0]
    return axes if type(value) in _NUMBERS or (is_array(value) and axes) else ()


def _length(table: Any) -> int:
    found = getattr(table, "num_rows", None)  # of pyarrow
    if found is None and getattr(table, "ndim", 2) == 2:
        found = len(table)
    return -1 if found is None else int(found)
