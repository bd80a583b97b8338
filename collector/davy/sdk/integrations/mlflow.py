"""MLflow: a model loaded by ``mlflow.pyfunc`` predicts for frames, matrices and lists of records."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from davy.sdk.fields import Columns, input_columns, output_columns
from davy.sdk.proxy import Plan, watch_object
from davy.sdk.watching import Options, Watch


def matches(target: Any) -> bool:
    """Whether it is a loaded model."""
    return isinstance(target, sys.modules["mlflow.pyfunc"].PyFuncModel)


def watch(target: Any, model: str, options: Options) -> Any:
    """Give a stand-in whose ``predict`` is captured."""
    return watch_object(target, model, options, _PyfuncPlan())


class _PyfuncPlan(Plan):
    def methods(self, target: Any) -> tuple[str, ...]:
        del target
        return ("predict",)

    def watch(
        self, target: Any, name: str, method: Callable[..., Any], model: str, options: Options
    ) -> Watch:
        del target, name
        return _PyfuncWatch(method, model, options, batched=True)


class _PyfuncWatch(Watch):
    def columns(self, args: Any, kwargs: Any, result: Any) -> Columns:
        data = args[0] if args else kwargs["data"]
        outputs, embedding = output_columns(result, self._output)
        return Columns(input_columns(self.arguments((data,), {}), self._columns), outputs, embedding)
