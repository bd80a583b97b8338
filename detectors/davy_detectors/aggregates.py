"""Ready-made aggregates: what a monitor keeps of the inferences of a window, merged in any order with the same result.

An aggregate is a value like a combine function's accumulator (Akidau et al., "The Dataflow Model", VLDB 2015): it is
made of the inferences that one process saw, travels as bytes, and merging is associative and commutative to the bit. So
what a monitor is told owes nothing to partitions, processes or the order of arrival.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from davy.codec import dump_any, load_any
from davy.errors import AggregateInvalid
from davy_detectors.base import Aggregate
from davy_detectors.batch import Floats

Integers: TypeAlias = NDArray[np.int64]

_BITS: Final = 1126
"""Sums are whole multiples of 2**-1126: the last bit of the smallest double, as `frexp` splits it."""
_LIMB: Final = 32
_LIMBS: Final = 70
_MASK: Final = np.int64(2**_LIMB - 1)


class Counts:
    """How many of something: an array of whole numbers, none negative, of the same shape in every window.

    Histograms are counts: `of_bins` counts what fell into which bin.

    Parameters
    ----------
    values
        Any shape.

    Raises
    ------
    AggregateInvalid
        A number is negative or not whole: it would not come back as it was. Real numbers are `Sums`.

    Examples
    --------
    >>> Counts.from_bytes(Counts([3, 255]).to_bytes()).merge(Counts([1, 1])).values
    array([  4, 256])
    >>> Counts([-1.94, 42.45])
    Traceback (most recent call last):
    davy.errors.AggregateInvalid: counts: -1.94: count with whole numbers from 0, and sum with Sums
    """

    __slots__ = ("values",)

    def __init__(self, values: ArrayLike) -> None:
        found = np.asarray(values)
        if found.dtype.kind not in "iub":
            whole = found.astype(np.int64) if np.all(np.isfinite(found)) else np.zeros_like(found, np.int64)
            _refuse(found[whole != found])
            found = whole
        _refuse(found[found < 0])
        self.values: Integers = found.astype(np.int64, copy=False)

    @classmethod
    def of_bins(cls, bins: NDArray[Any], cells: Integers, total: int, width: int) -> list[Self]:
        """Count the bins of inferences by the cell each belongs to.

        Parameters
        ----------
        bins
            Shape ``(streams, n)``, below `width`.
        cells
            Cell of each inference, ``0 … total - 1``, shape ``(n,)``.

        Returns
        -------
        One a cell, of shape ``(streams, width)``.

        Examples
        --------
        >>> [one.values.tolist() for one in Counts.of_bins(np.array([[0, 1, 1]]), np.array([0, 0, 1]), 2, 2)]
        [[[1, 1]], [[0, 1]]]
        """
        streams = len(bins)
        places = np.add(bins, cells * (streams * width), dtype=np.intp)
        places += np.arange(0, streams * width, width)[:, None]
        counts = np.bincount(places.ravel(), minlength=total * streams * width)
        return [cls(one) for one in counts.reshape(total, streams, width)]

    def merge(self, other: Self) -> Self:
        """Return the sum."""
        _same_shape("counts", self.values.shape, other.values.shape)
        return type(self)(self.values + other.values)

    def to_bytes(self) -> bytes:
        """Return the counts in the smallest unsigned integers that hold them."""
        return dump_any(self.values.astype(np.min_scalar_type(int(self.values.max(initial=0)))))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` gave."""
        return cls(load_any(data))


