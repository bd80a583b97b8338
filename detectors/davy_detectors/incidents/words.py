"""What a change of a stream means, in words for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "typicality": ("spelt more like the reference's texts", "spelt unlike the reference's texts"),
    "words": ("worded more like the reference's texts", "worded unlike the reference's texts"),
    "length": ("longer", "shorter"),
    "count": ("more of them", "fewer of them"),
    "repetition": ("repeats itself more", "repeats itself less"),
    "confidence": ("surer", "less sure"),
    "entropy": ("less sure over all classes", "surer over all classes"),
}
_DIRECTIONS: Final = ("larger", "smaller")


def in_words(feature: str, change: str) -> str:
    """Return a change as a person would say it, where the stream's name says what is larger or smaller.

    Examples
    --------
    >>> in_words("inputs.prompt.words", "smaller"), in_words("inputs.age", "smaller")
    ("worded unlike the reference's texts", 'smaller')
    """
    known = _WORDS.get(feature.rpartition(".")[2])
    return change if known is None or change not in _DIRECTIONS else known[_DIRECTIONS.index(change)]
