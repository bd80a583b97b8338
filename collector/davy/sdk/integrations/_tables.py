"""Models of tables: the argument ``data`` of a call holds the inferences, the others say how to answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from davy.event import Array
from davy.sdk.fields import Columns, Fields, input_columns, output_columns, output_name, row_count
from davy.sdk.watching import Options, Watch


class TableWatch(Watch):
    """Reads calls whose first argument, ``data``, is a frame, a matrix or records."""

    def columns(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Columns:
        rows, names = self.table(args[0] if args else kwargs["data"])
        outputs, embedding = self.answers(result)
        return Columns(input_columns(self.arguments((rows,), {}), names), outputs, embedding)

    def table(self, data: Any) -> tuple[Any, Sequence[str] | None]:
        """Give the rows, and the names of their columns when they are known."""
        return data.toarray() if hasattr(data, "toarray") else data, self._columns  # SciPy's sparse matrices

    def answers(self, result: Any) -> tuple[Mapping[str, Array], Array | None]:
        """Give the outputs and the embedding."""
        return output_columns(result, self._output)


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

    def rows(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int:
        return 0 if self._explains(self._binder.bind(args, kwargs)) else row_count(result)

    def answers(self, result: Any) -> tuple[Mapping[str, Array], None]:
        """Name the answers by the objective: a lone probability becomes those of both classes."""
        array = np.asarray(result)
        if self._output is not None:
            return {self._output: array}, None
        if array.ndim == 1 and self._objective in {"binary:logistic", "binary", "cross_entropy"}:
            return {"probs": np.stack([1 - array, array], axis=1)}, None
        if self._objective == "binary:logitraw":
            return {"logit": array}, None
        if self._objective == "multi:softmax":
            return {"label": array.astype(np.int64)}, None
        return {output_name(array): array}, None
