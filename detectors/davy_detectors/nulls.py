"""Clean streams of many kinds: on none may a monitor raise more alarms than its user accepts.

They are what real fields hold: heavy tails, ties, gaps, constants, categories with a tail that no reference ever holds
whole, free text. Each draws independent inferences of one distribution, one column of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any, Final

import numpy as np

from davy.config import DetectSettings
from davy.event import Array
from davy_detectors.batch import Batch, Floats
from davy_detectors.reference import Reference

MODEL: Final = "checked:1"
Draw = Callable[[np.random.Generator, int], Array]
_AGENTS: Final = 20
_VERSIONS: Final = 100_000
_POSTCODES: Final = 8_000
_VOCABULARY: Final = 3_000
_FEW: Final = "the model says yes no maybe because of weather and price good bad fine great north south east"
_ANSWER: Final = 12


def null(name: str, rng: np.random.Generator, size: int) -> Batch:
    """Draw inferences of one of `NULLS`.

    Examples
    --------
    >>> batch = null("user agents", np.random.default_rng(0), 3)
    >>> batch.fields[("inputs", "x")].values.tolist()
    ['browser 17', 'browser 12', 'bot/4097']
    """
    column = "outputs.label" if name in _ANSWERS else "inputs.x"
    return Batch.from_columns(MODEL, {column: NULLS[name](rng, size)})


def null_reference(name: str, rng: np.random.Generator, size: int, settings: DetectSettings) -> Reference:
    """Fit a reference on inferences of one of `NULLS`; postcodes and hashes as categories, as a user may ask."""
    rules = (("inputs.x", "categorical"),) if name in _CODES else ()
    return Reference.fit(MODEL, null(name, rng, size), settings=replace(settings, fields=rules))


def _holes(rng: np.random.Generator, size: int) -> Array:
    values = rng.normal(size=size).astype(object)
    values[rng.random(size) < 0.1] = None
    return values


def _chosen(*names: str, shares: list[float]) -> Draw:
    return lambda rng, size: rng.choice(np.array(names, object), size, p=shares)


def _agents(rng: np.random.Generator, size: int) -> Array:
    known, other = rng.integers(_AGENTS, size=size), rng.integers(_VERSIONS, size=size)
    return _texts("browser ", known, where=rng.random(size) < 0.9, otherwise=_texts("bot/", other))


def _postcodes(rng: np.random.Generator, size: int) -> Array:
    people = np.random.default_rng(0).lognormal(0.0, 1.5, _POSTCODES)
    found = rng.choice(_POSTCODES, size, p=people / people.sum())
    return np.array([f"{code * 12 + 1_000:05d}" for code in found.tolist()], object)


def _hashes(rng: np.random.Generator, size: int) -> Array:
    return np.array([f"{found:016x}" for found in rng.integers(2**62, size=size).tolist()], object)


def _texts(stem: str, numbers: Any, *, where: Any = None, otherwise: Array | None = None) -> Array:
    named = np.array([f"{stem}{number}" for number in numbers.tolist()], object)
    return named if otherwise is None else np.where(where, named, otherwise)


def _sentences(rng: np.random.Generator, size: int) -> Array:
    words, shares = _vocabulary()
    lengths = rng.integers(5, 41, size)
    drawn = words[np.searchsorted(shares, rng.random(int(lengths.sum())))].tolist()
    stops = np.cumsum(lengths).tolist()
    found = np.empty(size, object)
    found[:] = [
        " ".join(drawn[stop - length : stop]) for stop, length in zip(stops, lengths.tolist(), strict=True)
    ]
    return found


def _answers(rng: np.random.Generator, size: int) -> Array:
    drawn = rng.choice(np.array(_FEW.split(), object), (size, _ANSWER)).tolist()
    found = np.empty(size, object)
    found[:] = [" ".join(words) for words in drawn]
    return found


@cache
def _vocabulary() -> tuple[Array, Floats]:
    """Make up words of two to nine letters, the first as frequent as 'the', and sum up how frequent they are."""
    rng = np.random.default_rng(0)
    made = ["".join(rng.choice(list("etaoinshrdlu"), rng.integers(2, 10))) for _ in range(_VOCABULARY)]
    shares = 1.0 / np.arange(1.0, _VOCABULARY + 1.0)
    return np.array(made, object), np.cumsum(shares[:-1] / shares.sum())


NULLS: Final[Mapping[str, Draw]] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "lognormal": lambda rng, n: rng.lognormal(0, 2, n),
    "student t with 2 degrees of freedom": lambda rng, n: rng.standard_t(2, n),
    "ties": lambda rng, n: rng.poisson(3.0, n).astype(float),
    "three numbers": lambda rng, n: rng.choice([0.0, 1.0, 2.0], n, p=[0.6, 0.3, 0.1]),
    "three categories": _chosen("red", "green", "blue", shares=[0.7, 0.25, 0.05]),
    "a tenth missing": _holes,
    "zero or more": lambda rng, n: np.maximum(rng.normal(size=n), 0.0),
    "constant": lambda _, n: np.full(n, 4.0),
    "a rare event": lambda rng, n: rng.random(n) < 0.002,
    "categories by Zipf's law, exponent 1.6": lambda rng, n: _texts("shop-", rng.zipf(1.6, n)),
    "user agents": _agents,
    "postcodes": _postcodes,
    "hashes": _hashes,
    "free text": _sentences,
    "answers of few words": _answers,
}
"""By name: draws the values of one field. User agents are twenty names, a tenth of them any of 100 000 versions."""
_ANSWERS: Final = frozenset({"answers of few words", "categories by Zipf's law, exponent 1.6"})
_CODES: Final = frozenset({"postcodes", "hashes"})
