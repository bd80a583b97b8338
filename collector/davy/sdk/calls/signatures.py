"""What the arguments of a call are named: found through wrappers, compilers, partials and decorators."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from davy.fields.plumbing import is_plumbing

_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_VARIADIC: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_KEYWORD: Final = inspect.Parameter.KEYWORD_ONLY
_NUMBERS: Final = frozenset({bool, int, float})
_SCALARS: Final = (bool, int, float, str)
_LAYERS: Final = 16
"""So many wrappers are looked through, one inside the other."""
_WRAPPED: Final = (
    "__wrapped__", "_torchdynamo_orig_callable", "_orig_callable", "python_function", "py_func", "pyfunc", "_fun",
)  # fmt: skip
"""Where decorators and compilers hold the function they stand for."""
_INNER: Final = (
    "_orig_mod", "module", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "base_model",
    "model",
)  # fmt: skip
"""Where modules that pass their arguments on hold the module they pass them to."""


class Binder:
    """Names the arguments of one function, as ``inspect.signature`` would, in a fraction of the time.

    A function that takes anything is asked whom it passes that on to: the module in a compiled or distributed one, the
    function under a decorator. What still has no name is called by its place. Defaults that are numbers, booleans or
    text count as given, so that every call has the same fields. It is looked up when first wanted: the module of a
    pickle is there before its parts.

    Examples
    --------
    >>> Binder(lambda x, *more: x).bind((1, [2], [3]), {"y": 4})
    {'x': 1, 'y': 4, 'more_0': [2], 'more_1': [3]}
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    @functools.cached_property
    def _parameters(self) -> list[inspect.Parameter]:
        return parameters(self._function)

    @functools.cached_property
    def skipped(self) -> int:
        """How many arguments are the object or the class."""
        return int(bool(self._parameters) and self._parameters[0].name in {"self", "cls"})

    @functools.cached_property
    def _names(self) -> list[str]:
        return [each.name for each in self._parameters if each.kind in _POSITIONAL][self.skipped :]

    @functools.cached_property
    def _rest(self) -> str:
        variadic = inspect.Parameter.VAR_POSITIONAL
        return next((each.name for each in self._parameters if each.kind is variadic), "args")

    @functools.cached_property
    def defaults(self) -> dict[str, Any]:
        """The values that arguments have when they are not given, as far as they are scalars."""
        return {each.name: each.default for each in self._parameters if isinstance(each.default, _SCALARS)}

    def positional(self, count: int) -> list[str]:
        """Return the names of `count` arguments: empty for ``self`` and ``cls``, fewer when some have none."""
        return ([""] * self.skipped + self._names)[:count]

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments by name, without ``self`` and ``cls``."""
        names = self._names
        if self.skipped:
            args = args[self.skipped :]
        found = {**self.defaults, **dict(zip(names, args, strict=False)), **kwargs}
        if len(args) > len(names):
            found |= _unnamed(self._rest, args[len(names) :], found)
        return found

    def bind_data(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments by name, without what belongs to the server."""
        found = self.bind(args, kwargs)
        if any(map(is_plumbing, found.values())):
            return {name: value for name, value in found.items() if not is_plumbing(value)}
        return found


def _unnamed(name: str, values: Sequence[Any], taken: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments that have no name by their places; numbers stay together, as the vector they are."""
    if all(type(each) in _NUMBERS for each in values) and name not in taken:
        return {name: list(values)}
    named = {f"{name}_{place}": value for place, value in enumerate(values)}
    return {key: value for key, value in named.items() if key not in taken}


def parameters(function: Any) -> list[inspect.Parameter]:
    """Return the parameters that name the arguments of a callable; none where nothing is known of them.

    Examples
    --------
    >>> def passed_on(function):
    ...     return lambda *args, **kwargs: function(*args, **kwargs)
    >>> [each.name for each in parameters(passed_on(lambda age, income: 0))]
    ['age', 'income']
    """
    found = _own(function)
    for _ in range(_LAYERS):
        if found and not all(each.kind in _VARIADIC for each in found):
            break
        inner = _passed_on_to(function)
        if inner is None:
            break
        function = inner
        found = _own(function) or found
    return found


def _own(function: Any) -> list[inspect.Parameter]:
    """Return the parameters that a callable itself declares."""
    if isinstance(function, functools.partial):
        return _of_partial(function)
    schema = _schema(function)
    if schema is not None:
        return schema
    if _is_module(function):
        function = function.forward
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # written in C
        return []


def _of_partial(function: functools.partial[Any]) -> list[inspect.Parameter]:
    found = parameters(function.func)
    positional = [each for each in found if each.kind in _POSITIONAL]
    gone = {each.name for each in positional[: len(function.args)]}
    return [
        each.replace(kind=_KEYWORD, default=function.keywords[each.name])
        if each.name in function.keywords
        else each
        for each in found
        if each.name not in gone
    ]


def _schema(function: Any) -> list[inspect.Parameter] | None:
    """Return the parameters of what TorchScript made; None for anything else."""
    module = getattr(function, "_c", None) if _is_module(function) else None
    try:
        found = function.schema if module is None else module._get_method("forward").schema
        arguments = list(found.arguments)
    except Exception:  # noqa: BLE001 - not of TorchScript, or of another one than we know
        return None
    if not all(hasattr(each, "has_default_value") for each in arguments):
        return None
    if arguments and (module is not None or str(arguments[0].type).startswith("__torch__")):
        arguments = arguments[1:]  # the module itself, whatever it is called
    return [_of_schema(each) for each in arguments]


def _of_schema(argument: Any) -> inspect.Parameter:
    default = argument.default_value if argument.has_default_value() else inspect.Parameter.empty
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Parameter(str(argument.name), kind, default=default)


def _passed_on_to(function: Any) -> Any:
    """Return what a callable that takes anything passes it on to; None when nobody can tell."""
    owner = function if _is_module(function) else getattr(function, "__self__", None)
    if _is_module(owner):
        return _inner(owner)
    if isinstance(function, functools.partial):
        return None
    if owner is not None and getattr(function, "__name__", "") == "__call__":
        return owner  # an object that is called, and holds what it calls
    for name in _WRAPPED:
        found = getattr(function, name, None)
        if callable(found) and found is not function:
            return found
    called = [each for each in _enclosed(function) if callable(each) and not isinstance(each, type)]
    return called[0] if len(called) == 1 else None


def _inner(module: Any) -> Any:
    """Return the module in one that passes its arguments on: by the name it has there, or as the only one."""
    children = getattr(module, "_modules", {})
    for name in _INNER:
        found = children.get(name) or module.__dict__.get(name)
        if _is_module(found):
            return found
    held = [each for each in children.values() if each is not None]
    return held[0] if len(held) == 1 else None


def wrapped_modules(module: Any) -> Iterator[Any]:
    """Return a module and those it is a wrapper of, from the outside in."""
    for _ in range(_LAYERS):
        yield module
        held = [name for name in _INNER if name in getattr(module, "_modules", {})]
        if len(held) != 1 or len(module._modules) != 1:
            return
        module = module._modules[held[0]]


def _enclosed(function: Any) -> Iterator[Any]:
    for cell in getattr(function, "__closure__", None) or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            continue


def _is_module(value: Any) -> bool:
    """Whether a value is a module of PyTorch, asked without PyTorch."""
    kind = type(value)
    return any(base.__name__ == "Module" and base.__module__.startswith("torch.") for base in kind.__mro__)
