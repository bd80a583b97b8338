"""Objects with ``predict_proba`` that are of no framework: one row or many is decided by what each call shows.

scikit-learn's shape of call, a table in and a row out for each of its rows, is a batch. One picture, text, mapping or
vector with one vector of probabilities is one inference, without an axis of inferences. What the app says holds:
with ``batched=True`` every call is a batch, with ``batched=False`` every call is one inference.

Objects with ``fit`` answer tables, and some of them a single sample too: CatBoost, Surprise, forecasters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from davy.sdk.calls.batches import first_row
from davy.sdk.calls.single import is_for_each, is_one, is_vector_of, size_shown
from davy.sdk.calls.tensors import as_array, is_array, shape_of
from davy.sdk.fields import Fields, input_fields, output_columns
from davy.sdk.watching import Watch


class PredictorWatch(Watch):
    """Reads calls of a predictor, of which only some have an axis of inferences."""

    def by_rows(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> bool:
        """Return whether the first axis of this very call is the inferences."""
        if self._batched:
            return True
        size = size_shown(self._binder.bind(args, kwargs), result)
        return size == 1 if self._asked_of_one else size is not None  # a row may come with an axis of one

    def fields(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any
    ) -> tuple[Fields, Fields, Any]:
        """Read a call that is one inference; of classes that are known the likeliest is the label, as in a batch."""
        inputs, outputs, embedding = super().fields(args, kwargs, result)
        if self._classes is not None and outputs.keys() == {"probs"}:
            rows = np.asarray(outputs["probs"])[None]
            outputs = first_row(output_columns(rows, "probs", self._classes, self._judge_rows)[0])
        return inputs, outputs, embedding

    def _shortcut(self, *call: Any) -> Any:
        """Return a short way for calls of the very same shapes: with others it may be a batch."""
        found = super()._shortcut(*call)
        return None if found is None or found.ragged else found


class EstimatorWatch(PredictorWatch):
    """Reads calls of an object with ``fit``: batches, but for those that show one sample.

    Parameters
    ----------
    given, more
        As `Watch` takes them.
    """

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, batched=True, **more)
        self._gives_classes = more.get("output") == "probs"

    def by_rows(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> bool:
        """Return whether this very call is a batch, as its arguments show, or what the app makes of them."""
        if not is_one(self._binder.bind(args, kwargs), result, of_classes=self._gives_classes):
            return True
        return self._transform is not None and is_for_each(self.arguments(args, kwargs), result)

    def without_axis(self, result: Any, inputs: Mapping[str, Any] | None = None) -> tuple[Any, bool]:
        """Return the answer to one sample: it has an axis of one where the sample has none."""
        del inputs
        if is_array(result) and shape_of(result)[:1] == (1,):
            return as_array(result)[0], False
        if type(result) is list and len(result) == 1:
            return result[0], False
        return result, False

    def _input_fields(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Fields:
        """Return the inputs of one sample; a vector with the names of the columns that a matrix has."""
        found, names = self.arguments(args, kwargs), self._columns
        if names is not None:
            found = {
                name: dict(zip(map(str, names), value, strict=True))
                if is_vector_of(value, len(names))
                else value
                for name, value in found.items()
            }
        return input_fields(found, self.holders["given"])
