"""XGBoost: a ``Booster`` answers for a ``DMatrix``; the scikit-learn estimators need nothing of their own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from davy.event import Array
from davy.sdk.fields import Fields
from davy.sdk.integrations._tables import BoosterWatch
from davy.sdk.options import Options
from davy.sdk.proxy import watch_object

_NO_INFERENCE: Final = ("pred_leaf", "pred_contribs", "approx_contribs", "pred_interactions", "output_margin")


def matches(target: Any) -> bool:
    """Whether it is a booster."""
    return isinstance(target, sys.modules["xgboost"].Booster)


def watch(target: Any, model: str, options: Options) -> Any:
    """Return a stand-in whose predictions are captured."""
    return watch_object(target, model, options, {"predict": _read, "inplace_predict": _read})


class _BoosterWatch(BoosterWatch):
    def table(self, data: Any) -> tuple[Any, Sequence[str] | None]:
        if isinstance(data, sys.modules["xgboost"].DMatrix):
            return _dense(data), data.feature_names or self._columns
        return super().table(data)


def _read(target: Any, method: Callable[..., Any], model: str, options: Options) -> _BoosterWatch:
    objective = json.loads(target.save_config())["learner"]["objective"]["name"]
    names = target.feature_names
    return _BoosterWatch(method, model, options, names=names, objective=objective, explains=_explains)


def _explains(asked: Fields) -> bool:
    return any(asked.get(name) for name in _NO_INFERENCE) or asked.get("predict_type") == "margin"


def _dense(matrix: Any) -> Array:
    rows = matrix.get_data()  # CSR without what is missing
    found = np.full(rows.shape, np.nan, np.float32)
    found[np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr)), rows.indices] = rows.data
    return found
