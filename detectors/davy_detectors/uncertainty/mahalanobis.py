"""Distance of an embedding to the nearest class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from davy_detectors.base import Floats
from davy_detectors.batch import Batch

_FEW: Final = 2
_TINY: Final = 1e-12


class MahalanobisPlusPlus:
    """Mahalanobis distance of the normalised embedding to the nearest mean of a predicted class, squared.

    Embeddings are scaled to length one, which removes what their norm says and makes one covariance fit all classes.
    The covariance is shared by the classes and shrunk towards a multiple of the identity.

    Parameters
    ----------
    means
        Means of the predicted classes, shape ``(classes, dimensions)``.
    whitening
        Matrix that makes the covariance the identity, shape ``(dimensions, dimensions)``.

    References
    ----------
    Mueller and Hein, "Mahalanobis++: improving OOD detection via feature normalization", ICML 2025.
    Lee et al., "A simple unified framework for detecting out-of-distribution samples", NeurIPS 2018.
    Chen et al., "Shrinkage algorithms for MMSE covariance estimation", IEEE TSP 2010 (oracle approximating shrinkage).

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

    def __init__(self, means: Floats, whitening: Floats) -> None:
        self._means = means
        self._whitening = whitening
        self._centre = means.mean(axis=0)
        self._targets = (means - self._centre) @ whitening

    @classmethod
    def fit(cls, batch: Batch) -> Self | None:
        """Learn class means and their covariance; None when no more than two inferences have an embedding."""
        points, rows = _normalised(batch)
        if points is None or len(points) <= _FEW:
            return None
        codes = _codes(batch, rows)
        counts = np.bincount(codes)
        means = np.zeros((len(counts), points.shape[1]))
        np.add.at(means, codes, points)
        means /= counts[:, None]
        covariance = _shrunk(points - means[codes])
        values, vectors = np.linalg.eigh(covariance)
        return cls(means, vectors / np.sqrt(values))

    def score(self, batch: Batch) -> Floats:
        """Score every inference, shape ``(n,)``; NaN without a finite embedding of the fitted size."""
        scores = np.full(len(batch), np.nan)
        points, rows = _normalised(batch)
        if points is None or points.shape[1] != self._means.shape[1]:
            return scores
        white = (points - self._centre) @ self._whitening
        cross = white @ self._targets.T
        nearest = (np.einsum("ij,ij->i", self._targets, self._targets) - 2.0 * cross).min(axis=1)
        scores[rows] = np.maximum(np.einsum("ij,ij->i", white, white) + nearest, 0.0)
        return scores

    def dump(self) -> Mapping[str, object]:
        """Give class means and whitening matrix."""
        return {"means": self._means, "whitening": self._whitening}

    @classmethod
    def load(cls, state: Mapping[str, object]) -> Self:
        """Make a fitted scorer from what `dump` gave."""
        return cls(np.asarray(state["means"], np.float64), np.asarray(state["whitening"], np.float64))


def _normalised(batch: Batch) -> tuple[Floats | None, NDArray[np.intp]]:
    """Give embeddings of length one and the rows they belong to, leaving out what is not finite."""
    if batch.embedding is None:
        return None, np.empty(0, np.intp)
    points = batch.embedding.astype(np.float64)
    norms = np.sqrt(np.einsum("ij,ij->i", points, points))
    rows = np.flatnonzero(np.isfinite(norms))
    return points[rows] / np.maximum(norms[rows, None], _TINY), rows


def _codes(batch: Batch, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Number the predicted classes of these rows; all one class when the model predicts none."""
    label = batch.label
    if label is None:
        return np.zeros(len(rows), np.intp)
    named: Any = label[rows].astype(str) if label.dtype == object else label[rows]
    codes: NDArray[np.intp] = np.unique(named, return_inverse=True)[1]
    return codes


def _shrunk(residuals: Floats) -> Floats:
    """Estimate a covariance by oracle approximating shrinkage; positive definite whatever the input."""
    count, dimensions = residuals.shape
    sample = residuals.T @ residuals / count
    size, square = float(np.trace(sample)), float(np.einsum("ij,ij->", sample, sample))
    numerator = (1.0 - 2.0 / dimensions) * square + size**2
    denominator = (count + 1.0 - 2.0 / dimensions) * (square - size**2 / dimensions)
    weight = 1.0 if denominator <= _TINY * numerator else min(1.0, numerator / denominator)
    level = max(size / dimensions, _TINY)
    shrunk: Floats = (1.0 - weight) * sample + (weight * level + _TINY) * np.eye(dimensions)
    return shrunk
