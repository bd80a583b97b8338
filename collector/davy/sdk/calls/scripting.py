"""TorchScript compiles the hooks of a module along with it; those that watch it are Python and are kept out of it.

``torch.jit.script`` has no way to say so, thus the function it compiles modules by gets the module without them. What
it makes is watched like the module; a module inside of the compiled one runs unseen from then on, which is counted.
"""

from __future__ import annotations

import functools
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from davy.sdk.guard import Guard, warn
from davy.sdk.home import HOME

_HOOKS: Final = ("_forward_hooks", "_forward_pre_hooks")
_GUARD: Final = Guard("integration")
_REMEDY: Final = "a module inside of a scripted one is not seen; watch what torch.jit.script gives"


def scripted(module: Any) -> bool:
    """Whether a module is TorchScript's, whose layers are called where no hook of Python's is."""
    return isinstance(module, sys.modules["torch"].jit.ScriptModule)


def let_script(
    is_ours: Callable[[Any], bool],
    hook: Callable[[Any, Sequence[Any]], None],
    take: Callable[[Any], Sequence[tuple[str, Any]]],
) -> None:
    """Make TorchScript compile modules under watch.

    Parameters
    ----------
    is_ours
        Whether a hook watches.
    hook
        Adds hooks to a module.
    take
        Takes from a module what stands before its methods, and returns it by name.
    """
    with _GUARD:
        import torch.jit._recursive as recursive

        compiled = getattr(recursive, "create_script_module", None)
        if compiled is None or hasattr(compiled, "_davy"):
            return  # of a PyTorch that does it in another way

        @functools.wraps(compiled)
        def create_script_module(nn_module: Any, *args: Any, **kwargs: Any) -> Any:
            with _without(nn_module, is_ours, take) as held:
                found = compiled(nn_module, *args, **kwargs)
            with _GUARD:
                _take_over(nn_module, found, held, hook)
            return found

        create_script_module._davy = True  # type: ignore[attr-defined]
        recursive.create_script_module = create_script_module


def _take_over(
    module: Any, found: Any, held: dict[Any, list[Any]], hook: Callable[[Any, Sequence[Any]], None]
) -> None:
    """Watch what was compiled as the module was; count modules in it that are seen no more."""
    own = held.pop(module, [])
    if own and scripted(found):
        hook(found, own)
    if any(type(each).__name__ == "_End" for hooks in held.values() for each in hooks):
        HOME.integration_failed += 1
        warn("integration", _REMEDY)


@contextmanager
def _without(
    module: Any, is_ours: Callable[[Any], bool], take: Callable[[Any], Sequence[tuple[str, Any]]]
) -> Iterator[dict[Any, list[Any]]]:
    """Take the hooks that watch from a module and those in it; return them by module.

    The dictionaries are exchanged whole, so that a call in another thread goes on with the one it has.
    """
    held: dict[Any, list[Any]] = {}
    before: list[tuple[Any, str, Any]] = []
    with _GUARD:
        for each in module.modules():
            before += [(each, name, found) for name, found in take(each)]
            for name in _HOOKS:
                hooks = each.__dict__.get(name)
                if not hooks or not any(map(is_ours, hooks.values())):
                    continue
                held.setdefault(each, []).extend(filter(is_ours, hooks.values()))
                before.append((each, name, hooks))
                each.__dict__[name] = OrderedDict(
                    (key, hook) for key, hook in hooks.items() if not is_ours(hook)
                )
    try:
        yield held
    finally:
        for each, name, hooks in before:
            each.__dict__[name] = hooks
