"""Classes of characters: blank, space, digit, punctuation, symbol, mark, and letters by script and case."""

from __future__ import annotations

from functools import cache
from typing import Final
from unicodedata import category

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint32]
WIDTH: Final = 32
BLANK, SPACE, DIGIT, PUNCTUATION, SYMBOL, OTHER, MARK = range(7)
_SCRIPTS: Final[tuple[tuple[str, tuple[tuple[int, int], ...]], ...]] = (
    ("Latin", ((0x41, 0x250), (0x1E00, 0x1F00), (0x2C60, 0x2C80), (0xA720, 0xA800), (0xFF21, 0xFF5B))),
    ("Cyrillic", ((0x400, 0x530), (0x1C80, 0x1C90), (0x2DE0, 0x2E00), (0xA640, 0xA6A0))),
    ("Greek", ((0x370, 0x400), (0x1F00, 0x2000))),
    ("Arabic", ((0x600, 0x780), (0x8A0, 0x900), (0xFB50, 0xFE00), (0xFE70, 0xFF00))),
    ("Hebrew", ((0x590, 0x600), (0xFB1D, 0xFB50))),
    ("Indic", ((0x900, 0xE00),)),
    ("Thai and Lao", ((0xE00, 0xF00),)),
    ("Han", ((0x2E80, 0x3000), (0x3005, 0x3008), (0x3400, 0xA000), (0xF900, 0xFB00))),
    ("Kana", ((0x3040, 0x3100), (0x31F0, 0x3200), (0xFF66, 0xFFA0))),
    ("Hangul", ((0x1100, 0x1200), (0x3130, 0x3190), (0xAC00, 0xD7B0))),
)
_REST: Final = "another script"
_NONE: Final = "none"
_ALL: Final = (*(name for name, _ in _SCRIPTS), _REST)
_LOWER: Final = MARK + 1
_UPPER: Final = _LOWER + len(_ALL)
"""A script's letters are `_LOWER` plus its number; its capitals, where it has case, `_UPPER` plus it."""
_HAN, _KANA = _ALL.index("Han"), _ALL.index("Kana")
_KANA_SHARE: Final = 10
NAMES: Final = np.array([*("Japanese" if name == "Kana" else name for name in _ALL), _NONE], object)
"""What `scripts` numbers."""

_LETTERS: Final = slice(_LOWER, WIDTH)
_CASED: Final = (0, 1, 2, len(_ALL) - 1)
_CAPITALS: Final = [_UPPER + number for number in _CASED]
SHARES: Final[dict[str, tuple[slice | list[int], slice | list[int]]]] = {
    "letters": (_LETTERS, slice(SPACE, WIDTH)),
    "upper": (_CAPITALS, [*_CAPITALS, *(_LOWER + number for number in _CASED)]),
    "digits": (slice(DIGIT, DIGIT + 1), slice(SPACE, WIDTH)),
    "punctuation": (slice(PUNCTUATION, SYMBOL + 1), slice(SPACE, WIDTH)),
    "space": (slice(SPACE, SPACE + 1), slice(SPACE, WIDTH)),
}
"""Which classes' share of which others each stream of this name is."""
WORDS: Final = np.isin(np.arange(WIDTH), [DIGIT, *range(MARK, WIDTH)])
"""Which classes words are made of, by class."""
SINGLE: Final = np.isin(np.arange(WIDTH), [_LOWER + _HAN])
"""Which classes have a word in every character, by class."""

_FIRST_ASTRAL: Final = 0x10000
_IDEOGRAPHS: Final = (0x20000, 0x33480)
_GENERAL: Final = {"Z": SPACE, "N": DIGIT, "P": PUNCTUATION, "S": PUNCTUATION, "M": MARK, "C": OTHER}


def classes(codes: Codes) -> NDArray[np.uint8]:
    """Return the class of every character, below `WIDTH`, whatever its code."""
    found: NDArray[np.uint8] = _table().take(codes, mode="clip")
    if len(codes) and codes.max() >= _FIRST_ASTRAL:
        places = np.flatnonzero(codes >= _FIRST_ASTRAL)
        astral = codes[places]
        han = (astral >= _IDEOGRAPHS[0]) & (astral < _IDEOGRAPHS[1])
        letters = (astral < 0x1D000) | ((astral >= 0x1D400) & (astral < 0x1D800))
        letters |= (astral >= 0x1E000) & (astral < 0x1F000)
        rest = np.where(letters, _LOWER + _ALL.index(_REST), SYMBOL)
        found[places] = np.where(han, _LOWER + _HAN, rest)
    return found


def scripts(counts: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the number in `NAMES` of the script of most letters; of counts by class, shape ``(n, 32)``.

    Kana makes a text Japanese, with its ideographs, when there is one for ten of these.
    """
    letters = counts[:, _LOWER:_UPPER].copy()
    letters += counts[:, _UPPER : _UPPER + len(_ALL)]
    japanese = (letters[:, _KANA] > 0) & (letters[:, _KANA] * _KANA_SHARE >= letters[:, _HAN])
    letters[japanese, _KANA] += letters[japanese, _HAN]
    return np.where(letters.any(axis=1), letters.argmax(axis=1), len(_ALL))


@cache
def _table() -> NDArray[np.uint8]:
    """Return the class of every character of the basic plane; the last stands for all beyond."""
    characters = list(map(chr, range(_FIRST_ASTRAL)))
    kinds = list(map(category, characters))
    script = np.full(_FIRST_ASTRAL, _ALL.index(_REST))
    for number, (_, ranges) in enumerate(_SCRIPTS):
        for first, stop in ranges:
            script[first:stop] = number
    general = np.array([_GENERAL.get(kind[0], OTHER) for kind in kinds])
    general[[kind == "So" for kind in kinds]] = SYMBOL
    general[[character.isspace() for character in characters]] = SPACE
    general[0] = BLANK
    letters = np.array([kind[0] == "L" for kind in kinds])
    capital = np.array([kind in {"Lu", "Lt"} for kind in kinds]) & np.isin(script, _CASED)
    return np.where(letters, np.where(capital, _UPPER, _LOWER) + script, general).astype(np.uint8)
