"""A reference: what is normal for a model, fitted once, versioned, never changed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
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
from davy.event import Path
from davy_detectors.base import Attempt, Floats, Scorer, attempted
from davy_detectors.batch import Batch
from davy_detectors.reference.binning import CELLS, Bins, NumberBins, cells, fit_bins, load_bins
from davy_detectors.reference.features import Feature, features
from davy_detectors.reference.schema import Schema, rules_for
from davy_detectors.reference.scored import ScoredBatch, scores_of

_logger: Final = logging.getLogger("davy.detectors")
LEAST: Final = 200
_VERSION: Final = 3
_RANKED: Final = 20_000


class Reference:
    """What is normal for a model: bins of every monitored stream, fitted scorers, distributions of their scores.

    A scorer that learns is fitted on a random half of the inferences; its score's distribution and bins come from the
    other half, because a scorer thinks better of what it has learned from; so are the models of texts. Everything else
    uses all of them.

    Attributes
    ----------
    model
        ``"name:version"``.
    size
        How many inferences it was fitted on.
    scorers
        The fitted scorers of the entry point group ``davy.scorers``, by name.
    schema
        What each captured field is: live columns are read by it, however they came.
    bins
        The bins of every monitored stream, by name: numeric ones first.
    learned_until
        Event time of the newest inference it was fitted on, when they came from the log, else 0. Inferences up to then
        are no sample to test: half of them taught the scorers.
    unproven
        Streams that no live inference may ever have: a file named them, and nothing was captured that says so. Until
        the first value they have live, that they are missing means nothing.

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

    def __init__(  # noqa: PLR0913 - the parts of a reference
        self,
        model: str,
        *,
        size: int,
        scorers: Mapping[str, Scorer],
        schema: Schema,
        bins: Mapping[str, Bins],
        calibration: Mapping[str, Floats],
        unproven: Iterable[str] = (),
        learned_until: int = 0,
    ) -> None:
        self.model = model
        self.size = size
        self.scorers = scorers
        self.schema = schema
        self.bins = dict(sorted(bins.items(), key=lambda item: not isinstance(item[1], NumberBins)))
        self.unproven = frozenset(unproven)
        self.learned_until = learned_until
        self._calibration = calibration

    @classmethod
    def fit(
        cls,
        model: str,
        batch: Batch,
        *,
        settings: DetectSettings,
        seed: int = 0,
        captured: Collection[Path] | None = None,
        proven: bool = True,
        learned_until: int = 0,
    ) -> Self:
        """Learn what is normal from inferences of a time when the model did well.

        Parameters
        ----------
        model
            ``"name:version"``.
        batch
            Its inferences.
        settings
            Among them what the user decided about fields.
        seed
            Of the halves.
        captured
            The fields that inferences of the model have had, where that is known: no others are watched.
        proven
            Whether live inferences have the fields of `batch`; of a file nobody knows before something is captured.
        learned_until
            Event time of the newest of them, when they come from the log: detection begins after it.

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
        halves = _halves(len(batch), seed)
        schema = Schema.decide(batch, rules_for(model, settings.fields), captured)
        batch = schema.conform(batch)
        learn, judge = batch.take(halves[0]), batch.take(halves[1])
        schema = schema.learn(learn, seed)
        found = features(batch, schema.only(text=False)) | features(judge, schema.only(text=True))
        bins = {name: fit_bins(feature) for name, feature in found.items()}
        scorers: dict[str, Scorer] = {}
        calibration: dict[str, Floats] = {}
        for name, load in _scorers().items():
            made = _fitted(name, load, learn, judge, batch)
            if made is None:
                continue
            fitted, scores = made
            scorers[name] = fitted
            calibration[name] = _ordered(scores, seed)
            if fitted.stream is not None:
                bins[fitted.stream] = fit_bins(Feature("numeric", scores))
        if not bins:
            raise ReferenceInvalid("reference", model, _nothing_left(schema.unwatched))
        return cls(
            model,
            size=len(batch),
            scorers=scorers,
            schema=schema,
            bins=bins,
            calibration=calibration,
            unproven=() if proven else bins,
            learned_until=learned_until,
        )

    @cached_property
    def version(self) -> str:
        """The hash of the content, 16 hexadecimal digits."""
        return blake2b(self.to_bytes(), digest_size=8).hexdigest()

    @property
    def streams(self) -> tuple[str, ...]:
        """The names of what is monitored, in the order of the rows of their bins."""
        return tuple(self.bins)

    @property
    def unwatched(self) -> Mapping[str, str]:
        """Why a captured field, or a column of the file, is compared with nothing; by name."""
        return self.schema.unwatched

    def scored(self, batch: Batch, attempt: Attempt = attempted) -> ScoredBatch:
        """Return inferences with their scores, ranks and bins; `attempt` calls each scorer."""
        return ScoredBatch(self, batch, attempt)

    def rank(self, scorer: str, scores: Floats) -> Floats:
        """Return the share of the reference that scores as high, see `ScoredBatch.ranks`."""
        return upper_tail(self._calibration[scorer], scores)

    def bin(self, found: Mapping[str, Feature], count: int) -> NDArray[np.uint8]:
        """Return the bin of every monitored stream, shape ``(streams, count)``; what was not found is missing."""
        bins = np.empty((len(self.bins), count), np.uint8)
        bins[: len(self._centres)] = self._bin_numbers(found, count)
        for row, (name, fitted) in enumerate(self.bins.items()):
            if row >= len(self._centres):
                feature = found.get(name)
                bins[row] = fitted.missing if feature is None else fitted.bin(feature)
        return bins

    def to_bytes(self) -> bytes:
        """Return the reference as bytes; equal references give equal bytes."""
        return dump_any(
            {
                "v": _VERSION,
                "model": self.model,
                "size": self.size,
                "learned_until": self.learned_until,
                "schema": self.schema.dump(),
                "unproven": sorted(self.unproven),
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
                learned_until=found["learned_until"],
                scorers=scorers,
                schema=Schema.load(found["schema"]),
                unproven=found["unproven"],
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
            values[row] = found[name].values if name in found else np.nan
        places = cells(values, self._centres[:, None]) + self._offsets
        bins: NDArray[np.uint8] = self._tables.take(places)
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
    """Return ``(#{ordered >= score} + 1) / (#ordered + 1)`` for every score; NaN stays NaN.

    Examples
    --------
    >>> upper_tail(np.array([1.0, 2.0, 3.0]), np.array([0.0, 3.0, 9.0]))
    array([1.  , 0.5 , 0.25])
    """
    below = np.searchsorted(ordered, scores, side="left")
    ranks: Floats = np.where(np.isnan(scores), np.nan, (len(ordered) - below + 1) / (len(ordered) + 1))
    return ranks


def _nothing_left(unwatched: Mapping[str, str]) -> str:
    """Say what to do when nothing is left to watch: of the fields there are, why the most are not watched."""
    if not unwatched:
        return "capture inputs, outputs or an embedding"
    ((reason, count),) = Counter(unwatched.values()).most_common(1)
    return f"nothing is left to watch: {count} of {len(unwatched)} fields are left out ({reason}); leave out fewer"


def _fitted(
    name: str, point: EntryPoint, learn: Batch, judge: Batch, batch: Batch
) -> tuple[Scorer, Floats] | None:
    """Return a scorer and scores it did not learn from; None where it cannot be fitted on these, or fails."""
    try:
        fitted: Scorer | None = point.load().fit(learn)
        return None if fitted is None else (fitted, scores_of(fitted, judge if fitted.dump() else batch))
    except Exception as error:  # noqa: BLE001 - a plug-in's failure is its own, and said
        _logger.warning(
            "scorer %s cannot be fitted and is left out: %s: %s", name, type(error).__name__, error
        )
        return None


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
