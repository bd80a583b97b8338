"""The file of settings: a table a section, read as keys with dots."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from davy._directory import unread
from davy.errors import SettingError


def from_file(path: Path, *, required: bool) -> dict[str, Any]:
    """Return the values of a TOML file by dotted key; nothing where it is not there and not `required`.

    Raises
    ------
    SettingError
        It is missing, cannot be read, or is no TOML.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if required:
            raise SettingError("settings file", str(path), "the file does not exist") from None
        return {}
    except OSError as error:
        remedy = f"{unread(error)}, or begin in another directory"
        raise SettingError("settings file", str(path.absolute()), remedy) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError("settings file", str(path), f"is not TOML: {error}") from error
    flat: dict[str, Any] = {}
    for name, value in tables.items():
        if isinstance(value, dict):
            flat.update({f"{name}.{key}": item for key, item in value.items()})
        else:
            flat[name] = value
    return flat
