"""LightGBM: a ``Booster`` predicts for matrices and frames; the scikit-learn estimators need nothing of their own."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any, Final

from davy.sdk.fields import Fields
from davy.sdk.integrations._tables import BoosterWatch
from davy.sdk.options import Options
from davy.sdk.proxy import watch_object

_NO_INFERENCE: Final = ("raw_score", "pred_leaf", "pred_contrib")


def matches(target: Any) -> bool:
    """Whether it is a booster."""
    return isinstance(target, sys.modules["lightgbm"].Booster)


def watch(target: Any, model: str, options: Options) -> Any:
    """Return a stand-in whose predictions are captured."""
    return watch_object(target, model, options, {"predict": _read})


def _read(target: Any, method: Callable[..., Any], model: str, options: Options) -> BoosterWatch:
    found = re.search(r"^objective=(\S+)", target.model_to_string(num_iteration=1), re.MULTILINE)
    objective = found.group(1) if found else ""
    names = target.feature_name()
    return BoosterWatch(method, model, options, names=names, objective=objective, explains=_explains)


def _explains(asked: Fields) -> bool:
    return any(asked.get(name) for name in _NO_INFERENCE) or isinstance(asked.get("data"), str)  # a file