class Sums:
    """Sums of real numbers, exact: the same to the last bit in any order, whatever their sizes.

    Numbers that are not finite are left out; `counts` says how many were summed, so that a mean is of those.

    Examples
    --------
    >>> values = np.array([[1e308], [1.0], [-1e308], [np.nan], [0.1]])
    >>> first, last = Sums.of_rows(values, np.array([0, 0, 1, 1, 1]), 2)
    >>> both = first.merge(last)
    >>> both.values, both.counts, (last.merge(first).to_bytes() == both.to_bytes())
    (array([1.1]), array([4]), True)

    References
    ----------
    Neal, "Fast exact summation using small and large superaccumulators", arXiv 1505.05571.
    """

    __slots__ = ("_totals", "counts")

    def __init__(self, totals: Sequence[int], counts: Integers) -> None:
        self._totals = tuple(totals)
        self.counts = counts

    @classmethod
    def of_rows(cls, values: Floats, cells: Integers, total: int) -> list[Self]:
        """Sum rows by cell.

        Parameters
        ----------
        values
            Shape ``(n, streams)``.
        cells
            Cell of each row, ``0 … total - 1``, shape ``(n,)``.

        Returns
        -------
        One a cell, of `streams` sums.
        """
        rows = np.asarray(values, np.float64)
        finite = np.isfinite(rows)
        streams = rows.shape[1]
        limbs = np.zeros((total, streams, _LIMBS), np.int64)
        fractions, exponents = np.frexp(np.where(finite, rows, 0.0))
        whole = np.ldexp(np.abs(fractions), 53).astype(np.int64)
        sign = np.where(fractions < 0, -1, 1)
        place = exponents.astype(np.int64) - 53 + _BITS
        limb, shift = place // _LIMB, place % _LIMB
        low, high = (whole & _MASK) << shift, (whole >> _LIMB) << shift
        parts = (low & _MASK, (low >> _LIMB) + (high & _MASK), high >> _LIMB)
        which = np.broadcast_to(cells[:, None], rows.shape), np.broadcast_to(np.arange(streams), rows.shape)
        for step, part in enumerate(parts):
            np.add.at(limbs, (*which, limb + step), sign * part)
        counts = np.zeros((total, streams), np.int64)
        np.add.at(counts, which, finite)
        return [
            cls([_whole(stream) for stream in cell], count) for cell, count in zip(limbs, counts, strict=True)
        ]

    @property
    def values(self) -> Floats:
        """The sums, each the double nearest to it, shape ``(streams,)``."""
        return np.array([_nearest(total) for total in self._totals])

    def merge(self, other: Self) -> Self:
        """Return the sums of both."""
        _same_shape("sums", self.counts.shape, other.counts.shape)
        totals = [one + another for one, another in zip(self._totals, other._totals, strict=True)]
        return type(self)(totals, self.counts + other.counts)

    def to_bytes(self) -> bytes:
        """Return sums and counts; equal sums give equal bytes."""
        return dump_any([[_packed(total) for total in self._totals], self.counts])

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` gave."""
        totals, counts = load_any(data)
        return cls([int.from_bytes(whole, "little", signed=True) << shift for whole, shift in totals], counts)


class Extremes:
    """The smallest and the largest number of every stream; NaN where there was none.

    Examples
    --------
    >>> Extremes.of_rows(np.array([[3.0], [np.nan], [-1.0]]), np.array([0, 0, 0]), 1)[0].high
    array([3.])
    """

    __slots__ = ("high", "low")

    def __init__(self, low: Floats, high: Floats) -> None:
        self.low, self.high = (
            low + 0.0,
            high + 0.0,
        )  # which makes -0.0 the other zero: equal values, equal bytes

    @classmethod
    def of_rows(cls, values: Floats, cells: Integers, total: int) -> list[Self]:
        """Return the extremes of rows by cell; `values` of shape ``(n, streams)``, `cells` as for `Sums.of_rows`."""
        low = np.full((total, values.shape[1]), np.nan)
        high = low.copy()
        np.fmin.at(low, cells, values)
        np.fmax.at(high, cells, values)
        return [cls(*pair) for pair in zip(low, high, strict=True)]

    def merge(self, other: Self) -> Self:
        """Return the extremes of both."""
        _same_shape("extremes", self.low.shape, other.low.shape)
        return type(self)(np.fmin(self.low, other.low), np.fmax(self.high, other.high))

    def to_bytes(self) -> bytes:
        """Return both."""
        return dump_any([self.low, self.high])

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` gave."""
        return cls(*load_any(data))


class Quantiles:
    """A sketch of one stream's distribution: every quantile to within 1 % of its value, in bounded memory.

    Numbers are counted in buckets whose bounds grow by 2 %, from 1e-12 to 1e12 of either sign; what is smaller counts
    as zero, what is larger with the largest. Infinities are among these, NaN is left out.

    Examples
    --------
    >>> (sketch,) = Quantiles.of_rows(np.arange(1.0, 1001.0), np.zeros(1000, int), 1)
    >>> abs(sketch.quantile(0.5) / 500 - 1) < 0.01
    True

    References
    ----------
    Masson, Rim and Lee, "DDSketch: a fast and fully-mergeable quantile sketch", VLDB 2019.
    """

    __slots__ = ("_buckets", "_counts")
    _growth: ClassVar[float] = float(np.log(1.01 / 0.99))
    _smallest: ClassVar[float] = 1e-12
    _most: ClassVar[int] = int(np.ceil(np.log(1e24) / _growth))

    def __init__(self, buckets: Integers, counts: Integers) -> None:
        self._buckets, self._counts = buckets, counts

    @classmethod
    def of_rows(cls, values: Floats, cells: Integers, total: int) -> list[Self]:
        """Return the sketch of the numbers of every cell; `values` and `cells` of shape ``(n,)``."""
        known = ~np.isnan(values)
        numbers, cells = values[known], cells[known]
        size = np.abs(numbers)
        with np.errstate(divide="ignore", over="ignore"):
            place = np.ceil(np.log(size / cls._smallest) / cls._growth)
        buckets = np.where(size < cls._smallest, 0, np.sign(numbers) * np.clip(place, 1, cls._most)).astype(
            np.int64
        )
        made = (np.unique(buckets[cells == cell], return_counts=True) for cell in range(total))
        return [cls(found, counts.astype(np.int64)) for found, counts in made]

    def quantile(self, share: float) -> float:
        """Return the number that a `share` of all, from 0 to 1, does not exceed; NaN where there are none."""
        if not len(self._counts):
            return float("nan")
        reached = np.searchsorted(np.cumsum(self._counts), share * self._counts.sum(), side="left")
        bucket = int(self._buckets[min(int(reached), len(self._buckets) - 1)])
        size = self._smallest * np.exp((abs(bucket) - 0.5) * self._growth) if bucket else 0.0
        return float(np.copysign(size, bucket))

    def merge(self, other: Self) -> Self:
        """Return the sketch of both."""
        buckets, places = np.unique(np.concatenate([self._buckets, other._buckets]), return_inverse=True)
        counts = np.zeros(len(buckets), np.int64)
        np.add.at(counts, places, np.concatenate([self._counts, other._counts]))
        return type(self)(buckets, counts)

    def to_bytes(self) -> bytes:
        """Return buckets and counts."""
        return dump_any([self._buckets, self._counts])

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` gave."""
        return cls(*load_any(data))


