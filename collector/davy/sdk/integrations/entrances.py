"""Methods of a module by which an app asks it beside `forward`: ``predict``, ``encode``, ``sample`` and their kin.

The module keeps them, in attributes of its own that stand before them, as `generate`'s. What such a method does inside,
forward passes and other such methods, is part of one inference: the one that the app asked for.
"""

from __future__ import annotations

import inspect
import re
import sys
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from types import CodeType, FunctionType
from typing import Any, Final

from davy.sdk.guard import Guard, warn
from davy.sdk.home import HOME
from davy.sdk.options import Options

_GUARD: Final = Guard("watch")
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


class Entrance:
    """Stands for one method of one module; copies and pickles go along with the module's.

    Parameters
    ----------
    module, name
        Whose method it is, and which.
    """

    def __init__(self, module: Any, name: str) -> None:
        self._module = module
        self._name = name
        self._watched: dict[str, tuple[Any, Options]] = {}
        self._watches: dict[str, Any] = {}

    def add(self, call: Any, model: str, options: Options) -> None:
        """Capture for a model; `call` reads its forward passes, and knows of the one under way in `call.now`."""
        self._watched[model] = call, options
        self._watches.pop(model, None)

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        return self._method

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_davy") or "_module" not in vars(self):
            raise AttributeError(name)
        return getattr(self._method, name)

    def __deepcopy__(self, memo: dict[int, Any]) -> Entrance:
        found = Entrance(deepcopy(self._module, memo), self._name)
        for model, (call, options) in self._watched.items():
            found.add(deepcopy(call, memo), model, options)
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_watches": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    @property
    def _method(self) -> Callable[..., Any]:
        found: Callable[..., Any] = getattr(type(self._module), self._name).__get__(self._module)
        return found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do as the method, and capture what it was asked and answered."""
        if sys.modules["torch"].compiler.is_compiling():
            return self._method(*args, **kwargs)
        started = time.perf_counter_ns()
        free = {model: call.now for model, (call, _) in self._watched.items() if not call.now.busy}
        for now in free.values():
            now.busy = True
        try:
            result = self._method(*args, **kwargs)
        finally:
            for now in free.values():
                now.busy = False
        for model in free:
            with _GUARD:
                result = self._watch(model).observe(args, kwargs, result, started)
        return result

    def _watch(self, model: str) -> Any:
        found = self._watches.get(model)
        if found is None:
            call, options = self._watched[model]
            if options.output is None and _EMBEDS.match(self._name):
                options = options._replace(output="embedding")
            found = self._watches[model] = call.beside_forward(self._method, self._name, options)
        return found


def without_entrances(module: Any) -> Sequence[tuple[str, Entrance]]:
    """Take the entrances from a module that is compiled, and return them."""
    found = [(name, each) for name, each in vars(module).items() if type(each) is Entrance]
    for name, _ in found:
        del vars(module)[name]
    return found
