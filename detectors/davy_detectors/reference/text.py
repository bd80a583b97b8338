"""What a text says, in a few numbers and categories: how usual its characters and words are, and what it looks like.

No model of language is needed and none is downloaded: what is usual is learned from the reference's own texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from davy.event import Array
from davy_detectors.batch import Floats
from davy_detectors.reference.characters import BLANK, NAMES, SHARES, SINGLE, WIDTH, WORDS, classes, scripts
from davy_detectors.reference.shapes import shapes

MOST: Final = 2_048
"""Characters of a text that are looked at: all of a shorter one, the first and the last half of a longer one."""
_LEARNED: Final = 20_000
_CHUNK: Final = 2**16
"""Characters read side by side: they and what is worked out of them stay in the processor's cache."""
_GRAM_BITS, _WORD_BITS, _PAIR_BITS, _SLOT_BITS = 15, 14, 13, 12
_STEP: Final = 16
_SMOOTHING: Final = 0.5
_MULTIPLIER: Final = np.uint32(0x9E3779B1)
_BASE: Final = np.uint32(0x85EBCA6B)
_INVERSE: Final = np.uint32(pow(int(_BASE), -1, 2**32))
_PAD: Final = "\0" * 8
"""Between texts: n-grams that begin in one text never reach into the next."""

Kind = Literal["numeric", "categorical"]
Hashes = NDArray[np.uint32]
Costs = NDArray[np.uint8]
_TOPICS: Final = 4
_NUMBERS: Final = (
    "typicality",
    "words",
    *(f"topic[{i}]" for i in range(_TOPICS)),
    "length",
    *SHARES,
    "repetition",
)


@dataclass(frozen=True, eq=False)
class TextModel:
    """What the texts of one field usually say, and how far others are from it.

    Small hashed tables hold how often the reference's texts had each 4-gram of characters, each word, and each
    pair of words; a text is judged by the mean of the logarithms of these shares. Words exchanged for others of
    equal length, another language, another topic all lower it. Everything is summed in whole numbers, so a text gets
    the very same numbers alone as in a batch.

    Like every scorer that learns, it thinks better of the texts it has learned from: fit it on one half of a
    reference and count its streams' bins on the other.

    Attributes
    ----------
    answers
        Whether these are a model's answers, whose `shape` is watched too.
    grams, words, pairs
        What an n-gram of characters, a word, a pair of words costs: ``-16 ln(share)``, rounded, by its hash; shapes
        ``(32768,)``, ``(16384,)`` and ``(8192,)``, uint8. A share has half a sighting added.

    References
    ----------
    Cavnar and Trenkle, "N-gram-based text categorization", SDAIR 1994. Weinberger et al., "Feature hashing for large
    scale multitask learning", ICML 2009.

    Examples
    --------
    >>> texts = ["the price is good", "the weather is fine", "the price is fine"] * 20
    >>> model = TextModel.fit(texts, answers=True, seed=0)
    >>> found = model.features(["the weather is good", "xyz qwertyu op jklm", "", None])
    >>> bool(found["typicality"][0] > found["typicality"][1] + 2), found["shape"].tolist()
    (True, ['plain', 'plain', 'empty', None])
    """

    answers: bool
    grams: Costs
    words: Costs
    pairs: Costs

    @classmethod
    def fit(cls, texts: Sequence[str | None], *, answers: bool, seed: int) -> Self:
        """Learn from a reference's texts, None where there was none; from a random 20 000 when there are more."""
        rows = list(range(len(texts)))
        if len(texts) > _LEARNED:
            rows = np.random.default_rng(seed).choice(len(texts), _LEARNED, replace=False).tolist()
        present = [_cut(str(text)) for text in map(texts.__getitem__, rows) if text is not None]
        sizes = (_GRAM_BITS, _WORD_BITS, _PAIR_BITS)
        seen = [np.zeros(2**bits, np.int64) for bits in sizes]
        for part in _chunks(present):
            read = _Read(part)
            for counts, bits, hashes in zip(seen, sizes, (read.grams, read.words, read.pairs), strict=True):
                counts += np.bincount(_slots(hashes, bits), minlength=len(counts))
        return cls(answers, *(_costs(counts) for counts in seen))

    @property
    def streams(self) -> tuple[tuple[str, Kind], ...]:
        """The name and the kind of every stream that `features` gives."""
        categories = ("script", "shape") if self.answers else ("script",)
        kinds: dict[str, Kind] = {
            **dict.fromkeys(_NUMBERS, "numeric"),
            **dict.fromkeys(categories, "categorical"),
        }
        return tuple(kinds.items())

    def features(self, texts: Sequence[str | None]) -> dict[str, Array]:
        """Return what is watched about texts, by stream, shape ``(n,)``.

        Where a text is None, numbers are NaN and categories None.

        ``typicality``
            Mean logarithm of the shares of its 4-grams of characters; 0 for an empty text.
        ``words``
            Mean logarithm of the shares of its words and pairs of words.
        ``topic[0]`` … ``topic[3]``
            How its words fall on one or the other side of four random partings of all words, rare words counting
            more; in [-1, 1]. Other words as usual as those before do not change how usual a text is, but this.
        ``length``
            Characters.
        ``letters``, ``upper``, ``digits``, ``punctuation``, ``space``
            Shares of its characters; ``upper`` is among letters that know case.
        ``repetition``
            Share of its 8-grams of characters that came before.
        ``script``
            The script of most letters: Latin, Cyrillic, Arabic, Han, Japanese, …; "none" without letters.
        ``shape``
            Of answers: empty, json, broken json, refusal, code, plain.
        """
        present = np.fromiter((text is not None for text in texts), bool, len(texts))
        given = [str(text) for text in texts if text is not None]
        parts = [self._numbers(part) for part in _chunks(list(map(_cut, given)))]
        found: dict[str, Array] = {}
        for name in _NUMBERS:
            found[name] = np.full(len(texts), np.nan)
            if parts and name != "length":
                found[name][present] = np.concatenate([numbers[name] for numbers in parts])
        found["length"][present] = np.fromiter(map(len, given), np.float64, len(given))
        found["script"] = np.full(len(texts), None, object)
        found["script"][present] = np.concatenate([part["script"] for part in parts]) if parts else []
        if self.answers:
            found["shape"] = np.full(len(texts), None, object)
            found["shape"][present] = shapes(given)
        return found

    def _numbers(self, texts: list[str]) -> dict[str, Array]:
        read = _Read(texts)
        words = self.words[_slots(read.words, _WORD_BITS)].astype(np.int64)
        pairs = self.pairs[_slots(read.pairs, _PAIR_BITS)]
        sides, counts, cost = _sides(read.words), read.classes, read.by_word(words)
        return {
            "typicality": _mean(read.by_character(self.grams[_slots(read.grams, _GRAM_BITS)]), read.lengths),
            "words": _mean(cost + read.by_word(pairs), read.word_counts),
            **{f"topic[{i}]": _share(read.by_word(words * side), cost) for i, side in enumerate(sides)},
            **{name: _share(counts[:, some], counts[:, of]) for name, (some, of) in SHARES.items()},
            "repetition": read.repetition,
            "script": NAMES[scripts(counts)],
        }

    def dump(self) -> Mapping[str, Any]:
        """Return the fitted state, 57 kilobytes."""
        return {"answers": self.answers, "grams": self.grams, "words": self.words, "pairs": self.pairs}

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> Self:
        """Make a fitted model of what `dump` returned."""
        tables = (np.array(state[name], np.uint8) for name in ("grams", "words", "pairs"))
        return cls(bool(state["answers"]), *tables)


