"""Models of tables: the argument ``data`` of a call holds the inferences, the others say how to answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from davy.event import Array
from davy.sdk.calls.batches import only_row, repeated
from davy.sdk.fields import Columns, Fields, input_columns, output_columns, row_count
from davy.sdk.options import Options
from davy.sdk.watching import NOBODY, Watch, one_or_many

_ONE_AGAINST_ALL: Final = {"multiclassova", "multiclass_ova", "ova", "ovr"}
"""Objectives of LightGBM whose probabilities do not sum to one; the likeliest is the answer all the same."""


class TableWatch(Watch):
    """Reads calls whose first argument, ``data``, is a frame, a matrix or records."""

    def fields(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any
    ) -> tuple[Fields, Fields, Any]:
        return only_row(self.columns(args, kwargs, result))

    def columns(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Columns:
        rows, names = self.table(args[0] if args else kwargs["data"])
        outputs, embedding = self.answers(result)
        given = self.arguments((rows,), {}, names)
        if self._transform is not None:
            given = repeated(given, row_count(result))
        return Columns(input_columns(given, names), outputs, embedding)

    def table(self, data: Any) -> tuple[Any, Sequence[str] | None]:
        """Return the rows, and the names of their columns when they are known."""
        return data.toarray() if hasattr(data, "toarray") else data, self._columns  # SciPy's sparse matrices

    def answers(self, result: Any) -> tuple[Mapping[str, Array], Array | None]:
        """Return the outputs and the embedding."""
        return output_columns(result, self._output, self._classes, self._judge_rows)


class BoosterWatch(TableWatch):
    """Reads calls of boosted trees.

    Parameters
    ----------
    method, model, options
        As `Watch` takes them.
    names
        Of the features.
    objective
        What the trees were trained for, as XGBoost and LightGBM name it; it says what the answers are.
    explains
        Whether a call with these arguments asks for something else than inferences.
    """

    def __init__(
        self,
        method: Callable[..., Any],
        model: str,
        options: Options,
        *,
        names: Sequence[str] | None,
        objective: str,
        explains: Callable[[Fields], bool],
    ) -> None:
        super().__init__(method, model, options, columns=names)
        self._objective = objective
        self._explains = explains

    def rows(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int | None:
        return NOBODY if self._explains(self._binder.bind(args, kwargs)) else one_or_many(row_count(result))

    def answers(self, result: Any) -> tuple[Mapping[str, Array], None]:
        """Name the answers by the objective: a lone probability becomes those of both classes."""
        array = np.asarray(result)
        if self._output is not None:
            return {self._output: array}, None
        if array.ndim == 1 and self._objective in {"binary:logistic", "binary", "cross_entropy"}:
            return {"probs": np.stack([1 - array, array], axis=1)}, None
        if self._objective == "binary:logitraw":
            return {"logit": array}, None
        if self._objective in {"multi:softmax", "binary:hinge"}:
            return {"label": array.astype(np.int64)}, None
        if self._objective in _ONE_AGAINST_ALL and array.ndim == 2:
            return {"probs": array, "label": array.argmax(axis=1)}, None
        return {self._judge_rows(array): array}, None
