"""The short way of a watched call: once it is known how calls of one signature are read, nothing is named again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter, itemgetter
from operator import call as apply
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from davy.codec import Layout, Recipe
from davy.event import Path
from davy.fields.plumbing import is_plumbing
from davy.sdk.calls.rows import row_taken
from davy.sdk.calls.taking import Copy, Take, Taken, same, taken
from davy.sdk.fields import Fields
from davy.sdk.naming import surely_probabilities, surely_probabilities_in

Paths: TypeAlias = tuple[Path, ...]
LayoutOf: TypeAlias = Callable[[str, int, int, list[Any]], "Layout | None"]
RecipeOf: TypeAlias = Callable[[Layout, Sequence[int]], "Recipe | None"]
_SIGNATURES: Final = 4
_MISSES: Final = 16
_SCOPES: Final = 16
_KIND: Final = attrgetter("dtype", "shape")
_LONGEST: Final = 256
"""Calls on the short way between two on the long one, which looks again at what the answers are."""


class Shortcuts:
    """The short ways of one watched function: a few signatures, learnt from calls that went the long way.

    `known` are those learnt with the client `owner`.

    Two threads that learn at once only learn twice.
    """

    __slots__ = ("_missed", "known", "owner")

    def __init__(self) -> None:
        self.known: tuple[Shortcut, ...] = ()
        self._missed = 0
        self.owner: Any = None

    def forget(self, client: Any) -> None:
        """Begin anew with a client: layouts are the client's own."""
        self.known, self._missed, self.owner = (), 0, client

    def learn(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        result: Any,
        make: Callable[[], Shortcut | None],
    ) -> None:
        """Learn from a call that went the long way; seldom from what is always another signature."""
        same = [each for each in self.known if each.fits(args, kwargs, result) is not None]
        if not same:
            self._missed += 1
            if self._missed > _MISSES and self._missed % _MISSES:
                return
        found = make()
        kept = [each for each in self.known if each not in same]
        if found is not None and same:
            found.go_on(same[0])
        self.known = tuple(([] if found is None else [found]) + kept)[:_SIGNATURES]


