"""Why a candidate cannot be asked: in words for people, and as one of a few causes for the metric."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Final

from davy import metrics
from davy.errors import DavyError
from davy.runtime import Runtime
from davy.store import Store
from davy_miner.candidates import CANDIDATES

_CAUSES: Final = {"inputs": "nothing to see", "outputs": "no answer", "candidate": "damaged"}
_LONGEST: Final = 500


@dataclass(frozen=True, slots=True)
class Problem:
    """A reason, and its cause: nothing to see, no answer, damaged, refused or error."""

    reason: str
    cause: str


def problem(error: Exception, cause: str = "") -> Problem:
    """Return what an exception means for the candidate whose task was being made or sent.

    Examples
    --------
    >>> problem(ZeroDivisionError("division by zero"))
    Problem(reason='ZeroDivisionError: division by zero', cause='error')
    """
    if isinstance(error, DavyError):
        return Problem(str(error)[:_LONGEST], cause or _CAUSES.get(error.field.partition(".")[0], "error"))
    return Problem(f"{type(error).__name__}: {error}"[:_LONGEST], cause or "error")


def tell(runtime: Runtime, model: str, found: Problem) -> None:
    """Count a candidate that cannot be asked."""
    runtime.meter.add(metrics.UNLABELLABLE, model=model, cause=found.cause)


@dataclass(frozen=True, slots=True)
class Unlabellable:
    """How many candidates of a model nobody can be asked about, and how many of them for which reason."""

    model: str
    count: int
    reasons: tuple[tuple[str, int], ...]


def unlabellable_in(store: Store) -> list[Unlabellable]:
    """Return what nobody can be asked about, by model, the most frequent reason first."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for candidate in CANDIDATES.values(store):
        if candidate.state == "unlabellable":
            found[candidate.model][candidate.reason] += 1
    return [Unlabellable(model, by.total(), tuple(by.most_common())) for model, by in sorted(found.items())]
