"""From what a file, a variable or an argument holds to the value of a setting, or a clear refusal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from davy.errors import SettingError


def convert(key: str, value: Any, kind: type, limits: Mapping[str, Any]) -> Any:
    """Return `value` as the setting `key` of this kind keeps it.

    Raises
    ------
    SettingError
        It cannot be read as one, or is beyond `limits` (``least``, ``most``, ``one_of``).
    """
    converted = _CONVERTERS[kind](key, value)
    if limits["one_of"] and converted not in limits["one_of"]:
        raise SettingError(key, value, f"must be one of {', '.join(limits['one_of'])}")
    if kind in {int, float}:
        if not converted >= limits["least"]:
            raise SettingError(key, value, f"must be at least {limits['least']:g}")
        if not converted <= limits["most"]:
            raise SettingError(key, value, f"must be at most {limits['most']:g}")
    return converted


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
        return float(value)
    except (TypeError, ValueError):
        raise SettingError(key, value, "must be a number") from None


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


_CONVERTERS: Mapping[Any, Any] = {
    bool: _to_bool,
    int: _to_int,
    float: _to_float,
    str: _to_str,
    tuple[tuple[str, str], ...]: _to_pairs,
}
