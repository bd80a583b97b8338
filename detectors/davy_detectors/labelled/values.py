"""Answers and truths by column: every value is one number, one text, or nothing that could be compared."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from davy.event import Array
from davy.outputs import key
from davy.outputs.values import scalar
from davy_detectors.base import Floats

_NUMBER: Final = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")
_EXACT: Final = 2**53
_LONGEST: Final = 200
"""Characters of the longest text that is kept as an answer; longer ones are read in the log."""
_VOCABULARY: Final = 65_536


@dataclass(frozen=True, slots=True)
class Values:
    """One value a row, such that two are equal where `davy.outputs.equal` says so of two scalars.

    Attributes
    ----------
    numbers
        Shape ``(n,)``; NaN where the value is no number.
    texts
        Digest of the text, shape ``(n,)``, uint64; 0 where the value is no text.

    Examples
    --------
    >>> answers = Values.of(np.array(["cat", "3", None, "dog"], object))
    >>> truths = Values.of(np.array(["cat", 3.0, "cat", "cat"], object))
    >>> answers.equal(truths)
    array([ 1.,  1., nan,  0.])
    """

    numbers: Floats
    texts: NDArray[np.uint64]

    @classmethod
    def of(cls, values: Array, vocabulary: Vocabulary | None = None) -> Self:
        """Read values of any kind, shape ``(n,)``; what is not one scalar is nothing.

        `vocabulary` learns what the texts are.
        """
        if values.ndim != 1:
            return cls.nothing(len(values))
        if values.dtype.kind in "iuf":
            numbers = values.astype(np.float64)
            if values.dtype.kind == "f" or bool((np.abs(numbers) < _EXACT).all()):
                return cls(numbers, np.zeros(len(values), np.uint64))
        items = values.tolist()
        pairs = list(zip(map(type, items), items, strict=True))  # for True == 1, and they are two values
        try:
            distinct = dict.fromkeys(pairs)
        except TypeError:  # a list or a mapping, which has no hash
            read = [_read(item) for item in items]
        else:
            known = {pair: _read(pair[1]) for pair in distinct}
            read = list(map(known.__getitem__, pairs))
        if vocabulary is not None:
            vocabulary.learn({text for _, text in set(read)})
        digests = {text: digest_of(text) for text in {text for _, text in read}}
        return cls(
            np.array([number for number, _ in read], np.float64),
            np.array([digests[text] for _, text in read], np.uint64),
        )

    @classmethod
    def nothing(cls, count: int) -> Self:
        """Return `count` rows without a value."""
        return cls(np.full(count, np.nan), np.zeros(count, np.uint64))

    @property
    def known(self) -> NDArray[np.bool_]:
        """Whether there is a value, shape ``(n,)``."""
        found: NDArray[np.bool_] = (self.texts != 0) | ~np.isnan(self.numbers)
        return found

    def equal(self, other: Self) -> Floats:
        """Return 1 where both are the same, 0 where not, NaN where one of them is nothing; shape ``(n,)``."""
        same = (self.texts == other.texts) & ((self.texts != 0) | (self.numbers == other.numbers))
        return np.where(self.known & other.known, same.astype(np.float64), np.nan)

    def take(self, rows: Array) -> Self:
        """Return the values of some rows."""
        return type(self)(self.numbers[rows], self.texts[rows])


class Vocabulary:
    """What texts stand behind digests: the first 65,536 of a model; two texts differ however many there are."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._texts = {digest_of(text): text for text in texts}
        self.grown = False

    def learn(self, texts: Iterable[str]) -> None:
        """Remember texts, in their order, as long as there is room."""
        for text in sorted(texts):
            digest = digest_of(text)
            if digest and digest not in self._texts and len(self._texts) < _VOCABULARY:
                self._texts[digest] = text
                self.grown = True

    def texts(self) -> list[str]:
        """Return every text, in the order of the alphabet."""
        return sorted(self._texts.values())

    def text(self, digest: int) -> str:
        """Return the text behind a digest; empty for 0, and where it was learned too late."""
        return self._texts.get(digest, "")


@lru_cache(8_192)
def digest_of(text: str) -> int:
    """Return the number that stands for a text: 0 for the empty one, else 64 bits of its BLAKE2b."""
    if not text:
        return 0
    return (
        int.from_bytes(hashlib.blake2b(text.encode(errors="replace"), digest_size=8).digest(), "little") or 1
    )


def _read(value: Any) -> tuple[float, str]:
    """Return a value as a number and no text, or as a text and no number."""
    found = scalar(value)
    if found is None:
        return np.nan, ""
    if isinstance(found, float):
        return found, ""
    text = key(found)
    if not isinstance(found, bool) and _NUMBER.fullmatch(text) and abs(float(text)) < _EXACT:
        return float(text), ""
    return (np.nan, text) if len(text) <= _LONGEST else (np.nan, "")
