"""From what a file, a variable or an argument holds to the value of a setting, or a clear refusal."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, Final, TypeAlias

from davy._near import meant
from davy._urls import without_password
from davy.errors import SettingError

IMAGE_FORMATS: Final = ("png", "jpeg", "webp")
"""What images may be stored as."""
POLICIES: Final = ("inline", "blob", "summary", "hash", "drop", *(f"blob:{name}" for name in IMAGE_FORMATS))
"""What may become of a field that is captured."""
SECTIONS: Final = ("inputs", "outputs", "embedding", "tags", "group", "alternatives")
"""Parts of an inference that a rule for its fields may be about."""
MEANINGS: Final = ("ignore", "categorical", "numeric", "text", "time")
"""What a field may be to detection."""
Tables: TypeAlias = tuple[tuple[str, str, Any], ...]
"""Settings of plug-ins, whose names and meanings are theirs: plug-in, name and value, as they are written."""
_NEARLY: Final = 0.75
_SECRET: Final = re.compile("key|secret|pass|pwd|token|salt|credential|auth")
ADDRESSES: Final = ("http://", "https://")
"""How the address of a service begins."""


def convert(key: str, value: Any, kind: type, limits: Mapping[str, Any]) -> Any:
    """Return `value` as the setting `key` of this kind keeps it.

    Raises
    ------
    SettingError
        It cannot be read as one, or is beyond `limits`: ``least`` and ``most`` of a number, ``one_of`` of a text or of
        what each of several patterns becomes, and what a text or such a pattern ``begins`` with.
    """
    converted = _CONVERTERS[kind](key, value)
    if kind == Tables:
        return converted
    if isinstance(converted, tuple):
        for pattern, found in converted:
            _require_one_of(f"{key}.{pattern}", found, limits["one_of"])
            _require_section(key, pattern, limits["begins"])
    elif isinstance(converted, str):
        _require_one_of(key, converted, limits["one_of"])
        if converted and limits["begins"] and not converted.startswith(limits["begins"]):
            raise SettingError(key, converted, f"must begin with {' or '.join(limits['begins'])}")
    if kind in {int, float} and not limits["least"] <= converted <= limits["most"]:
        raise SettingError(key, value, f"must be {bounds(limits)}")
    return converted


def bounds(limits: Mapping[str, Any]) -> str:
    """Return between what a number has to be, in words; empty where there are no bounds.

    Examples
    --------
    >>> bounds({"least": 2**20, "most": math.inf}), bounds({"least": 0, "most": 0.5})
    ('at least 1_048_576', 'at least 0 and at most 0.5')
    """
    ends = (("at least", limits["least"]), ("at most", limits["most"]))
    return " and ".join(f"{words} {_number(end)}" for words, end in ends if math.isfinite(end))


def _number(value: float) -> str:
    """Write a number as a setting may be written: whole ones whole."""
    return f"{int(value):_}" if value == int(value) else f"{value:g}"


def no_such(name: str, value: object, known: Mapping[str, bool]) -> SettingError:
    """Return the error that says that there is no such setting, with its value unless that may be a secret.

    Parameters
    ----------
    known
        Every name that there is, and whether its value is a secret: then that of a name nearly so may be one.

    Examples
    --------
    >>> no_such("gateway.prot", 1, {"gateway.port": False}).remedy
    'no such setting; did you mean gateway.port? `davy doctor --settings` lists all of them'
    >>> no_such("gateway.api_ky", "lamp", {"gateway.api_key": True}).value
    ''
    """
    near = get_close_matches(name, known, cutoff=_NEARLY)
    shown = not _SECRET.search(name.lower()) and not any(known[one] for one in near)
    remedy = f"no such setting; {meant(name, near)}`davy doctor --settings` lists all of them"
    given = without_password(value) if isinstance(value, str) else value
    return SettingError(name, given if shown and isinstance(value, str | int | float) else "", remedy)


def _require_one_of(key: str, value: str, accepted: tuple[str, ...]) -> None:
    if accepted and value not in accepted:
        raise SettingError(key, value, f"must be one of {', '.join(each or 'empty' for each in accepted)}")


def _require_section(key: str, pattern: str, sections: tuple[str, ...]) -> None:
    """Raise SettingError unless a pattern for fields can match one; it may end in ``@`` and one for models."""
    if not pattern:
        raise SettingError(key, pattern, "is empty: name fields, or * for all")
    if sections and not any(may_match(pattern.partition("@")[0], section) for section in sections):
        raise SettingError(key, pattern, f"must begin with one of {', '.join(sections)}, or with *")


def may_match(pattern: str, section: str) -> bool:
    """Whether a pattern for fields may match one of a section."""
    head, dot, _ = pattern.partition(".")
    return fnmatchcase(section, head) or (not dot and "*" in head and fnmatchcase(f"{section}.", head))


def _to_bool(key: str, value: Any) -> bool:
    text = str(value).strip().lower()
    if text in {"1", "true", "yes", "on"}:
        return True
    if text in {"0", "false", "no", "off"}:
        return False
    raise SettingError(key, value, "must be true or false")


def _to_int(key: str, value: Any) -> int:
    try:
        return int(str(value).replace("_", ""))
    except ValueError:
        raise SettingError(key, value, "must be a whole number") from None


def _to_float(key: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise SettingError(key, value, "must be a number")
    return number


def _to_str(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise SettingError(key, value, "must be text")
    return value


def _to_pairs(key: str, value: Any) -> tuple[tuple[str, str], ...]:
    if isinstance(value, str):
        parts = [part.rpartition("=") for part in value.split(",") if part.strip()]
        value = [(name, found) if mark else (found, None) for name, mark, found in parts]
    pairs = list(value.items() if isinstance(value, Mapping) else value)
    for name, found in pairs:
        if not isinstance(name, str) or not isinstance(found, str):
            raise SettingError(key, name, "must be a table of text, or 'name=value, name=value'")
    return tuple((name.strip(), found.strip()) for name, found in pairs)


def _to_tables(key: str, value: Any) -> Tables:
    if isinstance(value, str):
        named: dict[str, dict[str, Any]] = {}
        for name, found in _to_pairs(key, value):
            plugin, _, own = name.partition(".")
            named.setdefault(plugin, {})[own] = found
        value = named
    if not isinstance(value, Mapping) or not all(isinstance(one, Mapping) for one in value.values()):
        raise SettingError(key, value, "must be a table for each plug-in, or 'plugin.name=value'")
    tables = tuple((plugin, name, given) for plugin, own in value.items() for name, given in own.items())
    for plugin, name, given in tables:
        if not plugin or not name:
            raise SettingError(key, given, "name the plug-in and its setting: 'plugin.name=value'")
    return tables


_CONVERTERS: Mapping[Any, Any] = {
    Tables: _to_tables,
    bool: _to_bool,
    int: _to_int,
    float: _to_float,
    str: _to_str,
    tuple[tuple[str, str], ...]: _to_pairs,
}
