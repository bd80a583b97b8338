"""Which name the bare answers of a model have: decided once, so that a stream of values has one name and keeps it."""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from enum import Enum
from typing import Any, Final
from uuid import UUID

import numpy as np

from davy.event import Array
from davy.fields.arrays import numeric
from davy.sdk.calls.tensors import as_array, is_array, shape_of

_MODELS: Final = 4_096
_FEWEST: Final = 3
"""Two whole numbers are anything; so many of which one is 1 are a choice."""
_SLACK: Final = 0.01
"""How far the sum of probabilities may be from one: what 16 bits and a softmax in half precision leave."""
_NEAR: Final = 0.05
"""How far the sum of an answer may be from one that is not looked at closely."""
_FEW: Final = 64
_ROUNDINGS: Final = 4
"""How many steps of 16 bits a sum of probabilities may be off: a softmax in bfloat16 adds up in bfloat16."""
_LOWER: Final = 0 if sys.byteorder == "little" else 1
_NO_NAME: Final = re.compile(r"output_\d+")
"""What the parts of a tuple are called."""
_NAMES: Final = (str, bytes, Enum, date, UUID)
"""What stands for a class where it is an answer."""
_GRAINS: Final = (0.1, 0.01, 0.001, 1 / 255, 1 / 256, 1 / 127, 1 / 128)
"""Steps that answers are rounded or quantised to."""


class Naming:
    """Decides the name of each bare output by its first answer, and changes its mind at most once.

    What looks like probabilities is ``probs`` until an answer cannot be probabilities; then it is ``value`` for
    good. Whole numbers of which one is 1 and the others 0 are the ``label``, its place, until an answer has none or
    several. Each answer is looked at. Two threads that decide at once decide the same, or the later one holds.

    Examples
    --------
    >>> naming = Naming()
    >>> naming.of("m:1", "", np.array([0.33, 0.33, 0.33])), naming.of("m:1", "", np.array([0.4, 0.3, 0.3]))
    ('probs', 'probs')
    """

    def __init__(self) -> None:
        self.changes = 0
        """How many times it changed its mind, of any model."""
        self._decided: dict[tuple[str, str], _Decision] = {}

    def of(self, model: str, output: str, answer: Any, *, rows: bool = False) -> str:
        """Return the name for an output that `model` itself calls `output`, empty when it has no name.

        With `rows` the first axis of the answer is the inferences.
        """
        found = self._decided.get((model, output))
        if found is None:
            if _holds_nothing(answer):
                return judged(answer, rows=rows)  # which decides nothing
            if len(self._decided) >= _MODELS:
                self._decided = {}
            found = self._decided[model, output] = _Decision(judged(answer, rows=rows))
            found.chosen = found.name == "label" and chosen(answer, rows=rows) is not None
        elif found.chosen:
            if not _holds_nothing(answer) and chosen(answer, rows=rows) is None:
                found.name, found.chosen = "value", False
                self.changes += 1
        elif found.name == "probs" and not _may_be_probabilities(answer, rows=rows):
            found.name = "value"
            self.changes += 1
        return found.name


