"""Modules of PyTorch whose batch is the second axis: time steps come first where ``batch_first`` is false.

The rule: **where the module that is watched, or the one it is a wrapper of, has ``batch_first`` and it is false, the
batch is the second axis of all arrays of three axes that share it**, and of token ids of two. Layers of PyTorch that
are made of such modules are asked for theirs. The weights of an attention have the batch first all the same. The state
of a recurrent layer has the layers first whatever it says; where its batch is the first axis, the state is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from davy.sdk.calls.opening import Leaves
from davy.sdk.calls.signatures import wrapped_modules
from davy.sdk.calls.tensors import is_array, is_ragged, shape_of

_LAYERS: Final = frozenset(f"torch.nn.modules.{name}" for name in ("rnn", "transformer", "activation"))
_STATE: Final = "hx"
_WEIGHTS: Final = frozenset({"output_1"})
_RECURRENT: Final = "torch.nn.modules.rnn"
_DEPTH: Final = 3


class Axes:
    """Moves the batch of one module to the front.

    Attributes
    ----------
    layer
        Whether the module is one of PyTorch's own, which say by two axes that they were given no batch.
    """

    __slots__ = ("_first", "layer")

    def __init__(self, kinds: frozenset[str]) -> None:
        self.layer = not _LAYERS.isdisjoint(kinds)
        self._first = _WEIGHTS if "torch.nn.modules.activation" in kinds else frozenset[str]()

    def batch(self, given: Mapping[str, Any]) -> int | None:
        """Return the number of inferences that arguments tell; None when no array among them has steps."""
        for name, value in given.items():
            if name != _STATE and is_array(value):
                if is_ragged(value):
                    return shape_of(value)[0]
                if self._has_steps(value):
                    return shape_of(value)[1]
        return None

    def to_front(self, leaves: Leaves, batch: int | None) -> Leaves:
        """Return arguments or answers with the batch as the first axis."""
        if batch is None:
            return leaves
        return {
            name: value if name in self._first else self._moved(value, batch)
            for name, value in leaves.items()
        }

    def _moved(self, value: Any, batch: int, depth: int = 0) -> Any:
        if is_array(value):
            moves = self._has_steps(value) and shape_of(value)[1] == batch
            return value.swapaxes(0, 1) if moves else value
        if type(value) in {list, tuple} and depth < _DEPTH:
            return type(value)(self._moved(each, batch, depth + 1) for each in value)
        return value

    def _has_steps(self, value: Any) -> bool:
        if is_ragged(value):
            return False
        axes = len(shape_of(value))
        return axes == 3 or (axes == 2 and not self.layer and "int" in str(value.dtype))


def layers_first(module: Any) -> tuple[frozenset[str], frozenset[str]]:
    """Return the arguments and answers whose first axis is the layers, of a recurrent layer with ``batch_first``."""
    for each in wrapped_modules(module):
        if _RECURRENT in {base.__module__ for base in type(each).__mro__} and getattr(
            each, "batch_first", False
        ):
            return _with_parts(_STATE), _with_parts("output_1")
    return frozenset(), frozenset()


def _with_parts(name: str) -> frozenset[str]:
    return frozenset({name, f"{name}.0", f"{name}.1"})


def axes_of(module: Any) -> Axes | None:
    """Return how the batch of a module gets to the front; None where it is there, as in most."""
    for each in wrapped_modules(module):
        kinds = frozenset(base.__module__ for base in type(each).__mro__)
        parts = [each] if _LAYERS.isdisjoint(kinds) else each.modules()
        found = next((part.batch_first for part in parts if hasattr(part, "batch_first")), None)
        if found is False:
            return Axes(kinds)
    return None
