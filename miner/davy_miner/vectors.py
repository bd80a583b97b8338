"""One unit vector an inference, so that a dot product says how alike two are; and a hash that says when they are equal.

What is compared, in order of preference: the embedding; a tensor among the inputs, less the mean tensor; the numeric
inputs, standardised, with the texts beside them. Rows of numbers go through random Fourier features, because a cosine
of few columns compares directions only: with ``d`` standardised columns the similarity of two rows is about
``exp(-|x - y|² / (2 d))``. A text is the same or another, and weighs as much as a number; texts of one word
that never come again are names of rows and weigh nothing.

References
----------
Rahimi & Recht, "Random features for large-scale kernel machines", NeurIPS 2007.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from davy.codec import dump_any
from davy.event import Array, Envelope, Path

Matrix: TypeAlias = NDArray[np.float32]
_Space: TypeAlias = tuple[str, tuple[Path, ...], tuple[int, ...]]
_Texts: TypeAlias = Mapping[Path, str]

_FEATURES: Final = 256
_SEED: Final = 7


def vectors(envelopes: Sequence[Envelope]) -> Matrix:
    """Return the unit vectors of envelopes of one, shape ``(n, d)``, float32.

    Inferences with different things to compare (an embedding of another length, other columns) get columns of their
    own, so their similarity is 0. A row without anything to compare is zero and resembles nothing, itself included.

    Examples
    --------
    >>> from davy.codec import Encoder, decode, pack
    >>> rows = [Encoder().encode("m:1", bytes(16), 0, {}, {}, embedding=np.ones(2) * i) for i in (1, 2)]
    >>> found = vectors([decode(pack([row])) for row in rows])
    >>> round(float(found[0] @ found[1]), 6)
    1.0
    """
    spaces: dict[_Space, list[int]] = defaultdict(list)
    raw: list[Array | None] = []
    for row, envelope in enumerate(envelopes):
        space, values = _raw(envelope)
        raw.append(values)
        if space is not None:
            spaces[space].append(row)
    blocks = [np.zeros((len(envelopes), 0), np.float32)]
    for space in sorted(spaces):
        rows = spaces[space]
        found = _unit(_SPACES[space[0]](np.stack([np.asarray(raw[row], np.float64) for row in rows])))
        if space[0] == "table":
            found = _beside(found, len(space[1]), [_texts(envelopes[row]) for row in rows])
        block = np.zeros((len(envelopes), found.shape[1]), np.float32)
        block[rows] = found
        blocks.append(block)
    return np.concatenate(blocks, axis=1)


def payload_key(envelope: Envelope) -> bytes:
    """Hash what the model was given, 16 bytes: equal for two inferences exactly when every input is equal.

    Without inputs the embedding is hashed; with neither, the id, so that nothing is equal to anything else.
    """
    paths = sorted(path for path in envelope if path[0] == "inputs") or [("embedding",)]
    digest = hashlib.blake2b(digest_size=16)
    if not envelope.keys() & set(paths):
        return bytes(envelope.ids[0])
    for path in paths:
        column = envelope[path]
        value = column.values[0] if column.present[0] else None
        digest.update(dump_any([list(path), value]))
    return digest.digest()


def _raw(envelope: Envelope) -> tuple[_Space | None, Array | None]:
    embedding = _number(envelope, ("embedding",))
    if embedding is not None and embedding.ndim:
        return ("embedding", (("embedding",),), embedding.shape), embedding.ravel()
    numbers = {
        path: value
        for path in sorted(envelope)
        if path[0] == "inputs" and (value := _number(envelope, path)) is not None
    }
    tensors = {path: value for path, value in numbers.items() if value.ndim}
    if tensors:
        path, value = max(tensors.items(), key=lambda item: item[1].size)
        return ("tensor", (path,), value.shape), value.ravel()
    if numbers:
        return ("table", tuple(numbers), (len(numbers),)), np.array(list(numbers.values()), np.float64)
    return None, None


def _texts(envelope: Envelope) -> _Texts:
    columns = ((path, envelope[path]) for path in envelope if path[0] == "inputs")
    return {
        path: column.values[0]
        for path, column in columns
        if column.present[0] and isinstance(column.values[0], str)
    }


def _beside(numbers: NDArray[np.float64], columns: int, rows: Sequence[_Texts]) -> NDArray[np.float64]:
    """Put texts beside the unit vectors of rows of numbers, each to weigh as much as one of the numeric columns."""
    paths = [
        path
        for path in sorted({path for row in rows for path in row})
        if _tells([row.get(path) for row in rows])
    ]
    if not paths:
        return numbers
    signs = np.array([[_signs(path, row.get(path, "")) for path in paths] for row in rows]).sum(axis=1)
    share = len(paths) / (len(paths) + columns)
    return np.concatenate([np.sqrt(1 - share) * numbers, np.sqrt(share) * _unit(signs)], axis=1)


def _tells(values: Sequence[str | None]) -> bool:
    """Return whether texts say something of their rows: they come again, or are prose."""
    return len(set(values)) < len(values) or any(" " in value for value in values if value)


def _signs(path: Path, value: str) -> NDArray[np.float64]:
    """Return 256 signs for a text: two texts have a cosine of 0 give or take 1/16."""
    digest = hashlib.blake2b(dump_any([list(path), value]), digest_size=32).digest()
    return np.unpackbits(np.frombuffer(digest, np.uint8)).astype(np.float64) * 2.0 - 1.0


def _number(envelope: Envelope, path: Path) -> Array | None:
    column = envelope.get(path)
    if column is None or not column.present[0]:
        return None
    value: Any = np.asarray(column.values[0])
    return np.nan_to_num(value) if value.dtype.kind in "buif" else None


def _as_is(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return rows


def _centred(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.subtract(rows, rows.mean(axis=0)) if len(rows) > 2 else rows


def _fourier(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    scale = rows.std(axis=0)
    standardised = (rows - rows.mean(axis=0)) / np.where(scale > 0, scale, 1.0)
    frequencies = np.random.default_rng(_SEED).normal(size=(rows.shape[1], _FEATURES))
    phases = standardised @ frequencies / np.sqrt(rows.shape[1])
    return np.concatenate([np.cos(phases), np.sin(phases)], axis=1)


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: NDArray[np.float64] = rows / np.where(lengths > 0, lengths, 1.0)
    return unit


_SPACES: Final = {"embedding": _as_is, "tensor": _centred, "table": _fourier}
