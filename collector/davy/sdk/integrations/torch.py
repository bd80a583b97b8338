"""PyTorch: a module is watched by a forward hook, so that it stays the very object it was.

State, training mode, pickling, copying, compiling and nesting are the module's own; the hook goes along with copies
and pickles. Tensors are detached and copied to the CPU when they are captured.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Final

import numpy as np

from davy.event import Array
from davy.sdk.fields import Columns, input_columns
from davy.sdk.guard import Guard, warn
from davy.sdk.home import HOME
from davy.sdk.integrations._arrays import as_rows, canonical, column, shared_rows
from davy.sdk.watching import Options, Watch

_GUARD: Final = Guard("watch")
_ALTERNATIVE: Final = Guard("members")


def matches(target: Any) -> bool:
    """Whether it is a module."""
    return isinstance(target, sys.modules["torch"].nn.Module)


def watch(target: Any, model: str, options: Options) -> Any:
    """Hook into `target` and give it back; watched again under the same name, it is captured once."""
    layer = None if options.embedding is None else target.get_submodule(options.embedding)
    _unhook(target, model)
    sys.modules["torch"].compiler.assume_constant_result(_may_break)
    call = _Call(target.forward, model, options)
    target.register_forward_pre_hook(_Begin(call))
    target.register_forward_hook(_End(call), with_kwargs=True)
    if layer is not None:
        layer.register_forward_hook(_Layer(call))
    return target


def _unhook(target: Any, model: str) -> None:
    for module in target.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            for key, hook in list(hooks.items()):
                if isinstance(hook, _Hook) and hook.call.model == model:
                    del hooks[key]


class _Hook:
    def __init__(self, call: _Call) -> None:
        self.call = call


class _Begin(_Hook):
    def __call__(self, _module: Any, _args: Any) -> None:
        if not _traced():
            self.call.begin()


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
            self.call.unseen(args, kwargs, result)


class _Call(Watch):
    """Reads the calls of one module; shared by its hooks."""

    def __init__(self, forward: Callable[..., Any], model: str, options: Options) -> None:
        super().__init__(forward, model, options.for_shadow(_without_gradients))
        self._given = (forward, model, options)
        self._members = _named_members(model, options.members)
        self.now = _Now()
        import torch

        self.unseen = torch.compiler.disable(self.observe_now)

    def __reduce__(self) -> Any:
        return _Call, self._given

    def begin(self) -> None:
        """Note that a call begins, unless it is a member's."""
        if not self.now.busy:
            self.now.started, self.now.embedding = time.perf_counter_ns(), None

    def observe_now(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> None:
        """Capture the call that ends now, unless it is a member's."""
        now = self.now
        if now.busy:
            return
        self.observe(args, kwargs, result, now.started or time.perf_counter_ns())
        now.started, now.embedding = 0, None

    def keep_embedding(self, result: Any) -> None:
        """Keep what the layer answered: what follows it may work in place."""
        if not self.now.busy and not any(map(_unreal, _tensors(result))):
            self.now.embedding = _vectors(_numpy(result, copy=True))

    def rows(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int:
        if _traced() or any(_unreal(each) for each in (*_tensors(result), *_tensors((args, kwargs)))):
            return 0
        return self._rows(args, kwargs, result) or 1

    def columns(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Columns:
        rows = self._rows(args, kwargs, result)
        given = self.arguments(args, kwargs)
        inputs = {name: _numpy(value) for name, value in _flat(given) if _has_rows(value)}
        outputs = self._outputs(result, rows)
        embedding = outputs.pop("embedding", None)
        kept = self.now.embedding
        if kept is not None and len(kept) == (rows or 1):
            embedding = kept
        elif kept is not None and rows is None and kept.ndim == 1:
            embedding = kept[None]
        return Columns(
            input_columns(as_rows(inputs, rows), self._columns),
            outputs,
            embedding,
            dict(self._alternatives(args, kwargs, rows)),
        )

    def shadow_outputs(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any, rows: int | None
    ) -> Mapping[str, Any]:
        del rows
        found = self._outputs(result, self._rows(args, kwargs, result))
        found.pop("embedding", None)
        return found

    def _rows(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int | None:
        if isinstance(result, list) and result and all(isinstance(each, Mapping) for each in result):
            return len(result)  # detection: boxes of each image
        given = [each for each in _tensors((args, kwargs)) if _has_rows(each)]
        return shared_rows(given, [value for _, value in _answers(result)])

    def _outputs(self, result: Any, rows: int | None) -> dict[str, Array]:
        if isinstance(result, list) and rows is not None and rows == len(result):
            names = dict.fromkeys(name for each in result for name in each)
            return {name: column(_value(each.get(name)) for each in result) for name in names}
        found = {name: _numpy(value) for name, value in _answers(result)}
        embedding = found.pop("embedding", None)
        outputs = canonical(as_rows(found, rows), self._output)
        return outputs if embedding is None else {**outputs, **as_rows({"embedding": embedding}, rows)}

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
                        found = self._outputs(member(*args, **kwargs), rows)
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
    embedding: Array | None = None
    busy = False


def _traced() -> bool:
    """Whether the call serves no one: a compiler or exporter looks at what the module does."""
    import torch

    return _compiled() or bool(torch.jit.is_tracing())


def _compiled() -> bool:
    import torch

    return bool(torch.compiler.is_compiling())


def _may_break() -> bool:
    """Whether the compiler may leave its graph here: it calls this once while it traces a module under watch."""
    try:
        import torch
        from torch._dynamo.symbolic_convert import InstructionTranslator

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


def _named_members(model: str, members: Any) -> dict[str, Callable[..., Any]]:
    if isinstance(members, Mapping):
        return {str(name): member for name, member in members.items()}
    name, _, version = model.partition(":")
    return {f"{name}:{version}-member-{i}": member for i, member in enumerate(members or (), 1)}


def _answers(result: Any) -> list[tuple[str, Any]]:
    if isinstance(result, sys.modules["torch"].Tensor):
        return [("", result)]
    return [(name, value) for name, value in _flat(_record(result)) if len(value.shape)]


def _record(result: Any) -> Mapping[str, Any]:
    if isinstance(result, Mapping):
        return result
    if is_dataclass(result):
        return {field.name: getattr(result, field.name) for field in fields(result)}
    if hasattr(result, "_asdict"):
        return dict(result._asdict())
    if isinstance(result, (list, tuple)):
        return {f"output_{i}": value for i, value in enumerate(result)}
    return {}


def _flat(named: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in named.items():
        if _has_rows(value) or _is_array(value):
            yield str(name), value


def _tensors(value: Any) -> Iterator[Any]:
    if isinstance(value, sys.modules["torch"].Tensor):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _tensors(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _tensors(each)


def _is_array(value: Any) -> bool:
    return isinstance(value, (sys.modules["torch"].Tensor, np.ndarray))


def _has_rows(value: Any) -> bool:
    return _is_array(value) and len(value.shape) > 0


def _unreal(tensor: Any) -> bool:
    return bool(tensor.is_meta) or "Fake" in type(tensor).__name__ or "Functional" in type(tensor).__name__


def _numpy(value: Any, *, copy: bool = False) -> Array:
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, (list, tuple)):
        value = value[0]
    torch = sys.modules["torch"]
    found = value.detach()
    if found.is_quantized:
        found = found.dequantize()
    if found.layout != torch.strided:
        found = found.to_dense()
    if found.is_floating_point() and found.dtype not in {torch.float16, torch.float32, torch.float64}:
        found = found.float()  # bfloat16 and the 8-bit formats, which NumPy does not have
    array: Array = found.cpu().resolve_conj().resolve_neg().numpy()
    return array.copy() if copy else array


def _value(value: Any) -> Any:
    return _numpy(value) if isinstance(value, sys.modules["torch"].Tensor) else value


def _vectors(array: Array) -> Array:
    """Average what a layer says of places: ``(n, channels, …)`` over all places, ``(n, tokens, d)`` over the tokens."""
    if array.ndim < 3:
        return array
    axes = (1,) if array.ndim == 3 else tuple(range(2, array.ndim))
    return np.asarray(array.mean(axis=axes))