class _Read:
    """Texts side by side as one array of characters, and what can be counted in it."""

    def __init__(self, texts: list[str]) -> None:
        joined = _PAD.join([*texts, ""]).encode("utf-32-le", "surrogatepass")
        self._codes: Hashes = np.frombuffer(joined, "<u4")
        self.lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        self._ends = np.cumsum(self.lengths + len(_PAD)) - len(_PAD)
        self._starts = self._ends - self.lengths
        self._classes = classes(self._codes)
        self.grams = _grams(self._codes)
        self._firsts, self.words = _words(self._codes, self._classes)
        self._word_starts = np.searchsorted(self._firsts, self._starts)
        self._word_ends = np.searchsorted(self._firsts, self._ends)
        self.word_counts = self._word_ends - self._word_starts

    @property
    def pairs(self) -> Hashes:
        """The hash of every word with the next one of its text, or with its end."""
        following = np.zeros_like(self.words)
        following[:-1] = self.words[1:]
        following[self._word_ends[self.word_counts > 0] - 1] = 0
        hashes: Hashes = self.words * _MULTIPLIER + following
        return hashes

    @property
    def classes(self) -> NDArray[np.int64]:
        """How many characters of each class a text has, shape ``(n, 32)``."""
        rows = np.repeat(np.arange(len(self.lengths)) * WIDTH, self.lengths + len(_PAD))
        counts = np.bincount(rows + self._classes, minlength=len(self.lengths) * WIDTH)
        return counts.reshape(-1, WIDTH)

    @property
    def repetition(self) -> Floats:
        """The share of a text's 8-grams that came before, by hashes of 12 bits."""
        hashes = self.grams[:-4] * _MULTIPLIER + self.grams[4:]
        rows = np.repeat(np.arange(len(self.lengths)) << _SLOT_BITS, self.lengths + len(_PAD))
        inside = self._classes[: len(hashes)] != BLANK
        places = rows[: len(hashes)][inside] + _slots(hashes[inside], _SLOT_BITS)
        seen = np.zeros(len(self.lengths) << _SLOT_BITS, bool)
        seen[places] = True
        different = np.count_nonzero(seen.reshape(len(self.lengths), -1), axis=1)
        return _share(self.lengths - different, self.lengths)

    def by_character(self, values: Array) -> NDArray[np.int64]:
        """Sum values, one a character, by text."""
        return _sums(values, self._starts, self._ends)

    def by_word(self, values: Array) -> NDArray[np.int64]:
        """Sum values, one a word, by text."""
        return _sums(values, self._word_starts, self._word_ends)


