"""Arrays and tensors of any library, as every path of the SDK reads them: shapes first, numbers only when they travel.

A shape is known without waiting for the numbers, so that what a call is gets decided before anything is copied. What
lies in main memory is read where it lies. What lies on an accelerator is copied in one go: all copies are begun, then
waited for once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from davy.event import Array
from davy.fields.arrays import foreign_array

_KINDS: Final = 1_024
_NESTED: Final = 4
_LOOKED_AT: Final = 64
_TABLES: Final = frozenset({"pandas", "polars", "pyarrow", "xarray"})
_known: dict[type, bool] = {np.ndarray: True}


def is_array(value: Any) -> bool:
    """Whether a value is an array or tensor of some library; a scalar, a frame and a column of one are none.

    Examples
    --------
    >>> is_array(np.zeros(3)), is_array(np.float32(1)), is_array([1.0])
    (True, False, False)
    """
    kind = type(value)
    found = _known.get(kind)
    if found is None:
        found = _is_array(kind)
        if len(_known) < _KINDS:
            _known[kind] = found
    return found


def _is_array(kind: type) -> bool:
    if issubclass(kind, np.generic):
        return False
    if _is_packed(kind):
        return True
    libraries = {str(base.__module__).partition(".")[0] for base in kind.__mro__}
    if libraries & _TABLES or not (hasattr(kind, "shape") and hasattr(kind, "dtype")):
        return hasattr(kind, "toarray") and hasattr(kind, "nnz")  # SciPy's sparse matrices hold their dtype
    if callable(getattr(kind, "shape", None)):
        return False  # it has a method of that name, and arrays have an attribute
    names = ("__array__", "__array_interface__", "__dlpack__", "detach", "numpy", "toarray")
    return any(hasattr(kind, name) for name in names)


def is_packed(value: Any) -> bool:
    """Whether a value is packed sequences of PyTorch, which for Python are a tuple."""
    return _is_packed(type(value))


def _is_packed(kind: type) -> bool:
    return kind.__name__ == "PackedSequence" and kind.__module__.startswith("torch.")


def is_ragged(value: Any) -> bool:
    """Whether an array is several of different lengths: a nested tensor, or packed sequences."""
    return getattr(value, "is_nested", False) or is_packed(value)


def shape_of(value: Any) -> tuple[int, ...]:
    """Return the shape of an array or tensor; of a nested tensor or packed sequences only how many there are."""
    if getattr(value, "is_nested", False):
        return (int(value.size(0)),)
    if is_packed(value):
        return (int(value.batch_sizes[0]),)
    return tuple(value.shape)


def is_real(value: Any) -> bool:
    """Whether a tensor holds numbers: a compiler, exporter or transformation looks at code with some that do not."""
    kind = type(value)
    if kind is np.ndarray:
        return True
    if _is_packed(kind):
        return is_real(value.data)
    library = str(kind.__module__).partition(".")[0]
    name = kind.__name__
    if library == "torch" or hasattr(value, "detach"):
        return not (value.is_meta or "Fake" in name or "Functional" in name or _is_transformed(value))
    if library == "tensorflow":
        return hasattr(value, "numpy")
    return "Tracer" not in name and name not in {"KerasTensor", "ShapeDtypeStruct"}


def _is_transformed(tensor: Any) -> bool:
    """Whether ``torch.func`` has put a tensor into another: one of many rows, or with its derivatives."""
    functorch = getattr(sys.modules["torch"]._C, "_functorch", None)
    ask = getattr(functorch, "is_functorch_wrapped_tensor", None)
    return bool(ask is not None and ask(tensor))


def as_array(value: Any) -> Array:
    """Return the numbers of an array or tensor, without gradients; narrow floats that NumPy lacks as float32.

    Raises
    ------
    ValueError
        It has none.
    """
    if type(value) is np.ndarray:
        return value
    if is_packed(value):
        return _sequences(value)
    found = foreign_array(value)
    if found is None and hasattr(
        value, "numpy"
    ):  # of ONNX Runtime and of others without the protocol of arrays
        found = np.asarray(value.numpy())
    if found is None:
        raise ValueError(f"{type(value).__name__} holds no array")
    return found


def _sequences(packed: Any) -> Array:
    """Return packed sequences as an array of objects, one array a sequence, in the order they were given in.

    The data are the first steps of all sequences, the longest first, then the second steps of those that have one.
    """
    data, sizes = as_array(packed.data), as_array(packed.batch_sizes)
    begins = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    lengths = np.searchsorted(-sizes, -np.arange(sizes[0]), side="left")
    order = np.arange(sizes[0]) if packed.unsorted_indices is None else as_array(packed.unsorted_indices)
    found = np.empty(len(order), dtype=object)
    for place, sequence in enumerate(order):
        found[place] = data[begins[: lengths[sequence]] + sequence]
    return found


def in_memory(value: Any) -> Array | None:
    """Return the numbers of a plain tensor of PyTorch where they lie in main memory; None of anything else."""
    kind = type(value)
    if kind.__name__ != "Tensor" or kind.__module__ != "torch":
        return None
    try:
        found: Array = value.detach().numpy()
    except (TypeError, RuntimeError):  # elsewhere, of a kind that NumPy does not have, or without numbers
        return None
    return found


def on_host(*sides: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return leaves with the tensors of an accelerator in main memory, also those in lists and mappings.

    All copies begin before the first is waited for, and there is one wait a device, whatever a call holds.
    """
    away: list[Any] = []
    found = [
        {name: _begun(value, away, 0) for name, value in side.items()}
        if any(map(_may_be_away, side.values()))
        else side
        for side in sides
    ]
    if away:
        _settle(away)
    return found


def _may_be_away(value: Any) -> bool:
    return is_away(value) or type(value) in {list, tuple, dict}


def _begun(value: Any, away: list[Any], depth: int) -> Any:
    """Return what will hold the numbers of a value when the copies that begin here are done."""
    if type(value) is np.ndarray or depth > _NESTED:
        return value
    if is_away(value):
        if hasattr(value, "copy_to_host_async"):  # of JAX, which waits when its numbers are read
            value.copy_to_host_async()
            return value
        away.append(value)
        return value.detach().to("cpu", non_blocking=True)
    if type(value) is dict:
        return {key: _begun(each, away, depth + 1) for key, each in value.items()}
    if type(value) in {list, tuple} and any(map(_may_be_away, value[:_LOOKED_AT])):
        return type(value)(_begun(each, away, depth + 1) for each in value)
    return value


def is_away(value: Any) -> bool:
    """Whether a tensor lies on an accelerator."""
    if not is_array(value):
        return False
    kind = getattr(getattr(value, "device", None), "type", None)
    return kind not in {"cpu", "meta"} if isinstance(kind, str) else hasattr(value, "copy_to_host_async")


def _settle(tensors: Iterable[Any]) -> None:
    """Wait until what was begun on the devices of some tensors is done: once for each device."""
    torch: Any = sys.modules["torch"]
    for device in {str(each.device): each.device for each in tensors}.values():
        module = getattr(torch, device.type, None)
        if module is not None and hasattr(module, "current_stream"):
            module.current_stream(device).synchronize()
        elif module is not None and hasattr(module, "synchronize"):
            module.synchronize()
