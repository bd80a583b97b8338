"""Files of the archive: references, summaries and tensors as the log holds them, from the columns that they became."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from typing import Any, Final

import numpy as np

from davy.event import Array, BlobRef, Summary

_BLOB: Final = ".blob"
_SHAPE: Final = ".shape"
_REFERENCE: Final = frozenset({"hash", "length", "media_type"})


def is_reference(names: frozenset[str]) -> bool:
    """Return whether a structure of these parts is a reference to the blob store."""
    return names >= _REFERENCE


def referred(rows: list[Mapping[str, Any] | None]) -> Array:
    """Return references and summaries, None where there is none."""
    found = np.empty(len(rows), object)
    found[:] = [None if row is None else _one(row) for row in rows]
    return found


def shaped(values: Any, shape: tuple[int, ...]) -> Any:
    """Return tensors that were written as lists of numbers in the one shape that all of them had."""
    if isinstance(values, np.ndarray) and values.dtype != object:
        fits = values.ndim > 1 and prod(values.shape[1:]) == prod(shape)
        return values.reshape(len(values), *shape) if fits else values
    return _reshaped(values, [shape] * len(values))


def together(columns: Mapping[str, Any], beside: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """Return columns with each field in one, whatever kinds its values have.

    Parameters
    ----------
    columns
        Columns by name.
    beside
        The field and the kind of those that have another name than their field.
    """
    found = {name: values for name, values in columns.items() if name not in beside}
    for name, (field, kind) in beside.items():
        if f".{kind}" in {_BLOB, _SHAPE}:
            found[field + f".{kind}"] = columns[name]
            continue
        rows, more = _rows(found.get(field), len(columns[name])), _rows(columns[name], len(columns[name]))
        found[field] = _chosen(rows, more)
    return found


def joined(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a file of the archive with each field in one column, whatever way its values came."""
    found = dict(columns)
    for name in columns:
        base = name.removesuffix(_SHAPE)
        if base != name and base in found:
            found[base] = _reshaped(found[base], list(found.pop(name)))
    for name in columns:
        base = name.removesuffix(_BLOB)
        if base == name or not _are_references(columns[name]):
            continue
        apart = found.pop(name)
        found[base] = _chosen(_rows(found.get(base), len(apart)), apart)
    return found


def _rows(values: Any, count: int) -> Array:
    """Return values as objects, None where there is none; among numbers a missing one is a NaN."""
    rows = np.full(count, None, object)
    flat = isinstance(values, np.ndarray) and values.ndim == 1
    for place, value in enumerate(() if values is None else values.tolist() if flat else values):
        rows[place] = None if isinstance(value, float) and np.isnan(value) else value
    return rows


def _chosen(rows: Array, better: Array) -> Array:
    """Return the better values, and the others where there is none."""
    there = np.array([value is not None for value in better], bool)
    return np.where(there, better, rows)


def _one(row: Mapping[str, Any]) -> BlobRef | Summary:
    told = json.loads(row.get("about") or "{}")
    about = {name: np.nan if value is None else value for name, value in told.items()}  # JSON has no NaN
    if not row["media_type"] and not row["length"]:
        return Summary(about)
    return BlobRef(row["hash"], row["length"], row["media_type"], about)


def _are_references(values: Any) -> bool:
    rows = [row for row in values if row is not None]
    return bool(rows) and all(isinstance(row, (BlobRef, Summary)) for row in rows)


def _reshaped(values: Any, shapes: list[Any]) -> Array:
    rows = np.empty(len(values), object)
    for place, (value, shape) in enumerate(zip(values, shapes, strict=True)):
        whole = value is not None and shape is not None and len(value) == prod(shape)
        rows[place] = np.asarray(value).reshape([int(size) for size in shape]) if whole else value
    return rows
