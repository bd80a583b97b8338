"""Arrays of any library as arrays of NumPy that travel: masked, narrow, sparse, on a device, pictures."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from davy.event import Array

TENSORS: Final = frozenset(
    map(np.dtype, ("?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"))
)
WHOLE: Final = 2**53
"""Up to here a float of 64 bits holds every integer."""
_LIBRARIES: Final = frozenset({"torch", "PIL", "pandas", "polars", "pyarrow"})


def as_array(value: Any) -> Array | None:
    """Return an array that travels when the value is one or knows how to become one, else None.

    Narrow floats that NumPy does not know itself (bfloat16, float8) become float32, narrow integers int8, extended
    precision float64; moments and spans are not arrays of numbers.
    """
    array = foreign_array(value)
    if array is None:
        return None
    return numeric(array)


def numeric(array: Array) -> Array | None:
    """Return an array of numbers in a dtype that travels, little-endian; None when it holds something else."""
    dtype = array.dtype
    if dtype in TENSORS:
        return array
    if dtype.kind in "buif":
        little = array.astype(dtype.newbyteorder("<"), copy=False)
        return little if little.dtype in TENSORS else array.astype(np.float64)
    if dtype.kind == "V" and dtype.names is None and dtype.type is not np.void:  # ml_dtypes' own types
        return array.astype(np.int8 if "int" in dtype.name else np.float32)
    return None


def is_masked(value: Any) -> bool:
    """Whether a value is a masked array of NumPy."""
    masked = getattr(sys.modules.get("numpy.ma"), "MaskedArray", None)  # another thread may be importing it
    return masked is not None and issubclass(type(value), masked)


def unmasked(array: Array) -> Array:
    """Return a masked array without its mask: what it hides is missing, NaN among numbers and None among others."""
    if not is_masked(array):
        return array
    masked: Any = sys.modules["numpy.ma"]
    found: Any = array
    if found.mask is masked.nomask or not found.mask.any():
        return np.asarray(found.data)
    if found.dtype.kind in "buif":
        return np.asarray(found.astype(np.promote_types(found.dtype, np.float16)).filled(np.nan))
    if found.dtype.kind in "mM":
        return np.asarray(found.filled(np.array("NaT", found.dtype)))
    return np.asarray(found.astype(object).filled(None))


def foreign_array(value: Any) -> Array | None:
    """Return what a value of another library is as an array of NumPy, without a copy where that can be."""
    if isinstance(value, np.ndarray):
        return unmasked(value)
    kind = library_of(value)
    if kind == "torch":
        return _from_torch(value)
    if hasattr(value, "todense") and hasattr(value, "toarray"):  # SciPy's sparse matrices
        return np.asarray(value.toarray())
    if not hasattr(value, "__array__") and not hasattr(value, "__array_interface__"):
        return None
    if kind == "PIL":
        return picture(value)
    try:
        return np.asarray(value)
    except (ValueError, TypeError):
        return None


def _from_torch(value: Any) -> Array | None:
    """Return a tensor as an array, without a copy where it lies in main memory in a dtype that NumPy has."""
    if not hasattr(value, "detach"):
        return None
    torch: Any = sys.modules["torch"]
    tensor = value.detach()
    if tensor.is_cpu and tensor.dtype in (torch.float32, torch.int64, torch.float64):
        try:  # as nearly all tensors are
            found: Array = tensor.numpy()
        except (RuntimeError, TypeError):
            pass  # it is sparse, nested or negated in its flags only
        else:
            return found
    if tensor.is_nested:
        return _of_parts(tensor.unbind())
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_floating_point() and tensor.dtype not in {torch.float16, torch.float32, torch.float64}:
        tensor = tensor.float()  # bfloat16 and the formats of 8 bits, which NumPy does not have
    if tensor.device.type != "cpu":
        tensor = tensor.cpu()
    if tensor.is_conj() or tensor.is_neg():
        tensor = tensor.resolve_conj().resolve_neg()
    other: Array = tensor.numpy()
    return other


def _of_parts(parts: Sequence[Any]) -> Array:
    """Return arrays of different lengths as an array of objects."""
    found = np.empty(len(parts), dtype=object)
    for place, part in enumerate(parts):
        found[place] = _from_torch(part)
    return found


def picture(image: Any) -> Array:
    """Return the pixels of an image of Pillow: (height, width) or (height, width, channels)."""
    if image.mode in {"P", "PA"}:
        image = image.convert("RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB")
    elif image.mode in {"CMYK", "YCbCr", "LAB", "HSV", "RGBX", "RGBa", "La"}:
        image = image.convert({"RGBa": "RGBA", "La": "LA"}.get(image.mode, "RGB"))
    return np.asarray(image)


def library_of(value: Any) -> str:
    """Return the library that a value's type comes from."""
    for kind in type(value).__mro__[:-1]:
        name = str(kind.__module__).partition(".")[0]
        if name in _LIBRARIES:
            return name
    return ""
