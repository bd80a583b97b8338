"""PyTorch: a module is watched by a forward hook, so that it stays the very object it was.

State, training mode, pickling, copying, compiling and nesting are the module's own; the hook goes along with copies
and pickles, and with what TorchScript makes of the module. Tensors are detached when they are captured; those of an
accelerator are copied to main memory, and the call waits for them once.
"""

from __future__ import annotations

import functools
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np

from davy.event import Array
from davy.fields.detections import class_names
from davy.sdk.calls.axes import Axes, axes_of, layers_first
from davy.sdk.calls.batches import first_row
from davy.sdk.calls.opening import Leaves
from davy.sdk.calls.scripting import let_script, scripted
from davy.sdk.calls.signatures import wrapped_modules
from davy.sdk.calls.tensors import as_array, in_memory, is_array, is_away, is_ragged, is_real, shape_of
from davy.sdk.fields import Columns
from davy.sdk.guard import Guard, warn
from davy.sdk.home import HOME
from davy.sdk.integrations._arrays import ArrayWatch, named_ids
from davy.sdk.integrations.entrances import stand_before, without_entrances
from davy.sdk.integrations.generating import Likelihoods, generates, hook_generate, last_token
from davy.sdk.options import Options
from davy.sdk.watching import NOBODY

MEANS: Final = frozenset({"embedding", "members", "tokenizer"})
_GUARD: Final = Guard("watch")
_CLASSIFIER: Final = re.compile("For(Sequence|Image|Audio|Video)Classification")
_ALTERNATIVE: Final = Guard("members")


def matches(target: Any) -> bool:
    """Whether it is a module."""
    return isinstance(target, sys.modules["torch"].nn.Module)


def watch(target: Any, model: str, options: Options) -> Any:
    """Hook into `target` and give it back; watched again under the same name, it is captured once."""
    layer = None if options.embedding is None else _layer(target, options.embedding)
    _unhook(target, model)
    let_script(_is_ours, _hook, without_entrances)
    held = list(wrapped_modules(target))[-1]
    if options.class_names is None and _CLASSIFIER.search(type(held).__name__):  # of Hugging Face
        options = options._replace(class_names=named_ids(getattr(held, "config", None)))
    if options.class_names is None:  # of MMDetection
        options = options._replace(class_names=class_names(held))
    call = _Call(target, model, options)
    hook_generate(target, call, model, options)
    stand_before(target, call, model, options)
    _hook(target, [_Begin(call), _End(call)])
    if layer is not None:
        layer.register_forward_hook(_Layer(call))
    return target


def calls_module(function: Any) -> bool:
    """Whether a function is ``forward`` of a module, or a partial of a module or of that."""
    while isinstance(function, functools.partial):
        function = function.func
    if getattr(function, "__name__", "") in {"forward", "__call__", "_wrapped_call_impl"}:
        function = getattr(function, "__self__", None)
    return matches(function)


def watch_function(function: Any, model: str, options: Options) -> ArrayWatch:
    """Return how calls of such a function are read."""
    held = function
    while not matches(held):
        held = held.func if isinstance(held, functools.partial) else held.__self__
    return _ModuleWatch(function, model, options, module=held)


def _layer(target: Any, name: str) -> Any:
    """Return the layer of a module that is called so, or of the one it is a wrapper of."""
    for module in wrapped_modules(target):
        found = dict(module.named_modules()).get(name)
        if found is not None:
            return found if not scripted(found) else None
    return target.get_submodule(name)  # which says what is wrong


def _hook(module: Any, hooks: Sequence[Any]) -> None:
    """Hook into a module, also one of TorchScript, which has the methods for it only by its base."""
    register = sys.modules["torch"].nn.Module
    for hook in hooks:
        if isinstance(hook, _Begin):
            register.register_forward_pre_hook(module, hook)
        elif isinstance(hook, _End):
            register.register_forward_hook(module, hook, with_kwargs=True)


def _is_ours(hook: Any) -> bool:
    return isinstance(hook, _Hook)


def _unhook(target: Any, model: str) -> None:
    for module in target.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            for key, hook in list(hooks.items()):
                if isinstance(hook, _Hook) and hook.call.model == model:
                    del hooks[key]


class _Hook:
    def __init__(self, call: _Call) -> None:
        self.call = call

    @property
    def __name__(self) -> str:
        """Only TorchScript asks, and only one that compiles modules in another way than `let_script` knows."""
        raise AttributeError("a module under watch cannot be scripted here: script first, then watch")