class Shortcut:
    """Takes the values out of a call in the order of a layout.

    Parameters
    ----------
    layouts
        Gives the layout in force of these calls by the paths of what the scope around a call adds to its fields.
    types
        Of the arguments and the answer, and of what lies beside them.
    named
        The names of the arguments that are given by name.
    takes
        How the fields of each of these values are taken out of it; None for one that is a field itself.
    order
        Takes the values of the fields out of all values; None when they are in order.
    constants
        Values of arguments with defaults.
    beside
        Gives what belongs to the call and is neither argument nor answer; None when there is no such thing.

    Attributes
    ----------
    arrays
        Whether the fields of these calls are arrays of fixed kinds one behind the other: `copies` will do for them.
    probs
        The place of the field that is called ``probs`` for its values: a call whose answer has others takes the long
        way. -1 where there is none.
    ragged
        Whether arrays of other shapes fit as well.
    recipes
        What `recipe` gave.
    """

    __slots__ = (
        "_beside", "_constants", "_copies", "_kinds", "_known", "_layouts", "_left", "_named", "_order",
        "_recipe_of", "_surely", "_takes", "_turn", "_types", "arrays", "probs", "ragged", "recipes",
    )  # fmt: skip

    def __init__(
        self,
        layouts: Callable[[Paths], Layout | None],
        types: list[type],
        named: Sequence[str],
        takes: list[Take | None],
        order: Callable[[list[Any]], Sequence[Any]] | None,
        constants: list[Any],
        beside: Callable[[], Any] | None,
    ) -> None:
        self._layouts = layouts
        self._known: dict[Paths, Layout] = {}
        self._types = types
        self._named = list(named)
        self._takes = takes if any(takes) else None
        self._order = order
        self._constants = constants
        self._beside = beside
        self._copies: list[Copy] = []
        self._kinds: list[Any] = []
        self.recipes: dict[Paths, Recipe] = {}
        self.arrays = self.ragged = False
        self.probs = -1
        self._surely: Callable[[bytes], bool] | None = None
        self._turn = self._left = 1

    def layout(self, added: Paths = ()) -> Layout | None:
        """Return the layout for calls in a scope that adds these fields; None when there is none yet."""
        found = self._known.get(added)
        if found is None:
            found = self._layouts(added)
            if found is not None:
                if len(self._known) >= _SCOPES:
                    self._known = {}
                self._known[added] = found
        return found

    def look_at_probs(self, place: int, answer: Any) -> None:
        """Look at every answer, the field in this place, which is called ``probs`` for its values."""
        self.probs = place
        if type(answer) is np.ndarray:
            self._surely = surely_probabilities_in(answer.dtype, answer.size)

    def copy_only(
        self, recipe_of: Callable[[Layout], Recipe | None], given: list[Any], copies: list[Copy]
    ) -> None:
        """Serve with `copies` all there is of calls whose values have the dtypes and shapes of those `given`."""
        self._recipe_of, self._copies, self._kinds = recipe_of, copies, [*map(_KIND, given)]
        self.arrays = True

    def recipe(self, added: Paths = ()) -> Recipe | None:
        """Return how to encode what `copies` gave in a scope that adds these fields; None where it cannot be."""
        layout = self.layout(added)
        found = None if layout is None else self._recipe_of(layout)
        if found is not None:
            if len(self.recipes) >= _SCOPES:
                self.recipes = {}
            self.recipes[added] = found
        return found

    def copies(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> tuple[Any, ...] | None:
        """Return the bytes of all arrays of a call; None when it is another one, or it is time for the long way."""
        if kwargs or self._left <= 0:
            return None
        values = [*args, result]
        if self._beside is not None:
            values.append(self._beside())
        if [*map(type, values)] != self._types or [*map(_KIND, values)] != self._kinds:
            return None
        try:
            found = tuple(map(apply, self._copies, values))
        except (TypeError, ValueError, RuntimeError):  # a tensor elsewhere, or of another kind
            return None
        if self._surely is not None and not self._surely(found[self.probs]):
            return None
        self._left -= 1
        return found

    def fits(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> list[Any] | None:
        """Return what is taken of the values of a call; None when the call is another one."""
        if kwargs or self._named:
            if [*kwargs] != self._named:
                return None
            values = [*args, *kwargs.values(), result]
        else:
            values = [*args, result]
        if self._beside is not None:
            values.append(self._beside())
        if [*map(type, values)] != self._types:
            return None
        if self._takes is None:
            return values
        try:
            return self._taken(values, self._takes)
        except (TypeError, ValueError, RuntimeError):  # a tensor elsewhere, or of another kind
            return None

    def values(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Sequence[Any] | None:
        """Return the values of the fields; None when the call is another one, or it is time for the long way."""
        values = self.fits(args, kwargs, result)
        if values is None:
            return None
        self._left -= 1
        if self._left < 0:
            self._turn = self._left = min(_LONGEST, 2 * self._turn)
            return None
        if self._constants:
            values += self._constants
        found = values if self._order is None else self._order(values)
        return found if self.probs < 0 or self._may_go_on(found[self.probs]) else None

    @staticmethod
    def _may_go_on(answer: Any) -> bool:
        try:
            return surely_probabilities(answer if type(answer) is np.ndarray else np.asarray(answer))
        except (TypeError, ValueError):  # a list of texts, or of lists of several lengths
            return False

    def go_on(self, other: Shortcut) -> Shortcut:
        """Return this one, which takes the place of another, with its patience."""
        self._turn, self._left = other._turn, other._left
        return self

    @staticmethod
    def _taken(values: list[Any], takes: list[Take | None]) -> list[Any] | None:
        found: list[Any] = []
        for value, take in zip(values, takes, strict=True):
            if take is None:
                found.append(value)
            else:
                part = take(value)
                if part is None:
                    return None
                found += part
        return found


class Called(NamedTuple):
    """A call that was captured, and how it was read.

    Attributes
    ----------
    args, kwargs, result
        What the function was given and what it answered.
    names
        Of its positional arguments; empty for one that is no field.
    defaults
        Values of arguments that may be missing.
    read
        Its inputs, outputs and embedding.
    columns, classes
        The names of the columns of a matrix, and the labels of those of ``probs``.
    judged
        Whether the answer is called what its values tell.
    strict
        Whether an argument that is no field may say what the answer is: then there is no short way.
    beside
        See `Shortcut`.
    """

    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    result: Any
    names: Sequence[str]
    defaults: Mapping[str, Any]
    read: tuple[Fields, Fields, Any]
    columns: Sequence[str] | None = None
    classes: Any = None
    strict: bool = False
    judged: bool = False
    beside: Callable[[], Any] | None = None


def shortcut(
    call: Called, layout_of: LayoutOf, recipe_of: RecipeOf, model: str, added: Paths = ()
) -> Shortcut | None:
    """Return the short way for calls like this one; None when there is none.

    `layout_of` gives the layout in force of a model for so many inputs and outputs and their names, to which the scope
    around the call `added` some; `recipe_of` gives the recipe for snapshots of a layout and their labels.
    """
    inputs, outputs, embedding = call.read
    fields: list[Any] = [*inputs, *outputs] + ([] if embedding is None else [("embedding",)])

    def layouts(more: Paths) -> Layout | None:
        found = layout_of(model, len(inputs), len(outputs), [*fields, *more])
        return None if found is None or not _are_told(found, len(outputs)) else found

    given = [*call.args, *call.kwargs.values(), call.result]
    called = [*call.names, *call.kwargs, next(iter(outputs), "")]
    layout = layouts(added)
    if len(called) != len(given) or layout is None:
        return None
    ragged = bool(layout.objects) or any(kind.tensor and kind.shape is None for kind in layout.kinds)
    if call.beside is not None:
        given.append(call.beside())
        called.append("")
    sources: list[tuple[str, str]] = []
    values: list[Any] = []
    takes: list[Take | None] = []
    parts: list[Taken] = []
    last = len(call.args) + len(call.kwargs)
    for place, (name, value) in enumerate(zip(called, given, strict=True)):
        side, read = _side(place, last, call)
        if (place == 0 and not name and last) or (type(value) is not dict and is_plumbing(value)):
            found: Taken | None = Taken([""], [value])  # the object whose method it is, or a request
        else:
            classes = call.classes if place == last else None
            found = row_taken(value, read, ragged=ragged)
            if found is None:
                found = taken(value, name, read, call.columns, classes, ragged=ragged)
        if found is None:
            return None
        sources += [(side, key) for key in found.names]
        values += found.values
        takes.append(found.take)
        parts.append(found)
    missing = {name: value for name, value in call.defaults.items() if ("inputs", name) not in sources}
    sources += [("inputs", name) for name in missing]
    values += missing.values()
    places = _places(call, sources)
    read_values = [*inputs.values(), *outputs.values()] + ([] if embedding is None else [embedding])
    if places is None or not all(map(same, [values[place] for place in places], read_values)):
        return None  # a function of the app, or an integration, makes fields of its own
    order = None if places == list(range(len(sources))) else _picker(places)
    constants = [*missing.values()]
    short = Shortcut(layouts, [*map(type, given)], [*call.kwargs], takes, order, constants, call.beside)
    if call.judged and [*outputs][:1] == ["probs"]:
        short.look_at_probs(len(inputs), read_values[len(inputs)])
    short.ragged = ragged
    copies = [part.copy for part in parts if part.copy is not None]
    if order is None and not (constants or call.kwargs) and len(copies) == len(parts):
        labels = [label for part in parts for label in part.labels]
        if _kinds_fit(layout, values, len(labels)):
            short.copy_only(lambda layout: recipe_of(layout, labels), given, copies)
    return short


def _are_told(layout: Layout, outputs: int) -> bool:
    """Whether the kinds of a layout tell its values: lists of texts do among the inputs of what answers no lists."""
    answers = layout.kinds[layout.inputs : layout.inputs + outputs]
    return not layout.objects or (
        max(layout.objects) < layout.inputs and all(kind.scalar or kind.dtype == "TEXT" for kind in answers)
    )


def _kinds_fit(layout: Layout, values: list[Any], labels: int) -> bool:
    """Whether arrays have the very kinds of a layout: then their bytes are those of the envelope."""
    return all(
        kind.keeps(value) if kind.tensor else kind.dtype == "INT64" and labels
        for kind, value in zip(layout.kinds, values, strict=False)
    )


def _side(place: int, last: int, call: Called) -> tuple[str, Fields]:
    """Return the section of the fields of a value, and what was read there."""
    inputs, outputs, embedding = call.read
    if place < last:
        return "inputs", inputs
    if place > last:
        return "beside", {"": embedding}
    return "outputs", outputs if embedding is None else {**outputs, "embedding": embedding}


def _places(call: Called, sources: list[tuple[str, str]]) -> list[int] | None:
    """Return where each field that was read lies among the sources; None when one does not."""
    inputs, outputs, embedding = call.read
    wanted = [("inputs", name) for name in inputs] + [("outputs", name) for name in outputs]
    if embedding is not None:
        wanted.append(("beside", "") if call.beside is not None else ("outputs", "embedding"))
    if len(set(sources)) != len(sources) or not set(wanted) <= set(sources):
        return None
    if call.strict and any(side == "inputs" and name and name not in inputs for side, name in sources):
        return None
    return [sources.index(each) for each in wanted]


def _picker(places: list[int]) -> Callable[[list[Any]], Sequence[Any]]:
    if len(places) > 1:
        return itemgetter(*places)
    return lambda values: [values[place] for place in places]
