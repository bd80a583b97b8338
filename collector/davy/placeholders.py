"""Secrets that an example leaves to its reader: everybody knows them, so they guard nothing."""

from __future__ import annotations

from typing import Final

from davy.config import Settings, describe
from davy.errors import SettingError
from davy.secret import HOLDS_PLACEHOLDER, PLACEHOLDER, Secret

REMEDY: Final = f"is still the example's {PLACEHOLDER!r}: make one of your own, with `openssl rand -hex 20`"


def placeholders(settings: Settings) -> dict[str, str]:
    """Return the settings that hold a placeholder, passwords in URLs and keys in files among them.

    Each with its variable.

    Examples
    --------
    >>> placeholders(Settings(store_url="redis://davy:change-me@redis"))
    {'store_url': 'DAVY_STORE_URL'}
    """
    key = Secret(path=settings.gateway.api_key_file)
    key.current()
    return {
        one.key: one.variable
        for one in describe(settings)
        if PLACEHOLDER in str(one.value).casefold()
        or (one.key == "gateway.api_key_file" and key.trouble == HOLDS_PLACEHOLDER)
    }


def refuse_placeholders(settings: Settings) -> None:
    """Raise SettingError when a setting still holds a placeholder."""
    for key, variable in placeholders(settings).items():
        raise SettingError(key, variable, REMEDY)
