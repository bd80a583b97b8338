"""XGBoost: a ``Booster`` answers for a ``DMatrix``; the scikit-learn estimators need nothing of their own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from davy.event import Array
from davy.sdk.fields import Columns, input_columns, row_count
from davy.sdk.integrations._arrays import scores
from davy.sdk.proxy import Plan, watch_object
from davy.sdk.watching import Options, Watch

_METHODS: Final = ("predict", "inplace_predict")
_NO_INFERENCE: Final = ("pred_leaf", "pred_contribs", "approx_contribs", "pred_interactions", "output_margin")


def matches(target: Any) -> bool:
    """Whether it is a booster."""
    return isinstance(target, sys.modules["xgboost"].Booster)


def watch(target: Any, model: str, options: Options) -> Any:
    """Give a stand-in whose predictions are captured."""
    return watch_object(target, model, options, _BoosterPlan())


class _BoosterPlan(Plan):
    def methods(self, target: Any) -> tuple[str, ...]:
        return tuple(name for name in _METHODS if hasattr(target, name))

    def watch(
        self, target: Any, name: str, method: Callable[..., Any], model: str, options: Options
    ) -> Watch:
        del name
        objective = json.loads(target.save_config())["learner"]["objective"]["name"]
        return _BoosterWatch(method, model, options, target.feature_names, objective)


class _BoosterWatch(Watch):
    def __init__(
        self,
        function: Callable[..., Any],
        model: str,
        options: Options,
        names: Sequence[str] | None,
        objective: str,
    ) -> None:
        super().__init__(function, model, options, columns=names)
        self._objective = objective

    def rows(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int:
        asked = self._binder.bind(args, kwargs)
        explains = any(asked.get(name) for name in _NO_INFERENCE) or asked.get("predict_type") == "margin"
        return 0 if explains else row_count(result)

    def columns(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Columns:
        data = args[0] if args else kwargs["data"]
        if isinstance(data, sys.modules["xgboost"].DMatrix):
            args, kwargs = (_dense(data),), {}
            names = data.feature_names or self._columns
        else:
            args, kwargs, names = (data,), {}, self._columns
        inputs = input_columns(self.arguments(args, kwargs), names)
        return Columns(inputs, scores(np.asarray(result), self._objective, self._output))


def _dense(matrix: Any) -> Array:
    rows = matrix.get_data()  # CSR without what is missing
    found = np.full(rows.shape, np.nan, np.float32)
    found[np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr)), rows.indices] = rows.data
    return found
