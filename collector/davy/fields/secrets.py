"""Names that sound like secrets, and values in which something has such a name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np

_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^a-zA-Z0-9]+")
_LONG: Final = 5
"""Words of so many letters are told also where nothing parts them from what stands before: ``clientsecret``."""
_ENDINGS: Final = frozenset({"session"})
"""But for those in which usual words end: ``possession``."""
_NUMBERS: Final = frozenset({type(None), bool, int, float})
_FLAT: Final = _NUMBERS | {str, bytes, np.ndarray}
_SEQUENCES: Final = (list, tuple)
_DEPTH: Final = 32
Denied = Callable[[str], bool]
"""Told what a key inside a value is called, with dots before it where it lies deeper."""


class SecretNames:
    """Finds names that end in a word of a list, however they are spelt.

    Examples
    --------
    >>> names = SecretNames(["api_key", "authorization"])
    >>> [names.depth(name) for name in ("HTTP_AUTHORIZATION", "headers.X-Api-Key.0", "myApiKey", "keys")]
    [1, 2, 1, 0]
    >>> [names.depth(name) for name in ("APIkey", "api_Key", "clientapikey", "authorizations")]
    [1, 1, 1, 0]
    """

    def __init__(self, words: Iterable[str]) -> None:
        joined = {"".join(_parts(word)) for word in words} - {""}
        self._whole = frozenset(joined)
        self._ends = tuple(word for word in joined if len(word) >= _LONG and word not in _ENDINGS)

    def depth(self, name: str) -> int:
        """Return how many parts of a dotted name it takes to hold all that sound secret; 0 where none does."""
        parts = name.split(".")
        found = [place for place, part in enumerate(parts, 1) if self._tells(part)]
        return found[-1] if found else 0

    def _tells(self, part: str) -> bool:
        """Whether a name ends in a word of the list: parted or not, and a short word where something parts it."""
        end = ""
        for each in reversed(_parts(part)):
            end = each + end
            if end in self._whole:
                return True
        return end.endswith(self._ends)


def _parts(name: str) -> list[str]:
    return [part.lower() for part in _WORDS.split(name) if part]


def is_number(value: Any) -> bool:
    """Return whether a value is a number, an array of numbers or missing: those are no secrets."""
    if type(value) in _NUMBERS or isinstance(value, np.number):
        return True
    return type(value) is np.ndarray and value.dtype.kind in "buif"


def has_names(value: Any, depth: int = 0) -> bool:
    """Return whether a list holds what has names: mappings, objects, or pairs of a name and a value."""
    if not isinstance(value, _SEQUENCES):
        return False
    kinds = set(map(type, value))
    if kinds <= _FLAT:
        return False
    if depth >= _DEPTH or any(not issubclass(kind, (*_SEQUENCES, np.generic)) for kind in kinds - _FLAT):
        return True
    return any(_is_pair(item) or has_names(item, depth + 1) for item in value)


def _is_pair(item: Any) -> bool:
    return isinstance(item, _SEQUENCES) and len(item) == 2 and type(item[0]) in {str, bytes}


def without_secrets(value: Any, denied: Denied, found: list[str]) -> Any:
    """Return a plain value without what lies in its mappings, and lists of pairs, under a denied name.

    Numbers stay. The names of what was left out are added to `found`; with none the very value comes back.
    """
    before = len(found)
    changed = _without(value, "", denied, found)
    return value if len(found) == before else changed


def _without(value: Any, prefix: str, denied: Denied, found: list[str]) -> Any:
    if type(value) is dict:
        kept = {}
        for key, item in value.items():
            name = f"{prefix}{key}"
            if denied(name) and not _holds_numbers(item):
                found.append(name)
            else:
                kept[key] = _without(item, f"{name}.", denied, found)
        return kept
    if type(value) is not list:
        return value
    kept_items = []
    for item in value:
        name = f"{prefix}{_text(item[0])}" if _is_pair(item) else ""
        if name and denied(name) and not _holds_numbers(item[1]):
            found.append(name)
        else:
            kept_items.append(_without(item, prefix, denied, found))
    return kept_items


def _holds_numbers(value: Any) -> bool:
    """Whether all that lies in a value is a number; what lies deeper is looked at when its turn comes."""
    return is_number(value) or type(value) is dict


def _text(name: Any) -> str:
    return name.decode("latin-1") if type(name) is bytes else str(name)