class Several:
    """Aggregates of different kinds side by side, by name, for a monitor that keeps more than one.

    Parameters
    ----------
    parts
        Ready-made ones of this module.

    Examples
    --------
    >>> both = Several({"seen": Counts([2]), "most": Extremes(np.array([0.0]), np.array([1.0]))})
    >>> Several.from_bytes(both.merge(both).to_bytes())["seen"].values
    array([4])
    """

    __slots__ = ("_parts",)

    def __init__(self, parts: Mapping[str, Aggregate]) -> None:
        self._parts = dict(sorted(parts.items()))

    def __getitem__(self, name: str) -> Any:
        return self._parts[name]

    def merge(self, other: Self) -> Self:
        """Return each part merged with the other's of its name."""
        _same_shape("parts", tuple(self._parts), tuple(other._parts))
        return type(self)({name: part.merge(other._parts[name]) for name, part in self._parts.items()})

    def to_bytes(self) -> bytes:
        """Return every part with its kind."""
        return dump_any({name: [type(part).__name__, part.to_bytes()] for name, part in self._parts.items()})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` gave."""
        return cls({name: _KINDS[kind].from_bytes(part) for name, (kind, part) in load_any(data).items()})


_KINDS: Final[Mapping[str, Any]] = {kind.__name__: kind for kind in (Counts, Sums, Extremes, Quantiles)}


def _refuse(values: NDArray[Any]) -> None:
    if values.size:
        raise AggregateInvalid(
            "counts", values.flat[0].item(), "count with whole numbers from 0, and sum with Sums"
        )


def _same_shape(what: str, one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    if one != other:
        raise AggregateInvalid(what, f"{one} and {other}", "give the same shape in every window")


def _whole(limbs: Integers) -> int:
    """Return the whole number of which these are the digits, of either sign, in base 2**32."""
    total = 0
    for limb in np.flatnonzero(limbs)[::-1].tolist():
        total += int(limbs[limb]) << (_LIMB * limb)
    return total


def _nearest(total: int) -> float:
    try:
        return total / (1 << _BITS)
    except OverflowError:
        return float("inf") if total > 0 else float("-inf")


def _packed(total: int) -> tuple[bytes, int]:
    """Return a whole number as its significant bytes and how far they are shifted."""
    shift = (total & -total).bit_length() - 1 if total else 0
    whole = total >> shift
    return whole.to_bytes(whole.bit_length() // 8 + 1, "little", signed=True), shift
