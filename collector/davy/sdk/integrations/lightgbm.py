"""LightGBM: a ``Booster`` predicts for matrices and frames; the scikit-learn estimators need nothing of their own."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from davy.sdk.fields import Columns, input_columns, row_count
from davy.sdk.integrations._arrays import scores
from davy.sdk.proxy import Plan, watch_object
from davy.sdk.watching import Options, Watch

_NO_INFERENCE: Final = ("raw_score", "pred_leaf", "pred_contrib")


def matches(target: Any) -> bool:
    """Whether it is a booster."""
    return isinstance(target, sys.modules["lightgbm"].Booster)


def watch(target: Any, model: str, options: Options) -> Any:
    """Give a stand-in whose predictions are captured."""
    return watch_object(target, model, options, _BoosterPlan())


class _BoosterPlan(Plan):
    def methods(self, target: Any) -> tuple[str, ...]:
        del target
        return ("predict",)

    def watch(
        self, target: Any, name: str, method: Callable[..., Any], model: str, options: Options
    ) -> Watch:
        del name
        found = re.search(r"^objective=(\S+)", target.model_to_string(num_iteration=1), re.MULTILINE)
        objective = found.group(1) if found else ""
        return _BoosterWatch(method, model, options, target.feature_name(), objective)


class _BoosterWatch(Watch):
    def __init__(
        self,
        function: Callable[..., Any],
        model: str,
        options: Options,
        names: Sequence[str],
        objective: str,
    ) -> None:
        super().__init__(function, model, options, columns=names)
        self._objective = objective

    def rows(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int:
        asked = self._binder.bind(args, kwargs)
        explains = any(asked.get(name) for name in _NO_INFERENCE) or isinstance(asked.get("data"), str)
        return 0 if explains else row_count(result)

    def columns(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Columns:
        data = args[0] if args else kwargs["data"]
        data = data.toarray() if hasattr(data, "toarray") else data  # SciPy's sparse matrices
        inputs = input_columns(self.arguments((data,), {}), self._columns)
        return Columns(inputs, scores(np.asarray(result), self._objective, self._output))
