"""A model object under watch: a stand-in that answers every question as the object itself would."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from davy.sdk.fields import Inputs
from davy.sdk.guard import Guard
from davy.sdk.watching import Watch, wrap

_METHODS: Final = ("predict", "predict_proba")
_SLOTS: Final = ("_davy_given", "_davy_methods", "_davy_target", "_davy_watches")
_KEPT: Final = {
    "__class__", "__new__", "__init__", "__del__", "__getattribute__", "__getattr__", "__setattr__", "__delattr__",
    "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs__", "__getnewargs_ex__",
    "__init_subclass__", "__subclasshook__", "__class_getitem__", "__instancecheck__", "__subclasscheck__",
    "__copy__", "__deepcopy__", "__sizeof__", "__dir__",
}  # fmt: skip
"""Special methods that are the stand-in's own, or of a class; all others are the object's."""
_GUARD: Final = Guard("watch")


class WatchedObject:
    """Stands in for an object whose ``predict`` and ``predict_proba``, or else calls, are captured.

    Attributes are read from and written to the object; ``isinstance`` sees its class; operators and other special
    methods are its own; a pickled or copied stand-in holds a pickled or copied object and is watched as well.
    """

    __slots__ = (*_SLOTS, "__weakref__")

    def __init__(self, target: Any, model: str, batched: bool, inputs: Inputs) -> None:
        methods = tuple(name for name in _METHODS if hasattr(target, name))
        object.__setattr__(self, "_davy_target", target)
        object.__setattr__(self, "_davy_given", (model, batched, inputs))
        object.__setattr__(self, "_davy_methods", methods or ("__call__",))
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

    def __reduce_ex__(self, protocol: Any) -> Any:
        return watch_object, (self._davy_target, *self._davy_given)


def watch_object(target: Any, model: str, batched: bool, inputs: Inputs) -> Any:
    """Give a stand-in for `target`."""
    kind: type = type(target)
    return _class_for(kind)(target, model, batched, inputs)


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
            watch = proxy._davy_watches[name] = _make_watch(
                proxy._davy_target, name, method, *proxy._davy_given
            )
        return wrap(method, watch)
    return method


def _make_watch(
    target: Any, name: str, method: Callable[..., Any], model: str, batched: bool, inputs: Inputs
) -> Watch:
    output = None
    if name == "predict_proba":
        output = "probs"
    elif hasattr(target, "classes_"):
        output = "label"
    return Watch(
        method,
        model,
        batched=batched or hasattr(target, "fit") or hasattr(target, "predict_proba"),
        inputs=inputs,
        columns=getattr(target, "feature_names_in_", None),
        output=output,
    )
