"""The scorers of a reference: each fitted by itself, kept inline or in the blob store, and restored by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from davy.blobs import reference as link
from davy.codec import dump_any, load_any
from davy.errors import BlobError, PluginFailed
from davy_detectors.context import called
from davy_detectors.installed import Blind, Installed
from davy_detectors.scorer import Scorer

if TYPE_CHECKING:
    from davy.blobs import Blobs
    from davy_detectors.batch import Batch, Floats

INLINE: Final = 128 * 1024
"""The largest fitted state that a reference holds itself, in bytes."""
MEDIA_TYPE: Final = "application/vnd.msgpack"
_RANKED: Final = 20_000


@dataclass(frozen=True, slots=True)
class KeptScorer:
    """A scorer as a reference holds it.

    Attributes
    ----------
    package
        The distribution that had it when it was fitted.
    stream
        As which feature its score is watched, None where it only ranks.
    state
        What `Scorer.dump` gave, as bytes; empty where it lies in the blob store.
    hash, length
        Which payload that is, and its bytes.
    """

    package: str
    stream: str | None
    state: bytes = b""
    hash: str = ""
    length: int = 0

    def dump(self) -> list[Any]:
        """Return it as a reference writes it."""
        return [self.package, self.stream, self.state, self.hash, self.length]

    @classmethod
    def load(cls, found: Any) -> Self:
        """Make it of what `dump` gave."""
        return cls(*found)


@dataclass(frozen=True, slots=True)
class Fit:
    """A scorer that was fitted: as it is kept, its payload where that is large, and what it says of what is normal."""

    scorer: Scorer
    kept: KeptScorer
    payload: bytes
    scores: Floats


def fit_scorer(
    name: str, model: str, installed: Installed, learn: Batch, judge: Batch, whole: Batch
) -> Fit | None:
    """Fit a scorer on one half of the inferences, and let it score others; None where it has not what it needs.

    Raises whatever the plug-in raises.

    Parameters
    ----------
    name, model, installed
        Which, for whom, and from where.
    learn, judge, whole
        Two halves, and both: a scorer that learns nothing scores all.
    """
    cls, context = installed.load("scorer", name), installed.context("scorer", name, model)
    scorer: Scorer | None = called(cls.fit, learn, context=context)
    if scorer is None:
        return None
    state = scorer.dump()
    scores = scores_of(scorer, judge if state else whole)
    data, package = dump_any(state), installed.package("scorer", name)
    if len(data) <= INLINE:
        return Fit(scorer, KeptScorer(package, scorer.stream, data), b"", scores)
    found = link(data, MEDIA_TYPE)
    return Fit(scorer, KeptScorer(package, scorer.stream, b"", found.hash, len(data)), data, scores)


def restore_scorers(
    kept: Mapping[str, KeptScorer], model: str, installed: Installed, blobs: Blobs | None
) -> tuple[dict[str, Scorer], dict[str, Blind]]:
    """Return the scorers of a reference that work in this process, and of the others why not, by name."""
    scorers: dict[str, Scorer] = {}
    blind: dict[str, Blind] = {}
    for name, one in kept.items():
        if not installed.has("scorer", name):
            blind[name] = installed.missing("scorer", name, one.package)
            continue
        try:
            state = load_any(one.state if not one.hash else _payload(one, blobs))
            cls, context = installed.load("scorer", name), installed.context("scorer", name, model)
            scorers[name] = called(cls.load, state, context=context)
        except BlobError as error:
            remedy = f"put the blob store right, or fit again: davy reference fit --model {model}"
            blind[name] = Blind("scorer", name, f"its fitted state is missing: {error}", remedy, passing=True)
        except Exception as error:  # noqa: BLE001 - whatever a plug-in raises is its own affair, and said
            found = f"its fitted state cannot be taken up: {type(error).__name__}: {error}"
            remedy = f"mend and upgrade it, or fit again: davy reference fit --model {model}"
            blind[name] = Blind("scorer", name, found, remedy)
    return scorers, blind


def linked(data: bytes) -> list[str]:
    """Return the hashes of what a reference, as bytes, has in the blob store; none of bytes that are no reference."""
    try:
        found = load_any(data)["scorers"].values()
        return sorted(kept.hash for kept in map(KeptScorer.load, found) if kept.hash)
    except Exception:  # noqa: BLE001 - bytes from anywhere, and of older versions: whoever reads them says so
        return []


def scores_of(scorer: Scorer, batch: Batch) -> Floats:
    """Return the scores a scorer gives; raises PluginFailed where they are not one float an inference."""
    scores: object = scorer.score(batch)
    if not isinstance(scores, np.ndarray) or scores.shape != (len(batch),) or scores.dtype.kind != "f":
        found = getattr(scores, "shape", type(scores).__name__)
        raise PluginFailed(
            "scores", found, f"return an array of {len(batch)} floats, NaN where there is no score"
        )
    return scores


def ordered(scores: Floats, seed: int) -> Floats:
    """Sort the finite scores; a random 20 000 of them when there are more."""
    finite = scores[np.isfinite(scores)]
    if len(finite) > _RANKED:
        finite = np.random.default_rng(seed).choice(finite, _RANKED, replace=False)
    return np.sort(finite)


def _payload(one: KeptScorer, blobs: Blobs | None) -> bytes:
    if blobs is None:
        raise BlobError("blob", one.hash, "no blob store is at hand")
    data = blobs.get(one.hash)
    if link(data, MEDIA_TYPE).hash != one.hash:
        raise BlobError("blob", one.hash, "its bytes are damaged")
    return data
