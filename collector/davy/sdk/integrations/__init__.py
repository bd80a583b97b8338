"""How objects of known frameworks are watched: a file for each, imported when the app has imported the framework.

An integration is a module with two functions::

    def matches(target: object) -> bool: ...
    def watch(target: T, model: str, options: Options) -> T: ...

`watch` gives what the app uses instead of `target`, which behaves as `target` does. No framework is imported here or
by importing an integration: `matches` is asked only when the framework is in ``sys.modules``.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from importlib import import_module
from typing import Any, Final

from davy.sdk.guard import Guard, warn
from davy.sdk.home import HOME
from davy.sdk.options import Options
from davy.sdk.watching import Watch

TABLE: Final = (
    ("keras", "davy.sdk.integrations.keras"),  # before torch: its models are modules when they run on PyTorch
    ("sentence_transformers", "davy.sdk.integrations.sentence_transformers"),  # modules too, as are those of:
    ("ultralytics", "davy.sdk.integrations.ultralytics"),
    ("mmdet", "davy.sdk.integrations.mmdet"),
    ("torch", "davy.sdk.integrations.torch"),
    ("xgboost", "davy.sdk.integrations.xgboost"),
    ("lightgbm", "davy.sdk.integrations.lightgbm"),
    ("onnxruntime", "davy.sdk.integrations.onnxruntime"),
    ("transformers", "davy.sdk.integrations.transformers"),
    ("mlflow.pyfunc", "davy.sdk.integrations.mlflow"),
)
"""Which module of a framework must be there for which integration to be asked."""
_GUARD: Final = Guard("integration")
_PARTICULAR: Final = ("embedding", "members", "tokenizer")
"""Options that mean something for some frameworks only: those whose integration has them in ``MEANS``."""


def watch_function(function: Any, model: str, options: Options) -> Watch:
    """Return how calls of a function are read: as a module's where it is ``forward`` of one, or a partial of either."""
    say_meaningless(options, (), "function")
    if "torch" in sys.modules:
        with _GUARD:
            integration: Any = import_module("davy.sdk.integrations.torch")
            if integration.calls_module(function):
                return integration.watch_function(function, model, options)  # type: ignore[no-any-return]
    return Watch(function, model, options)


def watch_by_integration(target: Any, model: str, options: Options) -> Any:
    """Return `target` watched by the integration that knows it, or None where there is none or it failed, counted."""
    for framework, name in TABLE:
        if framework not in sys.modules:
            continue
        with _GUARD:
            integration: Any = import_module(name)
            if integration.matches(target):
                say_meaningless(options, getattr(integration, "MEANS", ()), type(target).__name__)
                return integration.watch(target, model, options)
            continue
        HOME.integration_failed += 1
    say_meaningless(options, (), type(target).__name__)
    return None


def say_meaningless(options: Options, means: Collection[str], kind: str) -> None:
    """Say and count what the app asked for that means nothing for what it watches."""
    asked = [name for name in _PARTICULAR if getattr(options, name) is not None and name not in means]
    if asked:
        HOME.integration_failed += 1
        verb = "mean" if len(asked) > 1 else "means"
        warn("integration", f"{' and '.join(f'{name}=' for name in asked)} {verb} nothing for a {kind}")
