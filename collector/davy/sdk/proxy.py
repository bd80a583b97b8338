"""A model object under watch: a stand-in that answers every question as the object itself would."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MethodType
from typing import Any, Final, NamedTuple, TypeAlias

from davy.sdk.callables import StandIn, portable, unwatched, watched
from davy.sdk.guard import Guard
from davy.sdk.options import Options
from davy.sdk.predicting import EstimatorWatch, PredictorWatch
from davy.sdk.watching import Watch

_SLOTS: Final = ("_davy_given", "_davy_target", "_davy_watches")
KEPT: Final = {
    "__class__", "__new__", "__init__", "__del__", "__getattribute__", "__getattr__", "__setattr__", "__delattr__",
    "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs__", "__getnewargs_ex__",
    "__init_subclass__", "__subclasshook__", "__class_getitem__", "__instancecheck__", "__subclasscheck__",
    "__copy__", "__deepcopy__", "__sizeof__", "__dir__",
}  # fmt: skip
"""Special methods that are the stand-in's own, or of a class; all others are the object's."""
_GUARD: Final = Guard("watch")


Reader: TypeAlias = Callable[[Any, Callable[..., Any], str, Options], Watch]
"""From an object, its method, the model's name and the app's options to how calls of the method are read."""
Plan: TypeAlias = Mapping[str, Reader]
"""Which methods of an object are captured, and how their calls are read."""


class _Given(NamedTuple):
    model: str
    options: Options
    plan: Plan


class WatchedObject(StandIn):
    """Stands in for an object some of whose methods are captured as a plan says.

    Attributes are read from and written to the object; ``isinstance`` sees its class; operators and other special
    methods are its own; a pickled or copied stand-in holds a pickled or copied object and is watched as well.
    """

    __slots__ = (*_SLOTS, "__weakref__")

    def __init__(self, target: Any, model: str, options: Options, plan: Plan) -> None:
        object.__setattr__(self, "_davy_target", target)
        object.__setattr__(self, "_davy_given", _Given(model, options, plan))
        object.__setattr__(self, "_davy_watches", {})

    @property
    def _davy_model(self) -> str:
        model: str = self._davy_given.model
        return model

    def _davy_again(self, target: Any) -> Any:
        return watch_object(target, *self._davy_given)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._davy_target, name)

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
        return portable(watch_object, self._davy_target, *self._davy_given)


def watch_object(target: Any, model: str, options: Options, plan: Plan | None = None) -> Any:
    """Return a stand-in for `target`, by default one whose predictions are captured, or its calls when it has none."""
    if plan is None:
        predicts = hasattr(target, "predict") or hasattr(target, "predict_proba")
        plan = {**(_PREDICTS if predicts else {}), **(_CALLED if callable(target) else {})}
    kind: type = type(target)
    return _class_for(kind, tuple(plan))(target, model, options, plan)


def _read_answers(target: Any, method: Callable[..., Any], model: str, options: Options) -> Watch:
    classes = getattr(target, "classes_", None)
    output = None if classes is None else "label"
    return _read_rows(target, method, model, options, output=output, classes=classes)


def _read_probabilities(target: Any, method: Callable[..., Any], model: str, options: Options) -> Watch:
    classes = getattr(target, "classes_", None)
    return _read_rows(target, method, model, options, output="probs", classes=classes)


def _read_rows(
    target: Any, method: Callable[..., Any], model: str, options: Options, **outputs: Any
) -> Watch:
    columns = getattr(target, "feature_names_in_", None)
    if hasattr(target, "fit") and options.batched is None:
        return EstimatorWatch(method, model, options, columns=columns, **outputs)
    if hasattr(target, "fit") or hasattr(target, "predict_proba"):
        return PredictorWatch(method, model, options, columns=columns, **outputs)
    return Watch(method, model, options, columns=columns, **outputs)


_PREDICTS: Final[Plan] = {"predict": _read_answers, "predict_proba": _read_probabilities}
_CALLED: Final[Plan] = {"__call__": _read_answers}


@lru_cache(maxsize=256)
def _class_for(kind: type, plan: tuple[str, ...]) -> type[WatchedObject]:
    names = {name for name in dir(kind) if name.startswith("__") and name.endswith("__")} - KEPT
    body: dict[str, Any] = {name: property(_look(name)) for name in plan}
    body |= {name: _forward(name) for name in names if callable(getattr(kind, name, None))}
    body |= {
        "__slots__": (),
        "__doc__": kind.__doc__,
        "__module__": kind.__module__,
        "__class__": property(lambda self: type(self._davy_target)),
    }
    return type(kind.__name__, (WatchedObject,), body)


def _look(name: str) -> Callable[[Any], Any]:
    """Return how a method is looked up that is captured."""

    def look(self: Any) -> Any:
        value = getattr(self._davy_target, name)
        found = self._davy_watches.get(name)
        if found is not None and type(value) is MethodType and value == found.method:
            return (
                found.wrapped
            )  # each look at an attribute makes another method of the same object and function
        return _watched(self, name, value) if callable(value) else value

    return look


def _forward(name: str) -> Callable[..., Any]:
    def special(self: Any, *args: Any, **kwargs: Any) -> Any:
        value = getattr(self._davy_target, name)
        if name in self._davy_given.plan:
            value = _watched(self, name, value)
        return value(*args, **kwargs)

    special.__name__ = name
    return special


class _Watched(NamedTuple):
    watch: Watch
    method: Callable[..., Any]
    wrapped: Callable[..., Any]


def _watched(proxy: Any, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    with _GUARD:
        found: _Watched | None = proxy._davy_watches.get(name)
        if found is not None and found.method is method:
            return found.wrapped
        target, given = proxy._davy_target, proxy._davy_given
        own = unwatched(method, given.model)  # decorated in the class, say
        if found is None:
            watch = given.plan[name](target, own, given.model, given.options.for_method(name))
        else:
            watch = found.watch
        wrapped = _method(target, given, name, own, watch)
        proxy._davy_watches[name] = _Watched(watch, method, wrapped)
        return wrapped
    return method


def _method(
    target: Any, given: _Given, name: str, method: Callable[..., Any], watch: Watch
) -> Callable[..., Any]:
    found: Callable[..., Any] = watched(
        method,
        watch.wrap(method),
        lambda: (getattr, (watch_object(target, *given), name)),
        given.model,
        lambda other: _method(target, given, name, other, watch),
    )
    return found
