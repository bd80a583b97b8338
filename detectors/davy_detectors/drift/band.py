"""How far a mean may truly lie above what a finite reference shows."""

from __future__ import annotations

from math import log, sqrt


def clopper_pearson(hits: int, total: int, error: float) -> float:
    """Return the upper bound of a probability after `hits` in `total` trials, missed with probability `error`.

    References
    ----------
    Clopper and Pearson, "The use of confidence or fiducial limits", Biometrika 1934.

    Examples
    --------
    >>> round(clopper_pearson(0, 100, 0.05), 4)
    0.0295
    """
    from scipy.special import betaincinv

    return 1.0 if hits >= total else float(betaincinv(hits + 1, total - hits, 1.0 - error))


def empirical_bernstein(mean: float, variance: float, total: int, error: float) -> float:
    """Return the upper bound of a mean of values in [0, 1], missed with probability `error`; at most 1.

    `variance` is the unbiased sample variance of `total` values.

    References
    ----------
    Maurer and Pontil, "Empirical Bernstein bounds and sample-variance penalization", COLT 2009, theorem 4.

    Examples
    --------
    >>> round(empirical_bernstein(0.5, 1 / 12, 10_000, 0.05), 4)
    0.5087
    """
    if total <= 1:
        return 1.0
    length = log(2.0 / error)
    return min(1.0, mean + sqrt(2.0 * variance * length / total) + 7.0 * length / (3.0 * (total - 1)))