class _Decision:
    __slots__ = ("chosen", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.chosen = False


def judged(answer: Any, *, rows: bool = False) -> str:
    """Return the name that the values of one answer, or with `rows` of a batch of them, tell."""
    array = as_numbers(answer)
    if array is None:
        return "value"
    if array.ndim == 1 + rows and probabilities(array):
        return "probs"
    if chosen(array, rows=rows) is not None:
        return "label"
    return "label" if rows and array.ndim == 1 and _are_names(array) else "value"


def chosen(answer: Any, *, rows: bool = False) -> Any:
    """Return the place of the only 1 among zeros, or with `rows` of each in a batch of them; None for other answers.

    Examples
    --------
    >>> chosen([0, 0, 1, 0]), chosen(np.eye(3, dtype=int), rows=True), chosen([0, 1, 1]), chosen([0.0, 1.0])
    (2, array([0, 1, 2]), None, None)
    """
    array = as_numbers(answer)
    if array is None or array.dtype.kind not in "iu" or array.ndim != 1 + rows or not array.size:
        return None
    if array.shape[-1] < _FEWEST or array.min() < 0 or not (array.sum(axis=-1) == 1).all():
        return None
    return array.argmax(axis=-1) if rows else int(array.argmax())


def named(name: str, answer: Any, *, rows: bool = False) -> Any:
    """Return an answer as the field of this name holds it: where it is the label, of whole numbers the chosen place."""
    found = chosen(answer, rows=rows) if name == "label" else None
    return answer if found is None else found


def _are_names(array: Array) -> bool:
    """Whether values are text, or what stands for one: a member of an enumeration, a day."""
    if array.dtype != object:
        return array.dtype.kind == "U"
    first = next((each for each in array if each is not None), None)
    return issubclass(type(first), _NAMES)


def canonical(
    fields: Mapping[str, Array],
    name: str | None,
    judge: Callable[[str, Array], str] = lambda _, array: judged(array, rows=True),
) -> dict[str, Array]:
    """Name outputs as Davy understands them: a lone one by `name` or its values, the only probabilities ``probs``.

    Parameters
    ----------
    fields
        Outputs of a batch as the model names them.
    name
        What the app calls its output, for a model with one.
    judge
        Names an output, by the model's name for it, as its values tell.
    """
    if len(fields) == 1:
        ((given, array),) = fields.items()
        if name or _known(given):
            return {name or _alone(given, array, judge): array}
        judged = _alone(given, array, judge)
        return {judged: named(judged, array, rows=True)}
    found = {given: _known(given) or given or "value" for given in fields}
    likely = [given for given, array in fields.items() if judge(given, array) == "probs"]
    if len(likely) == 1 and "probs" not in found.values():
        found[likely[0]] = "probs"
    labels = [given for given, array in fields.items() if _is_label(given, array) and _is_one_each(array)]
    if len(labels) == 1 and "label" not in found.values():
        found[labels[0]] = "label"
    return {found[given]: array for given, array in fields.items()}


def is_place(name: Any) -> bool:
    """Whether a name is that of a member of a tuple: its place.

    Examples
    --------
    >>> is_place("output_0"), is_place("output"), is_place(0)
    (True, False, False)
    """
    return type(name) is str and _NO_NAME.fullmatch(name) is not None


class TupleNames:
    """Names the members of the tuples that one model answers where they tell what they are.

    The only distribution among them is ``probs``, the only text ``label``: whichever was first stays it, so that an
    answer whose members are missing now and then is called as the others are.

    Examples
    --------
    >>> places = TupleNames(lambda _, array: judged(array, rows=True))
    >>> places.named({"output_0": np.array(["cat"]), "output_1": np.array([0.9])}).keys()
    dict_keys(['label', 'output_1'])
    """

    __slots__ = ("_judge", "_label")

    def __init__(self, judge: Callable[[str, Array], str]) -> None:
        self._judge = judge
        self._label: str | None = None

    def named(self, fields: Mapping[str, Array]) -> dict[str, Array]:
        """Return fields of inferences with the names that the members have."""
        places = [name for name in fields if is_place(name)]
        found: dict[str, str] = {}
        likely = [name for name in places if self._judge(name, fields[name]) == "probs"]
        if len(likely) == 1 and "probs" not in fields:
            found[likely[0]] = "probs"
        if self._label is None:
            texts = [name for name in places if _is_label(name, fields[name]) and _is_one_each(fields[name])]
            if texts:
                self._label = texts[0] if len(texts) == 1 else ""
        if self._label in places and "label" not in fields:
            found[self._label] = "label"
        return {found.get(name, name): values for name, values in fields.items()}


def _is_label(given: str, array: Array) -> bool:
    """Whether an output is called a label, or has no name and is text."""
    return "label" in given.lower() or (bool(_NO_NAME.fullmatch(given)) and array.dtype.kind in "UO")


def _is_one_each(array: Array) -> bool:
    """Whether an output is one value an inference, and not a list of them, as the labels of boxes are."""
    return array.ndim == 1 and (array.dtype != object or _are_names(array))


def _alone(given: str, array: Array, judge: Callable[[str, Array], str]) -> str:
    """Return the name of the only output: scores that are a distribution over classes are probabilities."""
    known = _known(given)
    if known is not None and known != "scores":
        return known
    if array.ndim == 1 and array.dtype.kind in "iu":
        return known or "label"
    judged = judge(given, array)
    return judged if known is None or judged == "probs" else known


def _known(name: str) -> str | None:
    return name if name in {"probs", "logits", "label", "value", "boxes", "scores", "classes"} else None


def probabilities(array: Array) -> bool:
    """Return whether the last axis holds numbers from 0 to 1 that sum to one, but for rounding."""
    return _sums_to_one(array, 1.0)


def surely_probabilities(values: Array) -> bool:
    """Return whether an answer may go on as probabilities without a closer look: its numbers are in bounds, all in all.

    Examples
    --------
    >>> surely_probabilities(np.array([0.2, 0.8])), surely_probabilities(np.array([-1.0, 2.0]))
    (True, False)
    """
    if values.size <= _FEW:  # Python is faster than NumPy with few
        return _surely(values.ravel().tolist())
    return bool(abs(values.sum(dtype=np.float64) - 1.0) < _NEAR) and bool(values.min() >= -_SLACK)


def surely_probabilities_in(dtype: np.dtype[Any], size: int) -> Callable[[bytes], bool]:
    """Return what does as `surely_probabilities` with the bytes of an array of so many numbers.

    Examples
    --------
    >>> surely_probabilities_in(np.dtype("f8"), 2)(np.array([0.2, 0.8]).tobytes())
    True
    """
    if size > _FEW or dtype.char not in "efd":
        return lambda data: surely_probabilities(np.frombuffer(data, dtype))
    unpack = struct.Struct(f"{dtype.str[0]}{size}{dtype.char}").unpack
    return lambda data: _surely(unpack(data))


def _surely(numbers: Sequence[float]) -> bool:
    return min(numbers, default=0.0) >= -_SLACK and abs(sum(numbers) - 1.0) < _NEAR


def as_numbers(value: Any) -> Array | None:
    """Return an array or tensor of any library, a list, or what knows how to become an array, as one; else None."""
    known = is_array(value)
    if not known and not isinstance(value, (list, tuple)) and not hasattr(value, "__array__"):
        return None
    try:
        found = as_array(value) if known else np.asarray(value)
    except (ValueError, TypeError, RuntimeError):  # rows of different lengths, or tensors in lists
        return None
    plain = numeric(found)
    return found if plain is None else plain


def _holds_nothing(answer: Any) -> bool:
    if is_array(answer):
        return 0 in shape_of(answer)
    return type(answer) is list and not answer


def _may_be_probabilities(answer: Any, *, rows: bool) -> bool:
    if _holds_nothing(answer):
        return True
    array = as_numbers(answer)
    return array is not None and array.ndim == 1 + rows and _sums_to_one(array, 2.0)


def _sums_to_one(array: Array, lenience: float) -> bool:
    if array.dtype.kind != "f" or array.ndim == 0 or array.shape[-1] < 2 or not array.size:
        return False
    step = _precision(array)
    if not ((array >= -lenience * _SLACK / 10).all() and (array <= 1 + lenience * _SLACK + step).all()):
        return False
    off = abs(array.sum(axis=-1, dtype=np.float64) - 1.0)
    slack = lenience * _SLACK + _ROUNDINGS * step
    if (off < slack).all():
        return True
    return bool((off < slack + array.shape[-1] * _grain(array)).all())


def _precision(array: Array) -> float:
    """Return the step between 1 and the next number of 16 bits, if such numbers are all there is; else 0.

    What came from bfloat16 is single precision whose lower half is empty.
    """
    if array.dtype.itemsize == 2:
        return float(np.finfo(array.dtype).eps)
    if array.dtype != np.float32 or np.ascontiguousarray(array).view(np.uint16)[..., _LOWER::2].any():
        return 0.0
    return 2.0**-7


def _grain(array: Array) -> float:
    """Return the coarsest step all values are multiples of; 0 when they are of none."""
    values = array.astype(np.float64)
    near = 0.06 if array.dtype.itemsize == 2 else 1e-3
    for grain in _GRAINS:
        steps = values / grain
        if (abs(steps - np.round(steps)) < near).all():
            return grain
    return 0.0
