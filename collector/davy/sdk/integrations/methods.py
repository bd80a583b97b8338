"""A watched method of a module, beside `forward`: what the module does within it is part of one inference.

The module keeps what stands for the method in an attribute of its own, before that of its class.
"""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any, Final, Self

from davy.sdk.guard import Guard
from davy.sdk.options import Options

_GUARD: Final = Guard("watch")


class WatchedMethod(ABC):
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

    @abstractmethod
    def _watch(self, call: Any, options: Options, model: str) -> Any:
        """Return how calls of the method are read for a model."""

    @abstractmethod
    def _observe(
        self,
        watch: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        result: Any,
        learnt: Any,
        started: int,
    ) -> Any:
        """Capture one call, and return what the app gets; `learnt` is what followed its forward passes."""

    def _follow(self) -> Any:
        """Return what learns of the forward passes within a call; None when nothing of them is of use."""
        return None

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

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        found = type(self)(deepcopy(self._module, memo), self._name)
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
        followed = {model: self._follow() for model in free}
        for model, now in free.items():
            now.busy, now.likelihoods = True, followed[model]
        try:
            result = self._method(*args, **kwargs)
        finally:
            for now in free.values():
                now.busy, now.likelihoods = False, None
        for model, learnt in followed.items():
            with _GUARD:
                result = self._observe(self._watch_of(model), args, kwargs, result, learnt, started)
        return result

    def _watch_of(self, model: str) -> Any:
        found = self._watches.get(model)
        if found is None:
            found = self._watches[model] = self._watch(*self._watched[model], model)
        return found
