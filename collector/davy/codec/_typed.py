"""Plain values as declared types: how a plug-in's own settings are read."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

import msgspec


def keys_of(kind: type) -> dict[str, Any]:
    """Return the fields of a dataclass or Struct with their types, bounds included.

    Raises
    ------
    TypeError
        It is neither.

    Examples
    --------
    >>> from davy.config import HealthSettings
    >>> keys_of(HealthSettings)
    {'host': <class 'str'>, 'port': <class 'int'>}
    """
    if is_dataclass(kind):
        names = [one.name for one in fields(kind)]
    elif issubclass(kind, msgspec.Struct):
        names = list(kind.__struct_fields__)
    else:
        raise TypeError(f"{kind!r} is neither a dataclass nor a msgspec.Struct")
    hints = get_type_hints(kind, include_extras=True)
    return {name: hints[name] for name in names}


def typed(value: Any, kind: Any) -> Any:
    """Return a plain value as a type, within the bounds of its ``msgspec.Meta``; text is read as what is asked for.

    Raises
    ------
    ValueError
        It is not one; the message says what is.

    Examples
    --------
    >>> typed("2.5", float), typed("true", bool), typed([1, 2], tuple[int, ...])
    (2.5, True, (1, 2))
    """
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
