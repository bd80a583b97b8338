"""A model object under watch: a stand-in that answers every question as the object itself would."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from davy.sdk.guard import Guard
from davy.sdk.watching import Options, Watch, wrap

_SLOTS: Final = ("_davy_given", "_davy_methods", "_davy_target", "_davy_watches")
_KEPT: Final = {
    "__class__", "__new__", "__init__", "__del__", "__getattribute__", "__getattr__", "__setattr__", "__delattr__",
    "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs__", "__getnewargs_ex__",
    "__init_subclass__", "__subclasshook__", "__class_getitem__", "__instancecheck__", "__subclasscheck__",
    "__copy__", "__deepcopy__", "__sizeof__", "__dir__",
}  # fmt: skip
"""Special methods that are the stand-in's own, or of a class; all others are the object's."""
_GUARD: Final = Guard("watch")


class Plan:
    """What of an object is watched and how its calls are read; integrations have plans of their own."""

    def methods(self, target: Any) -> tuple[str, ...]:
        """Name the methods whose calls are captured."""
        return tuple(name for name in ("predict", "predict_proba") if hasattr(target, name)) or ("__call__",)

    def watch(
        self, target: Any, name: str, method: Callable[..., Any], model: str, options: Options
    ) -> Watch:
        """Say how calls of one of them are read."""
        output = None
        if name == "predict_proba":
            output = "probs"
        elif hasattr(target, "classes_"):
            output = "label"
        return Watch(
            method,
            model,
            options,
            batched=hasattr(target, "fit") or hasattr(target, "predict_proba"),
            columns=getattr(target, "feature_names_in_", None),
            output=output,
            classes=getattr(target, "classes_", None) if name == "predict_proba" else None,
        )


PLAIN: Final = Plan()


class WatchedObject:
    """Stands in for an object some of whose methods are captured as a plan says.

    Attributes are read from and written to the object; ``isinstance`` sees its class; operators and other special
    methods are its own; a pickled or copied stand-in holds a pickled or copied object and is watched as well.
    """

    __slots__ = (*_SLOTS, "__weakref__")

    def __init__(self, target: Any, model: str, options: Options, plan: Plan) -> None:
        object.__setattr__(self, "_davy_target", target)
        object.__setattr__(self, "_davy_given", (model, options, plan))
        object.__setattr__(self, "_davy_methods", plan.methods(target))
        object.__setattr__(self, "_davy_watches", {})

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._davy_target, name)
        return _watched(self, name, value) if name in self._davy_methods and callable(value) else value

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._davy_target, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._davy_target, name)

    def __dir__(self) -> list[str]:
        return dir(self._davy_target)

    def __copy__(self) -> Any:
        return watch_object(copy.copy(self._davy_target), *self._davy_given)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return watch_object(copy.deepcopy(self._davy_target, memo), *self._davy_given)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return watch_object, (self._davy_target, *self._davy_given)


def watch_object(target: Any, model: str, options: Options, plan: Plan = PLAIN) -> Any:
    """Give a stand-in for `target`."""
    kind: type = type(target)
    return _class_for(kind)(target, model, options, plan)


@lru_cache(maxsize=256)
def _class_for(kind: type) -> type[WatchedObject]:
    names = {name for name in dir(kind) if name.startswith("__") and name.endswith("__")} - _KEPT
    body: dict[str, Any] = {name: _forward(name) for name in names if callable(getattr(kind, name, None))}
    body |= {
        "__slots__": (),
        "__doc__": kind.__doc__,
        "__module__": kind.__module__,
        "__class__": property(lambda self: type(self._davy_target)),
    }
    return type(kind.__name__, (WatchedObject,), body)


def _forward(name: str) -> Callable[..., Any]:
    def special(self: Any, *args: Any, **kwargs: Any) -> Any:
        value = getattr(self._davy_target, name)
        if name in self._davy_methods:
            value = _watched(self, name, value)
        return value(*args, **kwargs)

    special.__name__ = name
    return special


def _watched(proxy: Any, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    with _GUARD:
        watch = proxy._davy_watches.get(name)
        if watch is None:
            model, options, plan = proxy._davy_given
            watch = plan.watch(proxy._davy_target, name, method, model, options.for_method(name))
            proxy._davy_watches[name] = watch
        return wrap(method, watch)
    return method
