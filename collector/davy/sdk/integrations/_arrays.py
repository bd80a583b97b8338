"""What integrations of frameworks that work on arrays share: how a call is read, and names for scores."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from davy.event import Array
from davy.fields.losses import BATCH_AS_ROW
from davy.sdk.calls.batches import batch_size, is_batch_second, only_row, serves_nobody
from davy.sdk.calls.choosing import choose_leaves
from davy.sdk.calls.opening import Leaves, open_answer, open_arguments
from davy.sdk.calls.tensors import is_array, on_host, shape_of
from davy.sdk.fields import Columns, Fields, input_columns
from davy.sdk.home import HOME
from davy.sdk.naming import canonical
from davy.sdk.watching import NOBODY, Watch, one_or_many


class ArrayReading(NamedTuple):
    """What was read of a call: its leaves, and the number of inferences, None without a shared axis."""

    result: Any
    given: Leaves
    answered: Leaves
    rows: int | None


class ArrayWatch(Watch):
    """Reads calls whose first axis is the inferences where arguments and answers share it."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._under_way = threading.local()

    def given(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Leaves:
        """Return the arguments as the framework names them, what they hold opened."""
        return open_arguments(self._binder.bind(args, kwargs), self.holders["given"])

    def chosen(self, args: Sequence[Any], kwargs: Mapping[str, Any], given: Leaves) -> Leaves:
        """Return those arguments that are captured, or what the app makes of them."""
        if self._transform is not None:
            return open_arguments(self._transform(*args, **kwargs), self.holders["chosen"])
        if self._chosen is None:
            return given
        return choose_leaves(given, self._binder.bind(args, kwargs), self._chosen, self._columns)

    def answered(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Leaves:
        """Return the answers as the framework names them, what they hold opened."""
        del args, kwargs  # some say there what they want to know
        return open_answer(result)

    def size(self, given: Leaves, answered: Leaves) -> int | None:
        """Return the number of inferences; None when arguments and answers share no axis."""
        return batch_size(given, answered)

    def _count(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], given: Leaves, answered: Leaves
    ) -> int | None:
        """Return the number of inferences of a call, as the app has it: what its function makes tells it, too."""
        made = None if self._transform is None or self._asked_of_one else self.chosen(args, kwargs, given)
        size = batch_size(made, answered) if made is not None and self._batched else None
        size = self.size(given, answered) if size is None else size
        if size is None and made is not None:
            size = batch_size(made, answered)
        if self._asked_of_one:
            return size if size == 1 else None  # a row may come with an axis of one
        if size is None and self._batched:
            lengths = Counter(
                shape_of(each)[0] for each in answered.values() if is_array(each) and shape_of(each)
            )
            return max(lengths, key=lengths.__getitem__) if lengths else None
        return size

    def reading(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> ArrayReading:
        """Return what a call was, read once while it is observed."""
        kept: ArrayReading | None = getattr(self._under_way, "reading", None)
        if kept is not None and kept.result is result:
            return kept
        given, answered = self.given(args, kwargs), self.answered(args, kwargs, result)
        found = ArrayReading(result, given, answered, self._count(args, kwargs, given, answered))
        if getattr(self._under_way, "observed", False):  # and what a shadow answers is not kept
            self._under_way.reading = found
        return found

    def _observe(self, *call: Any) -> None:
        self._under_way.observed = True
        try:
            super()._observe(*call)
        finally:
            self._under_way.observed, self._under_way.reading = False, None

    def rows(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int | None:
        read = self.reading(args, kwargs, result)
        if serves_nobody(read.given, read.answered):
            return NOBODY
        return one_or_many(read.rows)

    def fields(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any
    ) -> tuple[Fields, Fields, Any]:
        read = self.reading(args, kwargs, result)
        if not self._asked_of_one and read.rows is None and is_batch_second(read.given, read.answered):
            (HOME.client or HOME.begin()).misread(self.model, BATCH_AS_ROW)
        return only_row(self.columns(args, kwargs, result))

    def columns(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Columns:
        read = self.reading(args, kwargs, result)
        chosen, answered = on_host(self.chosen(args, kwargs, read.given), read.answered)
        inputs = self.of_rows("inputs", dict(chosen), read.rows)
        outputs = self.outputs(dict(answered), read.rows)
        embedding = outputs.pop("embedding", None)
        return Columns(input_columns(inputs, self._columns, self.holders["tables"]), outputs, embedding)

    def size_given(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int | None:
        given = self.given(args, kwargs)
        return self.size(given, given)

    def inputs_alone(self, args: Sequence[Any], kwargs: Mapping[str, Any], rows: int | None) -> Any:
        (chosen,) = on_host(self.chosen(args, kwargs, self.given(args, kwargs)))
        found = Columns(
            input_columns(self.of_rows("inputs", dict(chosen), rows), self._columns, self.holders["tables"]),
            {},
        )
        return only_row(found) if rows is None else found

    def outputs(self, answered: Leaves, rows: int | None) -> dict[str, Array]:
        """Return the answers as columns, as Davy names them, the embedding among them."""
        if rows is None:
            answered, _ = self.without_axis(answered)
        found = self.of_rows("outputs", answered, rows)
        embedding = found.pop("embedding", None)
        if len(found) == 1 and self._output is None and _lost_its_scores(answered, found):
            return {**found} if embedding is None else {**found, "embedding": embedding}
        outputs = canonical(found, self._output, self._judge_output)
        return outputs if embedding is None else {**outputs, "embedding": embedding}


def _lost_its_scores(answered: Leaves, found: Mapping[str, Array]) -> bool:
    """Whether whole numbers are left of an answer whose others, of more axes, are of another length.

    They are no label, which only scores beside them would tell: the lengths of sequences, say.
    """
    ((name, left),) = found.items()
    if left.ndim != 1 or left.dtype.kind not in "iu" or "label" in name.lower():
        return False
    return any(is_array(each) and len(shape_of(each)) > 1 for key, each in answered.items() if key != name)


def column(values: Iterable[Any]) -> Array:
    """Return values of any kind, one an inference, as an array of objects."""
    rows = list(values)
    array = np.empty(len(rows), dtype=object)
    array[:] = rows
    return array


def named_ids(config: Any) -> list[str] | None:
    """Return the names of classes by the numbers that a configuration of Hugging Face gives them."""
    found = getattr(config, "id2label", None)
    if not isinstance(found, Mapping) or sorted(map(str, found)) != sorted(map(str, range(len(found)))):
        return None
    return [str(name) for _, name in sorted(found.items(), key=lambda item: int(item[0]))] or None
