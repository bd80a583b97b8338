"""The dictionary of bounded scores: what each sees rise, and how a reference's bins are scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from davy_detectors.batch import Floats
from davy_detectors.reference.binning import QUANTILES, Bins, CategoryBins, NumberBins

_GRID: Final = 2.0**20
_HALF: Final = 0.5
_ABSENCE: Final = 0.05
_TAILS: Final = (0.01, 0.05)
_HALF_LINES: Final = (0.25, 0.5, 0.75)


@dataclass(frozen=True, slots=True)
class Score:
    """One bounded function of a stream's bins; drift is a rise of its mean.

    `values` are in [0, 1], one a bin, shape ``(bins,)``. In the bins of `neutral` (missing, not finite) the score
    takes the reference's mean, so that only the score made for them reacts. `weight` is the prior weight of its bets.
    """

    change: str
    values: Floats
    neutral: NDArray[np.bool_]
    weight: float

    @property
    def indicator(self) -> bool:
        """Whether the score is 0 or 1 wherever it is not neutral."""
        return bool(np.isin(self.values[~self.neutral], (0.0, 1.0)).all())

    def describe(self, current: float) -> str:
        """Say in words what a rise to `current` means.

        Examples
        --------
        >>> Score("top 1 % now {}", np.zeros(1), np.zeros(1, bool), 1.0).describe(0.072)
        'top 1 % now 7.2 %'
        """
        return self.change.replace("{}", f"{100 * current:.1f} %")


def dictionary(bins: Bins) -> list[Score]:
    """Return the scores of a stream.

    A number has 14: the Wilcoxon score up and down (location), the squared distance of the rank from the middle and
    its complement (scale), the top and bottom 1 % and 5 %, six half-lines at the quartiles and the median; and
    one each for missing and not finite more often. A category has each category up and down, unseen up and missing up.
    Where the reference has gaps, or values that are not finite, these have a second score, for less often: where it
    has none there cannot be fewer. Prior weights: location .4, scale .3, tails .2, half-lines .1, of what absence
    leaves; absence has .05 for each of its two bins.
    """
    return _of_numbers(bins) if isinstance(bins, NumberBins) else _of_categories(bins)


def _of_numbers(bins: NumberBins) -> list[Score]:
    inside = len(bins.edges) + 1
    counts = bins.counts[:inside]
    total = max(int(counts.sum()), 1)
    rank = (np.cumsum(counts) - counts / 2) / total
    spread = (2 * rank - 1) ** 2
    groups: list[tuple[float, dict[str, Any]]] = [
        (0.4, {"larger": rank, "smaller": 1 - rank}),
        (0.3, {"more spread": spread, "less spread": 1 - spread}),
        (0.2, _tails(inside)),
        (0.1, _half_lines(inside)),
    ]
    neutral = np.arange(inside + 2) >= inside
    scores = [
        Score(change, _on_grid(values, inside + 2), neutral, (1 - 2 * _ABSENCE) * weight / len(members))
        for weight, members in groups
        for change, values in members.items()
    ]
    return [*scores, *_absence("missing", inside, bins), *_absence("not finite", inside + 1, bins)]


def _tails(inside: int) -> dict[str, Any]:
    tails = {}
    for share in _TAILS:
        percent = f"{100 * share:.0f} % now {{}}"
        tails[f"top {percent}"] = np.arange(inside) > _edge(1 - share)
        tails[f"bottom {percent}"] = np.arange(inside) <= _edge(share)
    return tails


def _half_lines(inside: int) -> dict[str, Any]:
    lines = {}
    for share in _HALF_LINES:
        where = "the median" if share == _HALF else f"the {100 * share:.0f} % quantile"
        lines[f"above {where} now {{}}"] = np.arange(inside) > _edge(share)
        lines[f"below {where} now {{}}"] = np.arange(inside) <= _edge(share)
    return lines


def _edge(quantile: float) -> int:
    return int(np.abs(QUANTILES - quantile).argmin())


def _of_categories(bins: CategoryBins) -> list[Score]:
    size, named = len(bins.counts), len(bins.categories)
    names = [f"category {str(name)!r}" for name in bins.categories]
    if bins.others:
        names.append("rare categories")
    missing = np.arange(size) == bins.missing
    weight = (1 - 2 * _ABSENCE) / max(2 * len(names), 1)
    scores = []
    for code, name in enumerate(names):
        one = _on_grid(np.arange(size) == code, size)
        scores.append(Score(f"{name} more often, now {{}}", one, missing, weight))
        scores.append(Score(f"{name} less often, others now {{}}", 1 - one, missing, weight))
    return [
        *scores,
        _indicator("unseen category, now {}", np.arange(size) == named + 1, _ABSENCE),
        *_absence("missing", bins.missing, bins),
    ]


def _absence(what: str, code: int, bins: Bins) -> list[Score]:
    """Return the scores of a bin that says that there is no value: more often, and less where there are any."""
    inside = np.arange(len(bins.counts)) == code
    if not bins.counts[code]:
        return [_indicator(f"{what} more often, now {{}}", inside, _ABSENCE)]
    return [
        _indicator(f"{what} more often, now {{}}", inside, _ABSENCE / 2),
        _indicator(f"{what} less often, others now {{}}", ~inside, _ABSENCE / 2),
    ]


def _indicator(change: str, inside: NDArray[np.bool_], weight: float) -> Score:
    return Score(change, _on_grid(inside, len(inside)), np.zeros(len(inside), bool), weight)


def _on_grid(values: Any, size: int) -> Floats:
    """Round to multiples of 2^-20 and pad: sums of such scores are exact in any order."""
    padded = np.zeros(size)
    padded[: len(values)] = np.round(np.asarray(values, np.float64) * _GRID) / _GRID
    return padded
