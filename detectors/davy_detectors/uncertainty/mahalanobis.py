"""Distance of an embedding to the nearest class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from davy_detectors.batch import Batch, Floats
from davy_detectors.uncertainty.spectrum import spectrum

_FEW: Final = 2
_TINY: Final = 1e-12
_LEARNED: Final = 2**25
"""Numbers learned from: 8 192 embeddings of 4 096."""
_FACTORS: Final = 600_000
_OFFSETS: Final = 250_000
"""Numbers kept of the covariance and of the classes, single precision: 2.4 and 1 megabytes."""
_CLASSES: Final = 1_000
_MEMBERS: Final = 2
_CHUNK: Final = 1_024
_GRID: Final = 2.0**12


class MahalanobisPlusPlus:
    """Mahalanobis distance of the normalised embedding to the nearest mean of a predicted class, squared.

    Embeddings are scaled to length one, which removes what their norm says and makes one covariance fit all classes.
    The covariance is shared by the classes and shrunk towards a multiple of the identity. Of wide embeddings the
    widest directions are kept and the others taken as alike, so that a fit takes seconds and its state megabytes.

    A class has a mean of its own with two inferences or more; when such classes hold less than half of the
    inferences, as where answers are free text, all inferences are one class.

    Parameters
    ----------
    centre
        Mean of the class means, shape ``(dimensions,)``.
    offsets
        Means of the predicted classes from there, shape ``(classes, dimensions)``.
    directions
        Orthonormal directions, shape ``(dimensions, rank)``.
    variances
        The shrunk covariance along these, shape ``(rank,)``.
    rest
        One over the variance along all other directions; 0 where there are none.

    References
    ----------
    Mueller and Hein, "Mahalanobis++: improving OOD detection via feature normalization", ICML 2025.
    Lee et al., "A simple unified framework for detecting out-of-distribution samples", NeurIPS 2018.
    Chen et al., "Shrinkage algorithms for MMSE covariance estimation", IEEE TSP 2010 (oracle approximating shrinkage).
    Tipping and Bishop, "Probabilistic principal component analysis", JRSS B 1999 (directions taken as alike).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> known = Batch.from_columns("m:1", {"embedding": rng.normal(size=(500, 8)) + 3})
    >>> odd = Batch.from_columns("m:1", {"embedding": rng.normal(size=(500, 8)) - 3})
    >>> scorer = MahalanobisPlusPlus.fit(known)
    >>> bool(np.median(scorer.score(odd)) > np.quantile(scorer.score(known), 0.99))
    True
    """

    name: Final = "mahalanobis"
    stream: Final = "embedding.typicality"

    def __init__(
        self, centre: Floats, offsets: Floats, directions: Floats, variances: Floats, rest: float
    ) -> None:
        self._centre = centre
        self._offsets = offsets
        self._directions = directions
        self._variances = variances
        self._rest = rest
        self._weights = 1.0 / variances - rest
        self._targets = offsets @ directions
        self._lengths = rest * np.einsum("ij,ij->i", offsets, offsets) + self._targets**2 @ self._weights

    @classmethod
    def fit(cls, batch: Batch) -> Self | None:
        """Learn class means and their covariance; None when no more than two inferences have an embedding."""
        if batch.embedding is None:
            return None
        most = max(_LEARNED // batch.embedding.shape[1], _FEW + 1)
        rows = np.unique(np.linspace(0, len(batch) - 1, min(most, len(batch))).astype(np.intp))
        points, finite = _normalised(batch.embedding[rows])
        if len(points) <= _FEW:
            return None
        codes = _codes(batch, rows[finite], most=min(_CLASSES, max(_OFFSETS // points.shape[1], 1)))
        points, codes = points[codes >= 0], codes[codes >= 0]
        means = np.zeros((int(codes.max()) + 1, points.shape[1]))
        np.add.at(means, codes, points)
        means /= np.bincount(codes)[:, None]
        points -= means[codes]
        directions, variances, rest = _shrunk(points)
        centre = means.mean(axis=0)
        return cls(centre, _single(means - centre), _single(directions), variances, rest)

    def score(self, batch: Batch) -> Floats:
        """Score every inference, shape ``(n,)``; NaN without a finite embedding of the fitted size.

        Scores are multiples of 2^-12: what an embedding scores does not depend on those that are scored with it.
        """
        scores = np.full(len(batch), np.nan)
        found = batch.embedding
        if found is None or found.shape[1] != len(self._centre):
            return scores
        for start in range(0, len(batch), _CHUNK):
            points, rows = _normalised(found[start : start + _CHUNK])
            points -= self._centre
            within = points @ self._directions
            near = self._lengths - 2.0 * ((within * self._weights) @ self._targets.T)
            if self._rest:
                near -= 2.0 * self._rest * (points @ self._offsets.T)
            distance = within**2 @ self._weights + self._rest * np.einsum("ij,ij->i", points, points)
            nearest = np.maximum(distance + near.min(axis=1), 0.0)
            scores[start + rows] = np.round(nearest * _GRID) / _GRID
        return scores

    def dump(self) -> Mapping[str, object]:
        """Return class means and covariance: at most 4 megabytes whatever was fitted."""
        return {
            "centre": self._centre,
            "offsets": self._offsets.astype(np.float32),
            "directions": self._directions.astype(np.float32),
            "variances": self._variances,
            "rest": self._rest,
        }

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> Self:
        """Make a fitted scorer from what `dump` returned."""
        names = ("centre", "offsets", "directions", "variances")
        centre, offsets, directions, variances = (np.asarray(state[name], np.float64) for name in names)
        return cls(centre, offsets, directions, variances, float(state["rest"]))


def _single(values: Floats) -> Floats:
    """Round to what is kept, so that a score is the same before and after."""
    return values.astype(np.float32).astype(np.float64)


def _normalised(embedding: NDArray[np.floating[Any]]) -> tuple[Floats, NDArray[np.intp]]:
    """Return embeddings of length one and the rows they belong to, leaving out what is not finite."""
    points = embedding.astype(np.float64)
    norms = np.sqrt(np.einsum("ij,ij->i", points, points))
    rows = np.flatnonzero(np.isfinite(norms))
    if len(rows) < len(points):
        points, norms = points[rows], norms[rows]
    points /= np.maximum(norms, _TINY)[:, None]
    return points, rows


def _codes(batch: Batch, rows: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """Number the predicted classes of these rows, at most `most`; -1 where a class has too few.

    All are one class when the model predicts none, and when those with enough hold less than half of the rows.
    """
    label = batch.label
    if label is not None:
        numbers: dict[object, int] = {}
        named = (
            value if isinstance(value, (str, int, float)) else str(value) for value in label[rows].tolist()
        )
        found = np.fromiter((numbers.setdefault(name, len(numbers)) for name in named), np.intp, len(rows))
        counts = np.bincount(found)
        kept = np.argsort(-counts, kind="stable")[:most]
        kept = kept[counts[kept] >= _MEMBERS]
        if counts[kept].sum() * 2 >= len(rows):
            places = np.full(len(counts), -1)
            places[kept] = np.arange(len(kept))
            return places[found]
    return np.zeros(len(rows), np.intp)


def _shrunk(residuals: Floats) -> tuple[Floats, Floats, float]:
    """Estimate a covariance by oracle approximating shrinkage: directions, variances there, one over that elsewhere."""
    count, dimensions = residuals.shape
    rank = min(dimensions, max(_FACTORS // dimensions, 1))
    size = float(np.einsum("ij,ij->", residuals, residuals)) / count
    directions, variances, square = spectrum(residuals, rank)
    numerator = (1.0 - 2.0 / dimensions) * square + size**2
    denominator = (count + 1.0 - 2.0 / dimensions) * (square - size**2 / dimensions)
    weight = 1.0 if denominator <= _TINY * numerator else min(1.0, numerator / denominator)
    floor = weight * max(size / dimensions, _TINY) + _TINY
    others = dimensions - directions.shape[1]
    left = max(size - float(variances.sum()), 0.0) / max(others, 1)
    rest = 1.0 / ((1.0 - weight) * left + floor) if others else 0.0
    return directions, (1.0 - weight) * variances + floor, rest
