"""A reference: what is normal for a model, fitted once, versioned, never changed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from hashlib import blake2b
from importlib.metadata import EntryPoint, entry_points
from math import ceil
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from davy.codec import dump_any, load_any
from davy.config import DetectSettings
from davy.errors import DecodeError, ReferenceInvalid
from davy_detectors.base import Floats, Scorer
from davy_detectors.batch import Batch
from davy_detectors.features import Feature, Kind, features
from davy_detectors.sketch import CELLS, Bins, NumberBins, cells, fit_bins, load_bins

LEAST: Final = 200
_VERSION: Final = 1
_RANKED: Final = 20_000


class Reference:
    """What is normal for a model: bins of every monitored stream, fitted scorers, distributions of their scores.

    A scorer that learns is fitted on a random half of the inferences; its score's distribution and bins come from the
    other half, because a scorer thinks better of what it has learned from. Everything else uses all of them.

    Attributes
    ----------
    model
        ``"name:version"``.
    size
        How many inferences it was fitted on.
    scorers
        The fitted scorers of the entry point group ``davy.scorers``, by name.
    kinds
        ``"numeric"`` or ``"categorical"`` by feature, without the streams made from scores.
    bins
        The bins of every monitored stream, by name: numeric ones first.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> batch = Batch.from_columns("iris:1", {"sepal": rng.normal(size=1000)})
    >>> reference = Reference.fit("iris:1", batch, settings=DetectSettings())
    >>> reference.size, list(reference.bins)
    (1000, ['inputs.sepal'])
    >>> Reference.from_bytes(reference.to_bytes()).version == reference.version
    True
    """

    def __init__(
        self,
        model: str,
        *,
        size: int,
        scorers: Mapping[str, Scorer],
        kinds: Mapping[str, Kind],
        bins: Mapping[str, Bins],
        calibration: Mapping[str, Floats],
    ) -> None:
        self.model = model
        self.size = size
        self.scorers = scorers
        self.kinds = kinds
        self.bins = dict(sorted(bins.items(), key=lambda item: not isinstance(item[1], NumberBins)))
        self._calibration = calibration

    @classmethod
    def fit(cls, model: str, batch: Batch, *, settings: DetectSettings, seed: int = 0) -> Self:
        """Learn what is normal from inferences of a time when the model did well.

        Raises
        ------
        ReferenceInvalid
            There are fewer than 200 inferences, or too few for a rank in the top `flag_share`, or nothing to monitor.
        """
        least = max(LEAST, ceil(2.0 / settings.flag_share) if settings.flag_share > 0 else 0)
        if len(batch) < least:
            raise ReferenceInvalid(
                "reference",
                len(batch),
                f"give at least {least} inferences; 10000 or more see small shifts early",
            )
        found = features(batch)
        bins = {name: fit_bins(feature) for name, feature in found.items()}
        scorers: dict[str, Scorer] = {}
        calibration: dict[str, Floats] = {}
        learn, judge = _halves(len(batch), seed)
        for name, load in _scorers().items():
            fitted = load.load().fit(batch.take(learn))
            if fitted is None:
                continue
            scorers[name] = fitted
            scores = fitted.score(batch.take(judge) if fitted.dump() else batch)
            calibration[name] = _ordered(scores, seed)
            if fitted.stream is not None:
                bins[fitted.stream] = fit_bins(Feature("numeric", scores, _absent(scores)))
        if not bins:
            raise ReferenceInvalid("reference", model, "capture inputs, outputs or an embedding")
        kinds = {name: feature.kind for name, feature in found.items()}
        return cls(model, size=len(batch), scorers=scorers, kinds=kinds, bins=bins, calibration=calibration)

    @cached_property
    def version(self) -> str:
        """The hash of the content, 16 hexadecimal digits."""
        return blake2b(self.to_bytes(), digest_size=8).hexdigest()

    @property
    def streams(self) -> tuple[str, ...]:
        """The names of what is monitored, in the order of the rows of `monitored`."""
        return tuple(self.bins)

    def scores(self, batch: Batch) -> dict[str, Floats]:
        """Give the per-sample scores, by scorer, shape ``(n,)``; higher is more suspicious."""
        return {name: scorer.score(batch) for name, scorer in self.scorers.items()}

    def ranks(self, batch: Batch) -> dict[str, Floats]:
        """Give the share of the reference that scores as high, by scorer, shape ``(n,)``, in (0, 1].

        ``(#{reference >= score} + 1) / (#reference + 1)``, a conformal p-value: of clean traffic, a share of at most
        `a` has a rank up to `a`. NaN where the score is.
        """
        return {
            name: upper_tail(self._calibration[name], scores) for name, scores in self.scores(batch).items()
        }

    def monitored(self, batch: Batch) -> NDArray[np.uint8]:
        """Give the bin of every monitored stream, shape ``(streams, n)``, in the order of `streams`."""
        found = features(batch, self.kinds)
        for scorer in self.scorers.values():
            if scorer.stream is not None:
                scores = scorer.score(batch)
                found[scorer.stream] = Feature("numeric", scores, _absent(scores))
        bins = np.empty((len(self.bins), len(batch)), np.uint8)
        bins[: len(self._centres)] = self._bin_numbers(found, len(batch))
        for row, (name, fitted) in enumerate(self.bins.items()):
            if row >= len(self._centres):
                bins[row] = fitted.bin(found[name])
        return bins

    def to_bytes(self) -> bytes:
        """Give the reference as bytes; equal references give equal bytes."""
        return dump_any(
            {
                "v": _VERSION,
                "model": self.model,
                "size": self.size,
                "kinds": self.kinds,
                "bins": {name: bins.dump() for name, bins in self.bins.items()},
                "scorers": {name: scorer.dump() for name, scorer in self.scorers.items()},
                "calibration": self._calibration,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` gave.

        Raises
        ------
        DecodeError
            These are not the bytes of a reference, another version wrote them, or a scorer is not installed.
        """
        known = _scorers()
        try:
            found = load_any(data)
            if found["v"] != _VERSION:
                raise DecodeError("reference version", found["v"], "fit the reference again")
            for name in found["scorers"]:
                if name not in known:
                    raise DecodeError("reference scorer", name, "install what provides it, or fit again")
            scorers = {name: known[name].load().load(state) for name, state in found["scorers"].items()}
            return cls(
                found["model"],
                size=found["size"],
                scorers=scorers,
                kinds=found["kinds"],
                bins={name: load_bins(state) for name, state in found["bins"].items()},
                calibration=found["calibration"],
            )
        except DecodeError:
            raise
        except Exception as error:  # bytes from anywhere: every failure means damage
            raise DecodeError("reference", f"{len(data)} bytes", f"is damaged: {error}") from error

    def _bin_numbers(self, found: Mapping[str, Feature], count: int) -> NDArray[np.uint8]:
        """Bin all numeric streams in one lookup: rows of a matrix, one table after the other."""
        names = self.streams[: len(self._centres)]
        values = np.empty((len(names), count))
        for row, name in enumerate(names):
            values[row] = found[name].values
        places = cells(values, self._centres[:, None]) + self._offsets
        bins: NDArray[np.uint8] = self._tables.take(places)
        for row, name in enumerate(names):
            missing = found[name].missing
            if missing is not None:
                bins[row, missing] = self.bins[name].missing
        return bins

    @cached_property
    def _centres(self) -> Floats:
        return np.array([bins.centre for bins in self.bins.values() if isinstance(bins, NumberBins)])

    @cached_property
    def _offsets(self) -> NDArray[np.int64]:
        return np.arange(len(self._centres), dtype=np.int64)[:, None] * CELLS

    @cached_property
    def _tables(self) -> NDArray[np.uint8]:
        tables = [bins.table for bins in self.bins.values() if isinstance(bins, NumberBins)]
        return np.concatenate([*tables, np.empty(0, np.uint8)])


def upper_tail(ordered: Floats, scores: Floats) -> Floats:
    """Give ``(#{ordered >= score} + 1) / (#ordered + 1)`` for every score; NaN stays NaN.

    Examples
    --------
    >>> upper_tail(np.array([1.0, 2.0, 3.0]), np.array([0.0, 3.0, 9.0]))
    array([1.  , 0.5 , 0.25])
    """
    below = np.searchsorted(ordered, scores, side="left")
    ranks: Floats = np.where(np.isnan(scores), np.nan, (len(ordered) - below + 1) / (len(ordered) + 1))
    return ranks


def _scorers() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in sorted(entry_points(group="davy.scorers"))}


def _halves(count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[: count // 2]), np.sort(order[count // 2 :])


def _ordered(scores: Floats, seed: int) -> Floats:
    """Sort the finite scores; a random 20 000 of them when there are more."""
    finite = scores[np.isfinite(scores)]
    if len(finite) > _RANKED:
        finite = np.random.default_rng(seed).choice(finite, _RANKED, replace=False)
    return np.sort(finite)


def _absent(scores: Floats) -> NDArray[np.bool_]:
    return np.isnan(scores)
