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
from functools import lru_cache, partial
from types import MethodType
from typing import Any, Final, TypeAlias

from davy.sdk.guard import Guard, warn
from davy.sdk.home import HOME

_GUARD: Final = Guard("watch")
_TAKES_APART: Final = "cloudpickle"
_PICKLERS: Final = ("pickle", "cloudpickle")
Reduced: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...]]
"""What makes something anew in another process, and what it is given."""


class StandIn:
    """Stands for what is under watch, ``_davy_target``, for a model, ``_davy_model``.

    ``_davy_again`` watches something else in the same way.
    """

    __slots__ = ()


class Watched(StandIn):
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
    model
        Whose calls are captured.
    again
        Watches another callable as this one is watched.
    """

    # Python looks for `__call__` in the class and finds the slot, which holds what to call: no frame comes in between.
    __slots__ = ("__call__", "__weakref__", "_davy_again", "_davy_model", "_davy_reduced", "_davy_target")

    def __init__(
        self,
        target: Callable[..., Any],
        call: Callable[..., Any],
        reduced: Callable[[], Reduced],
        model: str,
        again: Callable[[Any], Any],
    ) -> None:
        set_own = object.__setattr__
        set_own(self, "_davy_model", model)
        set_own(self, "_davy_again", again)
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


def watched(target: Callable[..., Any], *given: Any) -> Any:
    """Return a stand-in for a callable; `given` are the other parameters of `Watched`."""
    kind: type = type(target)
    return _class_for(kind)(target, *given)


def unwatched(target: Any, model: str) -> Any:
    """Return what is to be watched for a model without the stand-ins that capture for it already.

    Watched again under the same name, as when a cell of a notebook runs again, a call is one inference all the same.
    What captures it for other models stays.
    """
    kind = type(target)
    if kind in {MethodType, partial}:
        held = target.__func__ if kind is MethodType else target.func
        inner = unwatched(held, model)
        if inner is held:
            return target
        return MethodType(inner, target.__self__) if kind is MethodType else _partial_of(inner, target)
    if not issubclass(kind, Watched) and not issubclass(kind, StandIn):
        return target
    read = object.__getattribute__
    held = read(target, "_davy_target")
    inner = unwatched(held, model)
    if read(target, "_davy_model") == model:
        return inner
    return target if inner is held else read(target, "_davy_again")(inner)


def _partial_of(function: Any, like: Any) -> Any:
    return partial(function, *like.args, **like.keywords)


@lru_cache(maxsize=256)
def _class_for(kind: type) -> type[Watched]:
    def own(name: str) -> Any:
        return property(lambda self: getattr(self._davy_target, name))

    def told(self: Any) -> type:
        """Return the class of the callable, but to who takes functions apart to pickle their code."""
        asks = sys._getframe(1).f_globals.get("__name__", "")
        return type(self) if _TAKES_APART in asks else self._davy_target.__class__

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
