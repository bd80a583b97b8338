"""MLflow: a model loaded by ``mlflow.pyfunc`` predicts for frames, matrices and lists of records."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from davy.sdk.integrations._tables import TableWatch
from davy.sdk.options import Options
from davy.sdk.proxy import watch_object

_ESTIMATORS: Final = ("sklearn_model", "xgb_model", "lgb_model")
"""Where MLflow's wrappers hold an estimator of scikit-learn's kind."""


def matches(target: Any) -> bool:
    """Whether it is a loaded model."""
    return isinstance(target, sys.modules["mlflow.pyfunc"].PyFuncModel)


def watch(target: Any, model: str, options: Options) -> Any:
    """Return a stand-in whose ``predict`` is captured."""
    return watch_object(target, model, options, {"predict": _read})


def _read(target: Any, method: Callable[..., Any], model: str, options: Options) -> TableWatch:
    wrapper = getattr(target, "_model_impl", None)
    estimators = (getattr(wrapper, name, None) for name in _ESTIMATORS)
    classes = next(
        (found for one in estimators if (found := getattr(one, "classes_", None)) is not None), None
    )
    output = None if classes is None else "label"
    return TableWatch(method, model, options, batched=True, output=output, classes=classes)
