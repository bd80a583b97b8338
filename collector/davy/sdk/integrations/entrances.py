"""Methods of a module by which an app asks it beside `forward`: ``predict``, ``encode``, ``sample`` and their kin.

What such a method does inside, forward passes and other such methods, is part of one inference: the one that the app
asked for.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from types import CodeType, FunctionType
from typing import Any, Final

from davy.sdk.guard import warn
from davy.sdk.home import HOME
from davy.sdk.integrations.methods import WatchedMethod
from davy.sdk.options import Options

_NAMES: Final = re.compile(
    r"(predict|predict_proba|predict_log_proba|decision_function|classify|score|infer|inference|sample|transform"
    r"|(encode|embed)(_\w+)?)"
)
_EMBEDS: Final = re.compile(r"(encode|embed)")
_LATER: Final = (inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction)


def stand_before(target: Any, call: Any, model: str, options: Options) -> None:
    """Stand before the entrances of a module; `call` is what its forward passes are told to.

    Where one cannot be followed, for `forward` itself goes through it or it answers later, that is said and counted.
    """
    module = getattr(target, "_orig_mod", target)
    inside = _called(getattr(type(module), "forward", None))
    for name in dir(type(module)):
        method = inspect.getattr_static(type(module), name, None)
        if not _NAMES.fullmatch(name) or not isinstance(method, FunctionType) or _is_the_frameworks(method):
            continue
        own = vars(module).get(name)
        if name in inside or any(ask(method) for ask in _LATER) or not (own is None or type(own) is Entrance):
            HOME.integration_failed += 1
            warn(
                "integration",
                f"calls of {type(module).__name__}.{name} are not captured: watch the method itself",
            )
            continue
        if own is None:
            own = Entrance(module, name)
            vars(module)[name] = own
        own.add(call, model, options)


def _is_the_frameworks(method: FunctionType) -> bool:
    return method.__module__.partition(".")[0] in {"torch", "transformers", "lightning", "pytorch_lightning"}


def _called(function: Any) -> set[str]:
    code = getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
    return set(code.co_names) if isinstance(code, CodeType) else set()


class Entrance(WatchedMethod):
    """Stands for a method that asks the module as `forward` does."""

    def _watch(self, call: Any, options: Options, model: str) -> Any:
        del model
        if options.output is None and _EMBEDS.match(self._name):
            options = options._replace(output="embedding")
        return call.beside_forward(self._method, self._name, options)

    def _observe(
        self,
        watch: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        result: Any,
        learnt: Any,
        started: int,
    ) -> Any:
        del learnt
        return watch.observe(args, kwargs, result, started)


def without_entrances(module: Any) -> Sequence[tuple[str, Entrance]]:
    """Take the entrances from a module that is compiled, and return them."""
    found = [(name, each) for name, each in vars(module).items() if type(each) is Entrance]
    for name, _ in found:
        del vars(module)[name]
    return found
