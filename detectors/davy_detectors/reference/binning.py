"""A sketch of a monitored stream: counts in bins taken from reference quantiles or reference categories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from davy_detectors.batch import Floats
from davy_detectors.reference.features import CATEGORIES, Feature

QUANTILES: Final = np.array(
    [0.001, 0.005, 0.01, 0.025, *(np.arange(1, 20) * 0.05), 0.975, 0.99, 0.995, 0.999]
)
"""The 27 quantiles of the reference that part the 28 bins of a number."""
CELLS: Final = 2**16
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class NumberBins:
    """Bins of a numeric stream: between reference quantiles, one for missing, one for not finite.

    A number is first put into one of 65 536 cells: the upper half of the bits of its single-precision distance to
    a centre, so cells are finest there and grow to 1/128 of the distance. Bins are unions of cells, in the reference
    as in the stream, so validity is not touched; a lookup replaces the search. Values that single precision
    cannot hold count as not finite. A value that fills several quantiles gets a bin of its own.

    Attributes
    ----------
    centre
        Just below the reference's median, or zero where that tells more quantiles apart (very skewed positive numbers).
    edges
        For each of `QUANTILES` the number of cells, in rising order, below it; shape ``(27,)``.
    counts
        Reference inferences by bin: 28 bins in rising order, missing, not finite; shape ``(30,)``, int64.
    """

    centre: float
    edges: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def fit(cls, feature: Feature) -> Self:
        """Take the bins from a reference's values."""
        values = np.asarray(feature.values, np.float64)
        present = values if feature.missing is None else values[~feature.missing]
        with np.errstate(over="ignore"):
            usable = present[np.isfinite(present) & np.isfinite(present.astype(np.float32))]
        centres = (_beside_median(usable), 0.0) if len(usable) else (0.0,)
        fits = [(centre, _edges(usable, centre)) for centre in centres]
        centre, edges = max(fits, key=lambda fit: len(np.unique(fit[1])))
        unfilled = cls(centre, edges, np.zeros(len(edges) + 3, np.int64))
        return cls(centre, edges, np.bincount(unfilled.bin(feature), minlength=len(edges) + 3))

    @property
    def table(self) -> Bytes:
        """The bin of every cell, shape ``(65536,)``; made at every use, for a reference keeps those of its streams."""
        bins = np.searchsorted(self.edges, np.arange(CELLS), side="right").astype(np.uint8)[_ranks()]
        bins[np.isinf(_representatives())] = len(self.edges) + 2
        bins[np.isnan(_representatives())] = self.missing
        return bins

    @property
    def missing(self) -> int:
        """The bin of what is missing."""
        return len(self.edges) + 1

    def bin(self, feature: Feature) -> Bytes:
        """Return the bin of every value, shape ``(n,)``."""
        bins: Bytes = self.table[cells(np.asarray(feature.values, np.float64), self.centre)]
        if feature.missing is not None:
            bins[feature.missing] = self.missing
        return bins

    def dump(self) -> Mapping[str, Any]:
        """Return the fitted state."""
        return {"kind": "numeric", "centre": self.centre, "edges": self.edges, "counts": self.counts}

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> Self:
        """Make fitted bins from what `dump` gave."""
        return cls(float(state["centre"]), np.array(state["edges"]), np.array(state["counts"]))


@dataclass(frozen=True, eq=False)
class CategoryBins:
    """Bins of a categorical stream: the 30 most frequent categories, the others, unseen ones, missing.

    Which categories have a bin is read from some of the reference's inferences, and counted on the rest. Were they
    the same, the count of the unseen would be zero whatever the truth, which is no sample of it: a stream with a long
    tail (shops, versions, search terms) always has categories its reference happens not to hold. Given the first
    part, the rest is a sample of independent inferences, and every bound on a bin's share holds exactly.

    Attributes
    ----------
    categories
        The categories with a bin of their own, most frequent first.
    others
        The categories that share a bin, at most 10 000 of them.
    counts
        Inferences of the part that was counted, by bin: categories, others, unseen, missing; shape
        ``(len(categories) + 3,)``, int64.
    """

    categories: tuple[Any, ...]
    others: tuple[Any, ...]
    counts: NDArray[np.int64]

    @classmethod
    def fit(cls, feature: Feature) -> Self:
        """Take the bins from a reference's values."""
        order = np.random.default_rng(0).permutation(len(feature.values))
        values = [*map(_category, feature.values[order].tolist())]
        if feature.missing is not None:
            values = [None if gone else v for v, gone in zip(values, feature.missing[order], strict=True)]
        names, first = _chosen(values)
        categories, others = names[:CATEGORIES], names[CATEGORIES : CATEGORIES + _OTHERS]
        unfilled = cls(categories, others, np.zeros(len(categories) + 3, np.int64))
        return cls(
            categories, others, np.bincount(unfilled._find(values[first:]), minlength=len(categories) + 3)
        )

    @cached_property
    def _codes(self) -> Mapping[Any, int]:
        codes = _Codes({name: len(self.categories) for name in self.others})
        codes.update({name: code for code, name in enumerate(self.categories)})
        codes.unseen = len(self.categories) + 1
        codes[None] = self.missing
        return codes

    @property
    def missing(self) -> int:
        """The bin of what is missing."""
        return len(self.categories) + 2

    def bin(self, feature: Feature) -> Bytes:
        """Return the bin of every value, shape ``(n,)``."""
        values = feature.values.tolist()
        bins = self._find(map(_category, values) if feature.values.dtype.kind in "Of" else values)
        if feature.missing is not None:
            bins[feature.missing] = self.missing
        return bins

    def _find(self, values: Iterable[Any]) -> Bytes:
        return np.fromiter(map(self._codes.__getitem__, values), np.uint8)

    def dump(self) -> Mapping[str, Any]:
        """Return the fitted state."""
        return {
            "kind": "categorical",
            "categories": list(self.categories),
            "others": list(self.others),
            "counts": self.counts,
        }

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> Self:
        """Make fitted bins from what `dump` gave."""
        return cls(tuple(state["categories"]), tuple(state["others"]), np.array(state["counts"]))


