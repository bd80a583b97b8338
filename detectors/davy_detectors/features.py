"""What is monitored about an inference: named streams of numbers and of categories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from davy.event import Array, BlobRef, Column, Path
from davy_detectors.base import Floats
from davy_detectors.batch import Batch

Kind = Literal["numeric", "categorical"]
CATEGORIES: Final = 30
_DISTINCT_NUMBERS: Final = 20
_COMPONENTS: Final = 256
_CLASSES: Final = (("outputs", "probs"), ("outputs", "logits"))
_TINY: Final = 1e-300


@dataclass(frozen=True, slots=True)
class Feature:
    """One monitored stream of a batch.

    `values` is float64 for a numeric feature, NaN or infinite where the value is; anything hashable for a
    categorical one. Shape ``(n,)``. `missing` is true where the inference had no value; None when all had one.
    """

    kind: Kind
    values: Array
    missing: NDArray[np.bool_] | None = None


def features(batch: Batch, kinds: Mapping[str, Kind] | None = None) -> dict[str, Feature]:
    """Give what is monitored about `batch`, by name.

    Parameters
    ----------
    batch
        Inferences of one model.
    kinds
        The features of a fitted reference: exactly these are given, those that the batch lacks as missing
        everywhere. Without it the batch is itself the reference and decides: a whole number with up to 20
        distinct values is categorical, and so is text whose 30 most frequent values make up half of it.

    Notes
    -----
    Numbers are numeric; booleans and text categorical. A vector among the inputs with up to 256 components gives
    one feature a component; other vectors their mean, sd and norm; an image (a tensor with 2 or 3 dimensions)
    brightness, contrast, sharpness, minimum and maximum; probabilities the confidence, the entropy and the label.
    Tags, alternatives, groups and embeddings are not features; see `Reference` for the embedding's typicality.

    Examples
    --------
    >>> batch = Batch.from_columns("iris:1", {"sepal": [5.1, 4.9], "outputs.probs": [[0.9, 0.1], [0.2, 0.8]]})
    >>> list(features(batch))
    ['inputs.sepal', 'outputs.confidence', 'outputs.entropy', 'outputs.label']
    """
    found: dict[str, Feature] = {}
    if len(batch) == 0 and kinds is not None:
        return {name: _as_kind(None, kind, 0) for name, kind in kinds.items()}
    for path, column in batch.fields.items():
        if path[0] in {"inputs", "outputs"} and path not in _CLASSES:
            found.update(_of_column(path, column, kinds))
    found.update(_of_probs(batch))
    if kinds is None:
        return found
    return {name: _as_kind(found.get(name), kind, len(batch)) for name, kind in kinds.items()}


def _of_column(path: Path, column: Column, kinds: Mapping[str, Kind] | None) -> Iterator[tuple[str, Feature]]:
    name, values, missing = ".".join(path), column.values, column.missing
    if values.ndim == 1 and values.dtype != object:
        yield name, Feature(_kind_of_numbers(path, column, kinds), values, missing)
    elif values.ndim == 1:
        yield from _of_objects(name, path, column, kinds)
    elif values.ndim == 2 and path[0] == "inputs" and values.shape[1] <= _COMPONENTS:
        rows = np.ascontiguousarray(values.T, dtype=np.float64)
        for i, component in enumerate(rows):
            yield f"{name}[{i}]", Feature("numeric", component, missing)
    elif values.ndim in {3, 4} and values.size:
        for key, summary in _of_images(values).items():
            yield f"{name}.{key}", Feature("numeric", summary, missing)
    else:
        for key, summary in _of_vectors(values.reshape(len(values), prod(values.shape[1:]))).items():
            yield f"{name}.{key}", Feature("numeric", summary, missing)


def _kind_of_numbers(path: Path, column: Column, kinds: Mapping[str, Kind] | None) -> Kind:
    name = ".".join(path)
    if kinds is not None:
        return kinds.get(name, "numeric")
    values = column.values
    if path == ("outputs", "label") or values.dtype.kind == "b":
        return "categorical"
    if values.dtype.kind in "iu" and len(np.unique(values[column.present])) <= _DISTINCT_NUMBERS:
        return "categorical"
    return "numeric"


def _of_objects(
    name: str, path: Path, column: Column, kinds: Mapping[str, Kind] | None
) -> Iterator[tuple[str, Feature]]:
    values, missing = column.values, column.missing
    present = values[column.present]
    sample = present[0] if len(present) else None
    if kinds is not None and name in kinds:
        yield name, Feature(kinds[name], values, missing)
    elif isinstance(sample, (str, int, float)):
        if kinds is None and (path == ("outputs", "label") or _few_categories(present)):
            yield name, Feature("categorical", values, missing)
        else:
            yield f"{name}.length", Feature("numeric", _lengths(values), missing)
    elif isinstance(sample, (bytes, BlobRef)):
        yield f"{name}.length", Feature("numeric", _lengths(values), missing)
    elif isinstance(sample, np.ndarray):
        for key, summary in _of_ragged(values).items():
            yield f"{name}.{key}", Feature("numeric", summary, missing)


def _few_categories(present: Array) -> bool:
    often = Counter(map(str, present)).most_common(CATEGORIES)
    return sum(count for _, count in often) * 2 >= len(present)


def _lengths(values: Array) -> Floats:
    return np.fromiter(map(_length, values), np.float64, len(values))


def _length(value: Any) -> float:
    if isinstance(value, BlobRef):
        return float(value.length)
    return float(len(value)) if hasattr(value, "__len__") else np.nan


def _of_vectors(values: Array) -> dict[str, Floats]:
    numbers = values.astype(np.float64, copy=False)
    if numbers.shape[1] == 0:
        nothing = np.full(len(numbers), np.nan)
        return {"mean": nothing, "sd": nothing, "norm": nothing}
    with np.errstate(invalid="ignore", over="ignore"):
        return {
            "mean": numbers.mean(axis=1),
            "sd": numbers.std(axis=1),
            "norm": np.sqrt(np.einsum("ij,ij->i", numbers, numbers)),
        }


def _of_ragged(values: Array) -> dict[str, Floats]:
    summaries = np.full((len(values), 4), np.nan)
    for row, value in enumerate(values):
        if isinstance(value, np.ndarray):
            flat = _of_vectors(value.reshape(1, -1))
            summaries[row] = (*(flat[key][0] for key in ("mean", "sd", "norm")), value.size)
    return dict(zip(("mean", "sd", "norm", "length"), summaries.T, strict=True))


def _of_images(values: Array) -> dict[str, Floats]:
    pixels = values.astype(np.float32 if values.dtype.itemsize <= 4 else np.float64, copy=False)
    flat = pixels.reshape(len(pixels), -1)
    first = 2 if pixels.ndim == 4 and pixels.shape[1] <= 4 < pixels.shape[3] else 1
    with np.errstate(invalid="ignore", over="ignore"):
        edges = [
            np.abs(np.diff(pixels, axis=axis)).reshape(len(pixels), -1)
            for axis in (first, first + 1)
            if pixels.shape[axis] > 1
        ]
        gradient = sum((edge.mean(axis=1, dtype=np.float64) for edge in edges), np.zeros(len(pixels)))
        return {
            "brightness": flat.mean(axis=1, dtype=np.float64),
            "contrast": flat.std(axis=1, dtype=np.float64),
            "sharpness": gradient / max(len(edges), 1),
            "minimum": flat.min(axis=1).astype(np.float64),
            "maximum": flat.max(axis=1).astype(np.float64),
        }


def _of_probs(batch: Batch) -> dict[str, Feature]:
    probs = batch.probs
    if probs is None:
        return {}
    column = next(batch.fields[path] for path in _CLASSES if path in batch.fields)
    found = {
        "outputs.confidence": Feature("numeric", probs.max(axis=1), column.missing),
        "outputs.entropy": Feature("numeric", entropy(probs), column.missing),
    }
    if ("outputs", "label") not in batch.fields and batch.label is not None:
        found["outputs.label"] = Feature("categorical", batch.label, column.missing)
    return found


def entropy(probs: Floats) -> Floats:
    """Give the Shannon entropy of each row, in nats, shape ``(n,)``."""
    with np.errstate(invalid="ignore"):
        result: Floats = -np.einsum("ij,ij->i", probs, np.log(np.maximum(probs, _TINY)))
    return result


def _as_kind(feature: Feature | None, kind: Kind, count: int) -> Feature:
    if feature is None:
        return Feature(kind, np.zeros(count), np.ones(count, bool))
    values = feature.values
    if kind == "numeric" and values.dtype == object:
        values = np.fromiter(map(_number, values), np.float64, count)
    return Feature(kind, values, feature.missing)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (bool, int, float, np.number)) else np.nan
