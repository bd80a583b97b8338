"""MLflow: a model loaded by ``mlflow.pyfunc`` predicts for frames, matrices and lists of records."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from davy.sdk.integrations._tables import TableWatch
from davy.sdk.proxy import watch_object
from davy.sdk.watching import Options


def matches(target: Any) -> bool:
    """Whether it is a loaded model."""
    return isinstance(target, sys.modules["mlflow.pyfunc"].PyFuncModel)


def watch(target: Any, model: str, options: Options) -> Any:
    """Give a stand-in whose ``predict`` is captured."""
    return watch_object(target, model, options, {"predict": _read})


def _read(_target: Any, method: Callable[..., Any], model: str, options: Options) -> TableWatch:
    return TableWatch(method, model, options, batched=True)