Bins = NumberBins | CategoryBins
_OTHERS: Final = 10_000
_PARTS: Final = (0.1, 0.2, 0.3, 0.4, 0.5)
_WELL_SEEN: Final = 10
_OFF_SPREAD: Final = (1 + 96.5 / 128) * 2.0**-7
_OFF_VALUE: Final = (1 + 110.5 / 128) * 2.0**-13
"""How far the centre is off the median, in parts of the spread or of the median itself: in the middle of a cell."""
_MIDDLE: Final = 0.5


def fit_bins(feature: Feature) -> Bins:
    """Take the bins of a stream from a reference's values."""
    return NumberBins.fit(feature) if feature.kind == "numeric" else CategoryBins.fit(feature)


def load_bins(state: Mapping[str, Any]) -> Bins:
    """Make fitted bins from what `dump` gave."""
    return NumberBins.load(state) if state["kind"] == "numeric" else CategoryBins.load(state)


def cells(values: Floats, centre: Floats | float) -> NDArray[np.uint16]:
    """Return the cell of every value: the upper 16 bits of its single-precision distance to `centre`."""
    with np.errstate(over="ignore", invalid="ignore"):
        distance = np.empty(values.shape, "<f4")
        np.subtract(values, centre, out=distance, casting="same_kind")
    upper: NDArray[np.uint16] = distance.view("<u2")[..., 1::2]
    return upper


def _beside_median(usable: Floats) -> float:
    """Return a centre near the median, and off it: there a value in single precision is not where it is in double.

    A value that many hold would else lie in the one cell of the centre when it is kept exactly, and above or below
    when it was rounded.
    """
    low, median, high = np.quantile(usable, (0.25, 0.5, 0.75))
    spread = high - low
    return float(median - (spread * _OFF_SPREAD if spread > 0 else abs(median) * _OFF_VALUE))


def _edges(usable: Floats, centre: float) -> NDArray[np.int64]:
    """Return the cells below each quantile: lower ones before the cell that holds it, upper ones after."""
    if not len(usable):
        return np.full(len(QUANTILES), CELLS // 2, np.int64)
    below = np.cumsum(np.bincount(_ranks()[cells(usable, centre)], minlength=CELLS))
    lower = np.searchsorted(below, QUANTILES * len(usable), side="right")
    upper = np.searchsorted(below, QUANTILES * len(usable), side="left") + 1
    return np.where(QUANTILES < _MIDDLE, lower, upper).astype(np.int64)


class _Codes(dict[Any, int]):
    """Bins of categories; what is not known has the bin of the unseen."""

    unseen: int

    def __missing__(self, key: Any) -> int:
        return self.unseen


def _chosen(values: Sequence[Any]) -> tuple[tuple[Any, ...], int]:
    """Return the categories, most frequent first, and how many of the values, in random order, they were read from.

    A tenth is enough when it has seen each of its categories often, and so has hardly missed any; a fifth is asked
    next, and so on; at most half. When to stop owes nothing to the values after it, so these are still a sample.
    """
    seen: Counter[Any] = Counter()
    first = 0
    for part in _PARTS:
        stop = int(part * len(values))
        seen.update(value for value in values[first:stop] if value is not None)
        first = stop
        if seen and min(seen.values()) >= _WELL_SEEN:
            break
    return tuple(sorted(seen, key=lambda name: (-seen[name], str(name)))), first


def _category(value: Any) -> Any:
    """Return a value as a category that can be stored and compared; what is neither text nor number is its text.

    What is not a number is None, like what is missing: not equal to itself, it could never be found again.
    """
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float):
        return value if value == value else None
    return value if value is None or isinstance(value, (str, int)) else repr(value)


def _representatives() -> NDArray[np.float32]:
    return (np.arange(CELLS, dtype="<u4") << 16).view("<f4")


def _ranks() -> NDArray[np.uint16]:
    """Return the place of every cell in rising order: sign and magnitude turned into one order, one place for ±0."""
    cell, half = np.arange(CELLS), CELLS // 2
    ranks = np.where(cell < half, cell + half, CELLS - 1 - cell).astype(np.uint16)
    ranks[half] = half
    return ranks
