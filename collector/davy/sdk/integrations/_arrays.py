"""What integrations share: rows of arrays, and names for scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from davy.event import Array
from davy.sdk.fields import output_name


def shared_rows(inputs: Iterable[Any], outputs: Iterable[Any]) -> int | None:
    """Count the inferences of a call by the first axis that its arguments and all its answers share.

    None when they share none: then the call is one inference. Arguments with one axis only do not tell.
    """
    sizes = {value.shape[0] if len(value.shape) else None for value in outputs}
    if len(sizes) != 1:
        return None
    (size,) = sizes
    given = {value.shape[0] for value in inputs if len(value.shape) > 1}
    return size if size is not None and size in given else None


def as_rows(fields: Mapping[str, Array], rows: int | None) -> dict[str, Array]:
    """Give the fields with the inferences as first axis; those without it hold for the call and are left out."""
    if rows is None:
        return {name: array[None] for name, array in fields.items()}
    return {name: array for name, array in fields.items() if array.ndim and len(array) == rows}


def column(values: Iterable[Any]) -> Array:
    """Give values of any kind, one an inference, as an array of objects."""
    rows = list(values)
    array = np.empty(len(rows), dtype=object)
    array[:] = rows
    return array


def canonical(fields: Mapping[str, Array], name: str | None) -> dict[str, Array]:
    """Name outputs as Davy understands them: a lone one by `name` or its values, the only probabilities ``probs``.

    Parameters
    ----------
    fields
        Outputs of a batch as the model names them.
    name
        What the app calls its output, for a model with one.
    """
    if len(fields) == 1:
        ((given, array),) = fields.items()
        return {name or _known(given) or _named(array): array}
    found = {given: _known(given) or given for given in fields}
    likely = [given for given, array in fields.items() if output_name(array) == "probs"]
    if len(likely) == 1 and "probs" not in found.values():
        found[likely[0]] = "probs"
    labels = [given for given, array in fields.items() if array.ndim == 1 and "label" in given.lower()]
    if len(labels) == 1 and "label" not in found.values():
        found[labels[0]] = "label"
    return {found[given]: array for given, array in fields.items()}


def _known(name: str) -> str | None:
    return name if name in {"probs", "logits", "label", "value", "boxes", "scores", "classes"} else None


def _named(array: Array) -> str:
    return "label" if array.ndim == 1 and array.dtype.kind in "iuO" else output_name(array)
