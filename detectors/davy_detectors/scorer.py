"""The contract of a scorer, and how the plug-ins of a model are called such that one fails alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, Self, TypeVar

from davy_detectors.batch import Batch, Floats

T = TypeVar("T")


class Attempt(Protocol):
    """Calls a plug-in, known by its name; gives None where it failed and that is taken care of."""

    def __call__(self, name: str, work: Callable[[], T], /) -> T | None:
        """Return what `work` gives."""


def attempted(name: str, work: Callable[[], T], /) -> T | None:  # noqa: ARG001 - the protocol's
    """Call a plug-in and let it raise."""
    return work()


class Scorer(Protocol):
    """Scores every inference with a number: higher is more suspicious.

    `name` appears in flags, metrics and settings. `fit` learns from reference inferences and returns a new scorer;
    `score` gives an array of shape ``(n,)``, NaN where an inference has not what the scorer needs.
    `dump` and `load` carry the fitted state, of any size, inside a reference or beside it; a scorer that learns nothing
    dumps an empty mapping. `stream` names the feature as which the score is watched for drift; None when it only ranks
    samples. A `fit` or `load` with a parameter `context` is given a `davy_detectors.context.PluginContext` too.
    """

    name: str
    stream: str | None

    @classmethod
    def fit(cls, batch: Batch) -> Self | None:
        """Learn from reference inferences; None when the batch has not what this scorer needs."""

    def score(self, batch: Batch) -> Floats:
        """Score every inference of `batch`, shape ``(n,)``."""

    def dump(self) -> Mapping[str, object]:
        """Return the fitted state: scalars, text, arrays, plain containers."""

    @classmethod
    def load(cls, state: Mapping[str, object]) -> Self:
        """Make a fitted scorer from what `dump` gave."""
