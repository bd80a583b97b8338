"""A reference: what is normal for a model, fitted once, versioned, never changed; and what it says of inferences."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property, partial
from hashlib import blake2b
from math import ceil
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from davy.codec import dump_any, load_any
from davy.config import DetectSettings
from davy.errors import DecodeError, ReferenceInvalid
from davy.event import Path
from davy_detectors.batch import Batch, Floats
from davy_detectors.installed import KINDS, Blind, Installed
from davy_detectors.reference.binning import CELLS, Bins, NumberBins, cells, fit_bins, load_bins
from davy_detectors.reference.features import Feature, features
from davy_detectors.reference.fitted import KeptScorer, fit_scorer, ordered, restore_scorers, scores_of
from davy_detectors.reference.schema import Schema, rules_for
from davy_detectors.scorer import Attempt, Scorer, attempted

if TYPE_CHECKING:
    from davy.blobs import Blobs

_logger: Final = logging.getLogger("davy.detectors")
LEAST: Final = 200
_VERSION: Final = 4
_BEFORE: Final = 3
"""Without the streams and packages of scorers: written until plug-ins could be blind each by itself."""


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
        The fitted scorers of the entry point group ``davy.scorers`` that work in this process, by name.
    kept
        All of its scorers as they are kept, by name.
    blind
        Why the others do not work in this process, by name; everything else about the model is as it would be.
    tried
        The distribution of every plug-in that was there when it was fitted, by kind and name: also of scorers that had
        not what they need.
    payloads
        What belongs into the blob store, by hash, where it was fitted just now.
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
        kept: Mapping[str, KeptScorer] | None = None,
        blind: Mapping[str, Blind] | None = None,
        tried: Mapping[str, Mapping[str, str]] | None = None,
        payloads: Mapping[str, bytes] | None = None,
        unproven: Iterable[str] = (),
        learned_until: int = 0,
        version: str = "",
    ) -> None:
        self.model = model
        self.size = size
        self.scorers = scorers
        self.kept, self.blind = kept or {}, blind or {}
        self.tried = {kind: dict((tried or {}).get(kind, {})) for kind in KINDS}
        self.payloads = payloads or {}
        self.schema = schema
        self.bins = dict(sorted(bins.items(), key=lambda item: not isinstance(item[1], NumberBins)))
        self.unproven = frozenset(unproven)
        self.learned_until = learned_until
        self._calibration = calibration
        self._version = version

    @classmethod
    def fit(  # noqa: PLR0913 - what is known of a file or a log, each by its name
        cls,
        model: str,
        batch: Batch,
        *,
        settings: DetectSettings,
        installed: Installed | None = None,
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
        installed
            The plug-ins; those of this process when None.
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
        installed = installed or Installed(settings)
        halves = _halves(len(batch), seed)
        schema = Schema.decide(batch, rules_for(model, settings.fields), captured)
        batch = schema.conform(batch)
        learn, judge = batch.take(halves[0]), batch.take(halves[1])
        schema = schema.learn(learn, seed)
        found = features(batch, schema.only(text=False)) | features(judge, schema.only(text=True))
        bins = {name: fit_bins(feature) for name, feature in found.items()}
        empty = cls(
            model,
            size=len(batch),
            scorers={},
            schema=schema,
            bins=bins,
            calibration={},
            tried={
                "monitor": {name: installed.package("monitor", name) for name in installed.names("monitor")}
            },
            learned_until=learned_until,
        )
        fitted = empty.with_scorers(batch, installed, seed=seed)
        if not fitted.bins:
            raise ReferenceInvalid("reference", model, _nothing_left(schema.unwatched))
        fitted.unproven = frozenset(() if proven else fitted.bins)
        return fitted

    def unfitted(self, installed: Installed) -> list[str]:
        """Return the scorers that are installed and were not when it was fitted, or failed then."""
        return [name for name in installed.names("scorer") if name not in self.tried["scorer"]]

    def with_scorers(self, batch: Batch, installed: Installed, *, seed: int = 0) -> Self:
        """Return another reference that has the scorers which this one lacks as well; all else is the same.

        One that cannot be fitted on these inferences is left out, and one that fails is tried again the next time.

        Parameters
        ----------
        batch
            Inferences of the time that this one was fitted on.
        installed
            The plug-ins of this process.
        seed
            Of the halves.
        """
        batch, halves = self.schema.conform(batch), _halves(len(batch), seed)
        learn, judge = batch.take(halves[0]), batch.take(halves[1])
        scorers, kept, bins = dict(self.scorers), dict(self.kept), dict(self.bins)
        calibration, payloads = dict(self._calibration), dict(self.payloads)
        tried = {kind: dict(names) for kind, names in self.tried.items()}
        for name in self.unfitted(installed):
            try:
                fit = fit_scorer(name, self.model, installed, learn, judge, batch)
                stream = None if fit is None else fit.kept.stream
                added = (
                    {}
                    if fit is None or stream is None
                    else {stream: fit_bins(Feature("numeric", fit.scores))}
                )
            except Exception as error:  # noqa: BLE001 - a plug-in's failure is its own, and said
                said = "scorer %s cannot be fitted and is left out: %s: %s"
                _logger.warning(said, name, type(error).__name__, error)
                continue
            tried["scorer"][name] = installed.package("scorer", name)
            if fit is None:
                continue
            scorers[name], kept[name], calibration[name] = fit.scorer, fit.kept, ordered(fit.scores, seed)
            bins |= added
            if fit.payload:
                payloads[fit.kept.hash] = fit.payload
        return type(self)(
            self.model,
            size=self.size,
            scorers=dict(sorted(scorers.items())),
            schema=self.schema,
            bins=bins,
            calibration=dict(sorted(calibration.items())),
            kept=dict(sorted(kept.items())),
            blind=self.blind,
            tried={kind: dict(sorted(names.items())) for kind, names in tried.items()},
            payloads=payloads,
            unproven=self.unproven,
            learned_until=self.learned_until,
            version=self._version if kept == self.kept else "",
        )

    @cached_property
    def version(self) -> str:
        """The hash of the content, 16 hexadecimal digits; which plug-ins were tried in vain is no part of that."""
        return self._version or blake2b(dump_any(self._content()), digest_size=8).hexdigest()

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
        """Return the reference as bytes; equal references give equal bytes. Large fitted states are links in them."""
        return dump_any({**self._content(), "version": self.version, "tried": self.tried})

    @classmethod
    def from_bytes(cls, data: bytes, installed: Installed | None = None, blobs: Blobs | None = None) -> Self:
        """Read what `to_bytes` gave; a scorer that cannot be restored here is `blind`, and nothing else.

        Parameters
        ----------
        data
            The bytes.
        installed
            The plug-ins; those of this process when None.
        blobs
            Where large fitted states lie.

        Raises
        ------
        DecodeError
            These are not the bytes of a reference, or another version wrote them.
        """
        installed = installed or Installed()
        try:
            found = load_any(data)
            if found["v"] == _BEFORE:
                version = blake2b(data, digest_size=8).hexdigest()
                found = {**_as_of_now(found, installed), "version": version}
            if found["v"] != _VERSION:
                raise DecodeError("reference version", found["v"], "fit the reference again")
            kept = {name: KeptScorer.load(one) for name, one in found["scorers"].items()}
            scorers, blind = restore_scorers(kept, found["model"], installed, blobs)
            return cls(
                found["model"],
                size=found["size"],
                learned_until=found["learned_until"],
                scorers=scorers,
                schema=Schema.load(found["schema"]),
                kept=kept,
                blind=blind,
                tried=found["tried"],
                unproven=found["unproven"],
                bins={name: load_bins(state) for name, state in found["bins"].items()},
                calibration=found["calibration"],
                version=found["version"],
            )
        except DecodeError:
            raise
        except Exception as error:  # bytes from anywhere: every failure means damage
            raise DecodeError("reference", f"{len(data)} bytes", f"is damaged: {error}") from error

    def _content(self) -> dict[str, Any]:
        return {
            "v": _VERSION,
            "model": self.model,
            "size": self.size,
            "learned_until": self.learned_until,
            "schema": self.schema.dump(),
            "unproven": sorted(self.unproven),
            "bins": {name: bins.dump() for name, bins in self.bins.items()},
            "scorers": {name: kept.dump() for name, kept in self.kept.items()},
            "calibration": self._calibration,
        }

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


class ScoredBatch:
    """Inferences of one model as monitors, arms and evidence see them.

    Parameters
    ----------
    reference
        What is normal.
    batch
        Inferences as they came; `batch` has them as the reference's schema reads them.
    attempt
        Calls each scorer.

    Attributes
    ----------
    reference
        What is normal.

    Examples
    --------
    >>> from davy.config import DetectSettings
    >>> from davy_detectors import Batch, Reference
    >>> batch = Batch.from_columns("m:1", {"x": np.linspace(0, 1, 500)})
    >>> scored = Reference.fit("m:1", batch, settings=DetectSettings()).scored(batch)
    >>> scored.bins.shape, scored.take(slice(0, 10)).bins.shape
    ((1, 500), (1, 10))
    """

    def __init__(self, reference: Reference, batch: Batch, attempt: Attempt = attempted) -> None:
        self.reference = reference
        self._given = batch
        self._attempt = attempt

    def __len__(self) -> int:
        return len(self._given)

    @cached_property
    def batch(self) -> Batch:
        """The inferences."""
        return self.reference.schema.conform(self._given)

    @cached_property
    def scores(self) -> Mapping[str, Floats]:
        """The scores by scorer, shape ``(n,)``, higher is more suspicious; a scorer that failed is left out."""
        found = {}
        for name, scorer in self.reference.scorers.items():
            scores = self._attempt(name, partial(scores_of, scorer, self.batch))
            if scores is not None:
                found[name] = scores
        return found

    @cached_property
    def ranks(self) -> Mapping[str, Floats]:
        """The share of the reference that scores as high, by scorer, shape ``(n,)``, in (0, 1].

        ``(#{reference >= score} + 1) / (#reference + 1)``, a conformal p-value: of clean traffic, a share of at most
        `a` has a rank up to `a`. NaN where the score is.
        """
        return {name: self.reference.rank(name, scores) for name, scores in self.scores.items()}

    @cached_property
    def bins(self) -> NDArray[np.uint8]:
        """The bin of every monitored stream, shape ``(streams, n)``, in the order of the reference's `streams`.

        Rows of streams that were not `watched` say nothing.
        """
        found = features(self.batch, self.reference.schema)
        for name, scores in self.scores.items():
            stream = self.reference.kept[name].stream
            if stream is not None:
                found[stream] = Feature("numeric", scores)
        return self.reference.bin(found, len(self))

    @cached_property
    def watched(self) -> NDArray[np.bool_]:
        """Whether each stream is known, shape ``(streams,)``: that of a scorer which failed or is blind is not."""
        unknown = {kept.stream for name, kept in self.reference.kept.items() if name not in self.scores}
        return np.array([stream not in unknown for stream in self.reference.streams], bool)

    def take(self, rows: slice | NDArray[np.intp] | NDArray[np.bool_]) -> ScoredBatch:
        """Return some of the inferences, with what was worked out of them."""
        part = ScoredBatch(self.reference, self._given.take(rows), self._attempt)
        part.__dict__.update(
            batch=self.batch.take(rows),
            scores={name: scores[rows] for name, scores in self.scores.items()},
            bins=self.bins[:, rows],
        )
        return part


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


def _halves(count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[: count // 2]), np.sort(order[count // 2 :])


def _as_of_now(found: dict[str, Any], installed: Installed) -> dict[str, Any]:
    """Return what version 3 wrote as this version does; its scorers' streams are known to those who have them only."""
    scorers = {}
    for name, state in found["scorers"].items():
        if not installed.has("scorer", name):
            raise DecodeError("reference scorer", name, "install what provides it, or fit again")
        stream = installed.load("scorer", name).stream
        scorers[name] = [installed.package("scorer", name), stream, dump_any(state), "", 0]
    ours = {name: "davy" for name in installed.names("scorer") if installed.package("scorer", name) == "davy"}
    tried = {"scorer": ours | {name: kept[0] for name, kept in scorers.items()}, "monitor": {}}
    return {**found, "v": _VERSION, "scorers": scorers, "tried": tried}
