"""The widest directions of a cloud of points, at the price of its smaller side."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from davy_detectors.batch import Floats

_EXACT: Final = 1_024
_MORE: Final = 16
_ROUNDS: Final = 2
_ROUNDING: Final = 1e-12
_LEAST: Final = 1e-9
"""Variances smaller than this share of the largest are lost in rounding when worked out of the points' products."""


def spectrum(points: Floats, rank: int) -> tuple[Floats, Floats, float]:
    """Return the widest directions of centred points, the variances along them, the sum of all squared variances.

    Exact where points or dimensions are at most 1 024; else by randomised subspace iteration, whose cost grows with
    points, dimensions and rank and no longer with the cube of either side.

    Parameters
    ----------
    points
        Shape ``(n, dimensions)``.
    rank
        The most directions wanted; fewer where the points span fewer.

    Returns
    -------
    Orthonormal directions, shape ``(dimensions, rank)``; variances in falling order; the squared Frobenius norm
    of the covariance.

    References
    ----------
    Halko, Martinsson and Tropp, "Finding structure with randomness", SIAM Review 2011, algorithm 4.4.
    """
    count, dimensions = points.shape
    if dimensions <= min(count, _EXACT):
        covariance = points.T @ points / count
        values, vectors = np.linalg.eigh(covariance)
        return vectors[:, ::-1][:, :rank], np.maximum(values[::-1][:rank], 0.0), _squares(covariance)
    if count <= _EXACT:
        gram = points @ points.T / count
        values, vectors = np.linalg.eigh(gram)
        spread = values > max(float(values[-1]), 0.0) * _LEAST
        values, vectors = values[spread][::-1][:rank], vectors[:, spread][:, ::-1][:, :rank]
        return points.T @ vectors / np.sqrt(values * count), values, _squares(gram)
    return _randomised(points.astype(np.float32), min(rank, count, dimensions))


def _randomised(points: NDArray[np.float32], rank: int) -> tuple[Floats, Floats, float]:
    count, dimensions = points.shape
    width = min(rank + _MORE, dimensions)
    probe = np.random.default_rng(0).standard_normal((dimensions, width), np.float32)
    basis = points.T @ (points @ probe) / count
    square = _squares(basis) / width  # for a probe g of independent normals, E |Sg|² is the squared norm of S
    for _ in range(_ROUNDS):
        basis = points.T @ (points @ _orthonormal(basis).astype(np.float32)) / count
    directions = _orthonormal(basis)
    seen = (points @ directions.astype(np.float32)).astype(np.float64)
    values, vectors = np.linalg.eigh(seen.T @ seen / count)
    return directions @ vectors[:, ::-1][:, :rank], np.maximum(values[::-1][:rank], 0.0), square


def _orthonormal(basis: NDArray[np.floating[Any]]) -> Floats:
    """Return an orthonormal basis of the same space: by products, which two busy cores hold up less than a QR."""
    result: Floats = basis.astype(np.float64)
    for _ in range(2):
        values, vectors = np.linalg.eigh(result.T @ result)
        spread = values > values[-1] * _ROUNDING
        result = result @ (vectors[:, spread] / np.sqrt(values[spread]))
    return result


def _squares(matrix: NDArray[np.floating[Any]]) -> float:
    return float(np.einsum("ij,ij->", matrix, matrix, dtype=np.float64))
