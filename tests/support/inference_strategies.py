"""What a serving app may hand over as a field, for Hypothesis, and when it has come through intact."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from davy.codec import Chunk, decode, pack
from davy.event import BlobRef, Inference

OIP_DTYPES = ("?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")

anything_textual = st.text(st.characters(exclude_categories=()), max_size=8)
names = st.text(min_size=1, max_size=6)
references = st.builds(
    BlobRef, hash=st.text("0123456789abcdef", max_size=8), length=st.integers(0, 2**40), media_type=names
)
scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.floats(width=32).map(np.float32),
    st.integers(0, 255).map(np.uint8),
    st.booleans().map(np.bool_),
)
texts = st.one_of(anything_textual, st.binary(max_size=8), references)


@st.composite
def tensors(draw: st.DrawFn, max_dims: int = 3) -> Any:
    """An array of any dtype of the Open Inference Protocol: empty, big-endian, transposed and strided ones too."""
    dtype = np.dtype(draw(st.sampled_from(OIP_DTYPES))).newbyteorder(draw(st.sampled_from("<>")))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=max_dims, min_side=0, max_side=3))
    array = draw(hnp.arrays(dtype, shape))
    return draw(
        st.sampled_from(
            [array, array.T, array[::-1] if array.ndim else array, array[..., ::2] if array.ndim else array]
        )
    )


containers = st.recursive(
    st.one_of(st.none(), scalars, texts, tensors(2)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)),
    max_leaves=6,
)
values = st.one_of(st.none(), scalars, texts, tensors(), containers)


_AS_LISTS = frozenset(map(np.dtype, ("?", "i8", "f8")))
"""What lists of numbers become: a field of these holds what holds them all."""


def travelled(chunks: Iterable[Chunk]) -> list[Inference]:
    """Pack chunks, those that follow one another in one layout together, and read them back."""
    found: list[Inference] = []
    for _, group in groupby(chunks, key=lambda chunk: chunk.layout):
        found += decode(pack(list(group))).inferences()
    return found


def intact(given: Any, found: Any, *, listed: bool = False) -> bool:
    """Whether a value came through: equal, an array in its own dtype, numbers in a list as one array."""
    if isinstance(given, np.generic) or (isinstance(given, np.ndarray) and given.ndim == 0):
        given = given.item()
    if _missing(given) or _missing(found):
        return _missing(given) and _missing(found)
    if isinstance(given, (bool, int, float)):
        return isinstance(found, (bool, int, float)) and _same_number(given, found, listed)
    if isinstance(given, dict):
        return given.keys() == found.keys() and all(
            intact(given[key], found[key], listed=listed) for key in given
        )
    if isinstance(given, (list, tuple)):
        found = found.tolist() if isinstance(found, np.ndarray) else found
        return len(given) == len(found) and all(map(partial(intact, listed=True), given, found))
    if isinstance(given, np.ndarray):
        array = np.asarray(found)
        if not given.size and not isinstance(found, np.ndarray):  # inside a list, whose lists tell no shape
            return not array.size
        own = given.dtype.newbyteorder("=")
        if not listed and own != array.dtype and not {own, array.dtype} <= _AS_LISTS:
            return False
        cast = given.astype(array.dtype)
        floating = array.dtype.kind == "f"
        return given.shape == array.shape and np.array_equal(cast, array, equal_nan=floating)
    return type(given) is type(found) and bool(given == found)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _same_number(given: float, found: float, listed: bool) -> bool:
    if given != given:
        return found != found
    if given == 0 and isinstance(given, float):
        return found == 0 and math.copysign(1, given) == math.copysign(1, found)
    beyond = listed or not -(2**63) <= given < 2**64
    return found in (given, float(given)) if beyond else found == given
