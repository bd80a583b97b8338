"""A function or method under watch: a stand-in that answers every question as the callable itself would.

A function of its own around the model's would do for calls alone. Whoever asks for more finds out: a function that
yields, or is awaited, or has a cache, is asked whether it does, and one that is sent to another process is looked for
under its name there.
"""

from __future__ import annotations

import operator
import pickle
import sys
from collections.abc import Callable
from functools import lru_cache
from types import MethodType
from typing import Any, Final, TypeAlias

from davy.sdk.guard import Guard, warn
from davy.sdk.home import HOME

_GUARD: Final = Guard("watch")
_TAKES_APART: Final = "cloudpickle"
_PICKLERS: Final = ("pickle", "cloudpickle")
Reduced: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...]]
"""What makes something anew in another process, and what it is given."""


class Watched:
    """Stands in for a callable whose calls are captured.

    Attributes are read from and written to the callable; ``__wrapped__``, where it has none, is the callable. Pickled,
    it is found under its name where it has it, else made as `reduced` says.

    Parameters
    ----------
    target
        The callable.
    call
        What does as the callable and captures.
    reduced
        Returns how it is made in another process.
    """

    # Python looks for `__call__` in the class and finds the slot, which holds what to call: no frame comes in between.
    __slots__ = ("__call__", "__weakref__", "_davy_reduced", "_davy_target")

    def __init__(
        self, target: Callable[..., Any], call: Callable[..., Any], reduced: Callable[[], Reduced]
    ) -> None:
        set_own = object.__setattr__
        set_own(self, "_davy_target", target)
        set_own(self, "__call__", call)
        set_own(self, "_davy_reduced", reduced)

    def __getattr__(self, name: str) -> Any:
        target = object.__getattribute__(self, "_davy_target")
        try:
            return getattr(target, name)
        except AttributeError:
            if name == "__wrapped__":
                return target
            raise

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._davy_target, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._davy_target, name)

    def __dir__(self) -> list[str]:
        return dir(self._davy_target)

    def __repr__(self) -> str:
        return repr(self._davy_target)

    def __copy__(self) -> Any:
        return self  # as a function

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        name = getattr(self._davy_target, "__qualname__", "")
        return name if _is_found(self, name) else self._davy_reduced()


def watched(target: Callable[..., Any], call: Callable[..., Any], reduced: Callable[[], Reduced]) -> Any:
    """Return a stand-in for a callable that `call` is called instead of, and that `reduced` makes elsewhere."""
    kind: type = type(target)
    return _class_for(kind)(target, call, reduced)


@lru_cache(maxsize=256)
def _class_for(kind: type) -> type[Watched]:
    def own(name: str) -> Any:
        return property(lambda self: getattr(self._davy_target, name))

    def told(self: Any) -> type:
        """Return the class of the callable, but to who takes functions apart to pickle their code."""
        asks = sys._getframe(1).f_globals.get("__name__", "")
        return type(self) if _TAKES_APART in asks else kind

    body: dict[str, Any] = {
        "__slots__": (),
        "__class__": property(told),
        "__doc__": own("__doc__"),
        "__module__": own("__module__"),
    }
    if hasattr(kind, "__get__") and not issubclass(kind, MethodType):
        body["__get__"] = lambda self, instance, _owner=None: (
            self if instance is None else MethodType(self, instance)
        )
    return type(kind.__name__, (Watched,), body)


def _is_found(held: Any, name: str) -> bool:
    """Whether a callable is found where it says that it is defined."""
    try:
        return operator.attrgetter(name)(sys.modules[held.__module__]) is held
    except (AttributeError, KeyError, TypeError):
        return False


def portable(make: Callable[..., Any], target: Any, *given: Any) -> Reduced:
    """Return how a pickle makes something under watch, ``make(target, *given)``, in another process.

    A plain target travels, thus what was asked for with it (a function for ``inputs``, say) must not keep it from that:
    where that cannot be pickled the target goes alone, which is said and counted.
    """
    for name in _PICKLERS:
        pickler: Any = sys.modules.get(name)
        if pickler is None:
            continue
        try:
            return _made, (make, target, pickler.dumps(given))
        except Exception:  # noqa: BLE001, S112 - whatever what the app asked for raises
            continue
    HOME.integration_failed += 1
    warn("pickled", "the copy of a model is not watched: what davy.watch was given with it cannot be pickled")
    return _plain, (target,)


def _made(make: Callable[..., Any], target: Any, given: bytes) -> Any:
    """Watch what came from another process; the plain thing where that fails."""
    with _GUARD:
        return make(target, *pickle.loads(given))  # noqa: S301 - part of a pickle that is loaded anyway
    return target


def _plain(target: Any) -> Any:
    return target
