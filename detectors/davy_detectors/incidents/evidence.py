"""What the log shows about an alarm: since when, how many, and which samples carry it.

A monitor keeps counts, not samples. When it raises an alarm, the inferences since the estimated onset are read from the
log once more and each gets the monitor's sample score, the log-likelihood ratio of "after the change" against
"reference" (statistics by Shin, Ramdas and Rinaldo, "E-detectors", 2023; the table look-up of their bets). The best
ones are the evidence. What is ordinary is learned from the inferences shortly before the onset.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from davy.codec import decode
from davy_detectors.batch import Batch, Floats
from davy_detectors.flagging.arms import scores_of
from davy_detectors.history.scan import Rows, Source, payloads, scan

if TYPE_CHECKING:
    from davy_detectors.base import Alarm

CARRIERS: Final = 400
_CANDIDATES: Final = 2 * CARRIERS
_REREAD: Final = 100_000
_CLEAN: Final = 2_000
_CLEAN_ENOUGH: Final = 200
_GUARD: Final = 50
_LATER_SHARE: Final = 0.05
_QUANTILES: Final = (0.5, 0.75, 0.9, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Carrier:
    """An inference that speaks for an alarm, with its sample score and its ranks by scorer."""

    inference_id: bytes
    at: int
    score: float
    scores: Mapping[str, float]
    inference: bytes


@dataclass(frozen=True, slots=True)
class Findings:
    """What the log shows about an alarm.

    Attributes
    ----------
    onset_at
        Event time of the first inference after the estimated change.
    size
        Estimated share of inferences affected since then, 0 to 1; see `affected_share`.
    level
        Sample score from which later inferences are flagged: what one in 200 ordinary inferences reaches, or, when
        too few ordinary ones are known, half of the carriers.
    probability
        Share of those that is flagged: 1, or less when that would be more than one in twenty of all inferences.
    carriers
        Best first, without exact duplicates, at most 400.
    """

    onset_at: int
    size: float
    level: float
    probability: float
    carriers: Sequence[Carrier]


@dataclass(frozen=True, slots=True)
class Case:
    """An alarm and what is known about its episode.

    `score` gives inferences their sample scores for the alarm, `ranks` their ranks by scorer. `alarm` counts inferences
    as its monitor does; adding `begun` gives the running numbers of the model. Inferences from number `calm_since` up
    to `change`, the onset of the episode, are ordinary.
    """

    alarm: Alarm
    score: Callable[[Batch], Floats]
    ranks: Callable[[Batch], Mapping[str, Floats]]
    begun: int
    calm_since: int
    change: int


def gather(source: Source, case: Case) -> Findings:
    """Read the log from the onset to the alarm and rank what is there.

    At most the last 100 000 inferences are read; what retention removed is missing.
    """
    onset, last = case.alarm.onset_event + case.begun, case.alarm.event + case.begun
    first = max(onset, last - _REREAD)
    # The onset is an estimate, about as uncertain as the evidence is long: keep that distance from it.
    clean_end = case.change - min(max(last - onset, _GUARD), _CLEAN)
    clean_begin = max(clean_end - _CLEAN, case.calm_since, 0)
    seen, clean = _read(source, case, (first, last + 1), (clean_begin, max(clean_begin, clean_end)))
    scores = seen.scores[np.isfinite(seen.scores)]
    known = len(clean) >= _CLEAN_ENOUGH
    bar = max(0.0, float(np.quantile(clean, 0.95))) if known else 0.0
    carriers = _carriers(source, case.ranks, seen, bar)
    positive = scores[scores > 0]
    if known:
        level = max(float(np.quantile(clean, 0.995, method="lower")), np.finfo(float).tiny)
    else:
        level = float(np.median(positive)) if len(positive) else np.inf
    reached = float(np.mean(scores >= level)) if len(scores) else 0.0
    return Findings(
        onset_at=int(seen.at[0]) if len(seen.at) else 0,
        size=affected_share(scores, clean) if known else _largest_change(case.alarm),
        level=level,
        probability=min(1.0, _LATER_SHARE / reached) if reached else 1.0,
        carriers=carriers,
    )


def _read(source: Source, case: Case, seen: tuple[int, int], clean: tuple[int, int]) -> tuple[Rows, Floats]:
    """Return the rows of one slice of running numbers and the known scores of an earlier one."""
    read = partial(scan, source, case.score)
    # Each is read beyond its end, for what came late, and the second lies there: near ones are read as one.
    if 0 <= seen[0] - clean[1] <= _REREAD:
        rows = read(clean[0], seen[1] - 1)
        ordinary = rows
    else:
        rows, ordinary = read(seen[0], seen[1] - 1), read(clean[0], clean[1] - 1)
    scores = ordinary.between(*clean).scores
    return rows.between(*seen), scores[np.isfinite(scores)]


def affected_share(scores: Floats, clean: Floats) -> float:
    """Estimate from below which share of inferences is affected, from sample scores now and of ordinary inferences.

    If a share e is affected, then at any level P(now) - P(clean) <= e (1 - P(clean)), where P is the probability to
    reach the level. The best of these bounds over five quantiles of `clean` is given, each one standard error lower.

    Examples
    --------
    >>> clean = np.linspace(0, 1, 2000)
    >>> round(affected_share(np.concatenate([clean[:900], np.full(100, 5.0)]), clean), 1)
    0.1
    """
    if not len(scores) or not len(clean):
        return 0.0
    best = 0.0
    levels = np.quantile(clean, _QUANTILES)
    # Scores of few values may have no mass between two quantiles: each level is tried with and without its equals.
    for level in (*levels, *np.nextafter(levels, np.inf)):
        now, before = float(np.mean(scores >= level)), float(np.mean(clean >= level))
        error = np.sqrt(now * (1 - now) / len(scores) + before * (1 - before) / len(clean))
        if before < 1.0:
            best = max(best, float((now - before - error) / (1 - before)))
    return best


def _largest_change(alarm: Alarm) -> float:
    """Bound the affected share from below by the largest change of a score between 0 and 1."""
    changes = [abs(evidence.current - evidence.reference) for evidence in alarm.features]
    return min(max(changes, default=0.0), 1.0)


def _carriers(
    source: Source, ranks_of: Callable[[Batch], Mapping[str, Floats]], seen: Rows, bar: float
) -> list[Carrier]:
    """Return the rows above `bar`, best first, exact duplicates once."""
    eligible = np.flatnonzero(seen.scores > bar)  # NaN is not above anything
    best = seen.take(eligible[np.argsort(-seen.scores[eligible], kind="stable")][:_CANDIDATES])
    found = payloads(source, best)
    chosen: dict[bytes, int] = {}
    for index in range(len(best.rows)):
        if index in found and len(chosen) < CARRIERS:
            chosen.setdefault(found[index][0], index)
    if not chosen:
        return []
    batch = Batch.concat([Batch.of(decode(found[index][1])) for index in chosen.values()])
    ranks = ranks_of(batch)
    return [
        Carrier(
            inference_id=batch.ids[row].tobytes(),
            at=int(best.at[index]),
            score=float(best.scores[index]),
            scores=scores_of(ranks, row),
            inference=found[index][1],
        )
        for row, index in enumerate(chosen.values())
    ]