def _cut(text: str) -> str:
    """Return a text, of a long one the first and the last half of what is looked at."""
    return text if len(text) <= MOST else text[: MOST // 2] + text[-MOST // 2 :]


def _chunks(texts: list[str]) -> Iterator[list[str]]:
    """Cut into parts that end where they reach `_CHUNK` characters, padding included."""
    size = first = 0
    for stop, text in enumerate(texts, start=1):
        size += len(text) + len(_PAD)
        if size >= _CHUNK or stop == len(texts):
            yield texts[first:stop]
            size, first = 0, stop


def _grams(codes: Hashes) -> Hashes:
    """Hash the four characters that begin at each, as far as the padding of the last text allows."""
    hashes = codes[:-3] * _BASE
    for shift in (1, 2):
        hashes += codes[shift : shift - 3]
        hashes *= _BASE
    hashes += codes[3:]
    return hashes


def _words(codes: Hashes, found: NDArray[np.uint8]) -> tuple[NDArray[np.intp], Hashes]:
    """Return where each word begins, and its hash: the same wherever it stands.

    The sum of ``code * base ** place`` up to each character gives that of any word as a difference, and multiplied
    by the inverse of its first place's power it is a polynomial of the word alone, all modulo 2^32.
    """
    inside, single = WORDS[found], SINGLE[found]
    alone = single[1:] | single[:-1]
    firsts = np.flatnonzero(inside[1:] & (~inside[:-1] | alone)) + 1
    if inside[0]:
        firsts = np.concatenate([[0], firsts])
    ends = np.flatnonzero(inside[:-1] & (~inside[1:] | alone)) + 1
    powers, inverses = _powers()
    sums = np.zeros(len(codes) + 1, np.uint32)
    np.cumsum(codes * powers[: len(codes)], dtype=np.uint32, out=sums[1:])
    return firsts, (sums[ends] - sums[firsts]) * inverses[firsts]


@cache
def _powers() -> tuple[Hashes, Hashes]:
    """Return the powers of the base and of its inverse modulo 2^32, as many as a part may have characters."""
    count = _CHUNK + MOST + len(_PAD)
    bases = np.full(count, _BASE), np.full(count, _INVERSE)
    for each in bases:
        each[0] = 1
    return np.cumprod(bases[0], dtype=np.uint32), np.cumprod(bases[1], dtype=np.uint32)


def _slots(hashes: Hashes, bits: int) -> NDArray[np.uint32]:
    """Return the upper bits of mixed hashes."""
    slots: NDArray[np.uint32] = hashes * _MULTIPLIER
    slots >>= np.uint32(32 - bits)
    return slots


def _sides(hashes: Hashes) -> NDArray[np.int64]:
    """Return 1 or -1 by four bits of hashes mixed anew, shape ``(4, n)``."""
    mixed = (hashes ^ (hashes >> np.uint32(15))) * _BASE
    sides: NDArray[np.int64] = (mixed >> np.arange(28, 28 + _TOPICS, dtype=np.uint32)[:, None]).astype(
        np.int64
    ) % 2 * 2 - 1
    return sides


def _costs(counts: NDArray[np.int64]) -> Costs:
    shares = (counts + _SMOOTHING) / (counts.sum() + _SMOOTHING * len(counts))
    costs: Costs = np.minimum(np.round(-_STEP * np.log(shares)), 255).astype(np.uint8)
    return costs


def _sums(values: Array, starts: NDArray[np.intp], ends: NDArray[np.intp]) -> NDArray[np.int64]:
    sums = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values, out=sums[1:])
    return sums[ends] - sums[starts]


def _mean(costs: NDArray[np.int64], counts: NDArray[np.int64]) -> Floats:
    """Return mean logarithms of shares; 0 of nothing."""
    means: Floats = 0.0 - costs / (_STEP * np.maximum(counts, 1))
    return means


def _share(some: NDArray[np.int64], of: NDArray[np.int64]) -> Floats:
    """Return shares of sums over the classes, where there are classes; 0 of nothing."""
    if some.ndim > 1:
        some, of = some.sum(axis=1), of.sum(axis=1)
    shares: Floats = some / np.maximum(of, 1)
    return shares
