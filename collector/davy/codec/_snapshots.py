"""Inferences that are only copied on the caller's thread, and encoded many at once where they are sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

import msgspec
import numpy as np

from davy.codec._batch import encode_rows
from davy.codec._layout import Chunk, Layout
from davy.codec._tensors import OIP, view
from davy.event import Array

_TEXT: Final = "TEXT"


class Recipe:
    """How snapshots whose fields are those of a layout become a chunk.

    The values of a snapshot are, in the order of the fields, the bytes of arrays of fixed kinds, then texts.

    Parameters
    ----------
    layout
        The fields: arrays of fixed kinds, a whole number behind one of them, texts.
    rate
        The share of inferences that is captured.
    labels
        What the whole number is by the place of the largest number in the array before it; that is found here.
    """

    __slots__ = ("labels", "layout", "rate", "size")

    def __init__(self, layout: Layout, rate: float, labels: Sequence[int] = ()) -> None:
        self.layout = layout
        self.rate = rate
        self.labels = labels
        self.size = layout.width + sum(layout.kinds[i].width or 0 for i, _ in layout.others)

    @staticmethod
    def makes(layout: Layout) -> bool:
        """Whether all fields of a layout are of the kinds that snapshots may have."""
        return all(
            kind.dtype in {_TEXT, "INT64"} if not kind.tensor else kind.shape is not None
            for kind in layout.kinds
        )

    def encode(self, snapshots: Sequence[Snapshot]) -> Chunk:
        """Encode inferences."""
        count, columns = len(snapshots), zip(*[each.values for each in snapshots], strict=True)
        arrays: list[Array] = []
        for kind in self.layout.kinds:
            if kind.scalar:
                largest = arrays[-1].reshape(count, -1).argmax(axis=1)
                arrays.append(np.asarray(self.labels, np.int64)[largest])
            elif kind.dtype == _TEXT:
                arrays.append(np.array(next(columns), dtype=object))
            else:
                shape = (count, *(kind.shape or ()))
                arrays.append(view(b"".join(next(columns)), OIP[kind.dtype], shape))
        ids = b"".join([each.id for each in snapshots])
        at = np.array([each.at for each in snapshots])
        latency_ms = np.array([each.latency_ms for each in snapshots])
        return encode_rows(self.layout, (ids, at, latency_ms, self.rate), arrays)


class Snapshot(msgspec.Struct, frozen=True, gc=False):
    """One inference, copied: it takes `recipe` to encode it, best together with others.

    The collector need not look at those that wait, as at chunks: they are part of no cycle.
    """

    recipe: Recipe
    id: bytes
    at: int
    latency_ms: float
    values: tuple[Any, ...]

    @property
    def layout(self) -> Layout:
        """The fields."""
        return self.recipe.layout

    @property
    def size(self) -> int:
        """The bytes of the fields that have a fixed width."""
        return self.recipe.size


def chunks_of(loads: Iterable[Chunk | Snapshot]) -> Iterator[Chunk]:
    """Return chunks as they are, and one for every run of snapshots of one recipe."""
    for recipe, run in groupby(loads, attrgetter("recipe")):
        if recipe is None:
            yield from run  # type: ignore[misc]
        else:
            yield recipe.encode(list(run))