class _Begin(_Hook):
    def __call__(self, module: Any, _args: Any) -> None:
        if _compiled():
            return
        self.call.begin()
        last = next(reversed(module._forward_hooks.values()), None)
        if type(last) is not _End or last.call is not self.call:
            with _GUARD:
                _move_to_end(module._forward_hooks, self.call)


def _move_to_end(hooks: Any, call: _Call) -> None:
    """Capture the call after hooks that were registered later and may replace the answer."""
    for key, hook in hooks.items():
        if type(hook) is _End and hook.call is call:
            hooks.move_to_end(key)
            return


class _Layer(_Hook):
    def __call__(self, _module: Any, _args: Any, result: Any) -> None:
        if not _traced():
            with _GUARD:
                self.call.keep_embedding(result)


class _End(_Hook):
    def __call__(self, _module: Any, args: Any, kwargs: Any, result: Any) -> None:
        if not _compiled():
            self.call.observe_now(args, kwargs, result)
        elif _may_break():
            _unseen(self.call, args, kwargs, result)


class _ModuleWatch(ArrayWatch):
    """Reads calls of a module, whose batch need not be the first axis."""

    def __init__(self, function: Any, model: str, options: Options, *, module: Any) -> None:
        super().__init__(function, model, options)
        self._axes: Axes | None = axes_of(module)
        for habits, names in zip(self._habits.values(), layers_first(module), strict=True):
            habits.apart.update(names)

    def given(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Leaves:
        found = super().given(args, kwargs)
        return found if self._axes is None else self._axes.to_front(found, self._axes.batch(found))

    def chosen(self, args: Sequence[Any], kwargs: Mapping[str, Any], given: Leaves) -> Leaves:
        found = super().chosen(args, kwargs, given)
        if self._axes is None or self._transform is None:
            return found
        return self._axes.to_front(found, self._batch(args, kwargs))

    def answered(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Leaves:
        found = super().answered(args, kwargs, result)
        return found if self._axes is None else self._axes.to_front(found, self._batch(args, kwargs))

    def _batch(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int | None:
        return None if self._axes is None else self._axes.batch(super().given(args, kwargs))

    def size(self, given: Leaves, answered: Leaves) -> int | None:
        axes = self._axes
        if axes is not None and axes.layer and not any(map(_has_batch, given.values())):
            return None  # a layer of PyTorch that is given one sequence of two axes
        return super().size(given, answered)


class _EntranceWatch(_ModuleWatch):
    """Reads calls of another method than `forward`, whose answers are named by themselves."""

    def __init__(self, method: Any, name: str, model: str, options: Options, *, module: Any) -> None:
        super().__init__(method, model, options, module=module)
        self._method_name = name

    def _judge_output(self, output: str, answers: Array) -> str:
        return super()._judge_output(f"{self._method_name}().{output}", answers)


def _has_batch(value: Any) -> bool:
    return is_array(value) and (is_ragged(value) or len(shape_of(value)) == 3)


class _Call(_ModuleWatch):
    """Reads the calls of one module; shared by its hooks."""

    def __init__(self, module: Any, model: str, options: Options) -> None:
        super().__init__(module, model, options.for_shadow(_without_gradients), module=module)
        self._given = (module, model, options)
        self._members = _named_members(model, options.members)
        self._wants_embedding = options.embedding is not None
        if self._wants_embedding:
            self._beside = self._embedding
        self.now = _Now()

    def __reduce__(self) -> Any:
        return _Call, self._given

    @cached_property
    def _generates(self) -> bool:
        return generates(self._given[0])

    def beside_forward(self, method: Any, name: str, options: Options) -> _EntranceWatch:
        """Return how calls of another method of the module are read."""
        options = options._replace(shadow=None, embedding=None, members=None)
        return _EntranceWatch(method, name, self.model, options, module=self._given[0])

    def begin(self) -> None:
        """Note that a call begins, unless it is a member's."""
        if not self.now.busy:
            self.now.started, self.now.embedding = time.perf_counter_ns(), None

    def observe_now(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> None:
        """Capture the call that ends now, unless it is a member's."""
        now = self.now
        if now.busy:
            if now.likelihoods is not None:
                now.likelihoods.took(args, kwargs, result)
            return
        if _tracing():
            return
        if self._generates:
            with _GUARD:
                result = last_token(args, kwargs, result, whole=self._output == "logits")
        self.observe(args, kwargs, result, now.started)
        now.started, now.embedding = 0, None

    def _embedding(self) -> Any:
        return self.now.embedding

    def keep_embedding(self, result: Any) -> None:
        """Keep what the layer answered: what follows it may work in place."""
        if self.now.busy:
            return
        found = result[0] if isinstance(result, (list, tuple)) else result
        if self._axes is not None and is_array(found) and len(shape_of(found)) == 3:
            found = found.swapaxes(0, 1)
        array = in_memory(found)
        if array is not None:
            self.now.embedding = _vectors(array.copy())
        elif is_array(found) and is_real(found):
            # that of an accelerator stays there: to fetch it now would hold up what the module does next
            self.now.embedding = (
                found.detach().clone() if is_away(found) else _vectors(as_array(found).copy())
            )

    def rows(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int | None:
        if _traced():
            return NOBODY
        found = super().rows(args, kwargs, result)
        return 1 if found is None and self._members else found  # alternatives are columns

    def columns(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Columns:
        rows = self.reading(args, kwargs, result).rows
        found = super().columns(args, kwargs, result)
        kept = self.now.embedding
        if kept is not None and type(kept) is not np.ndarray:  # it was left on its device until now
            kept = _vectors(as_array(kept))
        if kept is not None and len(kept) == (rows or 1):
            found = found._replace(embedding=kept)
        elif kept is not None and rows is None and kept.ndim == 1:
            found = found._replace(embedding=kept[None])
        elif self._wants_embedding and found.embedding is None:
            self._lose("embedding", rows, "", "compiled" if kept is None else "length")
        return found._replace(alternatives=dict(self._alternatives(args, kwargs, rows)))

    def shadow_outputs(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any, rows: int | None
    ) -> Mapping[str, Any]:
        given, answered = self.given(args, kwargs), self.answered(args, kwargs, result)
        found = self.outputs(answered, self._count(args, kwargs, given, answered))
        found.pop("embedding", None)
        return first_row(found) if rows is None else found

    def _alternatives(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], rows: int | None
    ) -> Iterator[tuple[str, dict[str, Array]]]:
        if not self._members:
            return
        import torch

        self.now.busy = True
        try:
            with torch.no_grad():
                for name, member in self._members.items():
                    with _ALTERNATIVE:
                        found = self.outputs(self.answered(args, kwargs, member(*args, **kwargs)), rows)
                        found.pop("embedding", None)
                        yield name, found
                        continue
                    HOME.integration_failed += 1
        finally:
            self.now.busy = False


def _without_gradients(model: Callable[..., Any]) -> Callable[..., Any]:
    import torch

    quiet: Callable[..., Any] = torch.no_grad()(model)
    return quiet


class _Now(threading.local):
    """What a thread knows of the call under way."""

    started = 0
    embedding: Any = None
    busy = False
    likelihoods: Likelihoods | None = None
    """Of the tokens that are being generated, while the module is busy with that."""


def _traced() -> bool:
    """Whether the call serves no one: a compiler or exporter looks at what the module does."""
    return _compiled() or _tracing()


def _tracing() -> bool:
    import torch

    return bool(torch.jit.is_tracing())


def _compiled() -> bool:
    import torch

    return bool(torch.compiler.is_compiling())


def _observe(call: _Call, args: Any, kwargs: Any, result: Any) -> None:
    call.observe_now(args, kwargs, result)


_unseen: Callable[..., None] = _observe
"""Observes a call outside of the graph: once a module is compiled, a function that the compiler keeps out of."""


def _may_break() -> bool:
    """Whether the compiler may leave its graph here: it calls this once while it traces a module under watch."""
    global _unseen  # noqa: PLW0603 - the compiler looks it up anew after this
    try:
        import torch
        from torch._dynamo.symbolic_convert import InstructionTranslator

        if _unseen is _observe:
            _unseen = torch.compiler.disable(_observe)
        if torch.compiler.is_exporting():
            return False  # nothing is missed: the call serves no one
        whole = bool(InstructionTranslator.current_tx().one_graph)
    except (ImportError, AttributeError, AssertionError, RuntimeError):  # internals of PyTorch move
        whole = True
    if whole:
        HOME.integration_failed += 1
        warn(
            "integration", "a graph compiled whole cannot be captured; watch what torch.compile gives instead"
        )
    return not whole


# As `torch.compiler.assume_constant_result` says it, which would import the whole compiler: seconds and 150 MB.
_may_break._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _named_members(model: str, members: Any) -> dict[str, Callable[..., Any]]:
    if isinstance(members, Mapping):
        return {str(name): member for name, member in members.items()}
    name, _, version = model.partition(":")
    return {f"{name}:{version}-member-{i}": member for i, member in enumerate(members or (), 1)}


def _vectors(array: Array) -> Array:
    """Average what a layer says of places: ``(n, channels, …)`` over all places, ``(n, tokens, d)`` over the tokens."""
    if array.ndim < 3:
        return array
    axes = (1,) if array.ndim == 3 else tuple(range(2, array.ndim))
    return np.asarray(array.mean(axis=axes))
