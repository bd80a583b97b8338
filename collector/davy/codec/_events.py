"""The small events and any plain state, to bytes and back."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, Final, TypeVar

import msgspec

from davy.codec._plain import as_plain, encode, load_any
from davy.errors import DecodeError
from davy.event import VERSION, BlobRef, Draw

T = TypeVar("T")
_VERSION_KEY: Final = "v"


def dump(event: Any) -> bytes:
    """Turn a small event (feedback, flag, alert, label: any dataclass) into bytes, by field name.

    Examples
    --------
    >>> from davy.event import Feedback
    >>> load(Feedback, dump(Feedback(id=bytes(16), truth=3, at=7))).truth
    3
    """
    return encode({_VERSION_KEY: VERSION, **_nested(event)})


def load(kind: type[T], data: bytes | memoryview) -> T:
    """Turn bytes back into an event of `kind`; fields it does not know are ignored.

    Raises
    ------
    DecodeError
        These are not the bytes of such an event, or a newer version than the next wrote them.
    """
    try:
        found = load_any(data)
        version = msgspec.convert(found.pop(_VERSION_KEY), int)
        event = msgspec.convert(found, kind)
    except Exception as error:  # bytes from anywhere: every failure means damage
        raise DecodeError(kind.__name__, f"{len(data)} bytes", f"is damaged: {error}") from error
    if not 0 < version <= VERSION + 1:
        raise DecodeError(f"{kind.__name__} version", version, f"this Davy reads up to {VERSION + 1}")
    return event


def _nested(value: Any) -> Any:
    if isinstance(value, Draw):
        return {name: as_plain(one) for name, one in value.wire().items()}
    names = _names(type(value))
    if names is not None:
        return {name: _nested(getattr(value, name)) for name in names}
    if isinstance(value, (list, tuple)):
        return [_nested(item) for item in value]
    return as_plain(value)


def _names(kind: type) -> tuple[str, ...] | None:
    """Return the fields of an event, looked up once; None for the type of anything else."""
    if kind not in _KNOWN:
        event = is_dataclass(kind) and not issubclass(kind, BlobRef)
        _KNOWN[kind] = tuple(field.name for field in fields(kind)) if event else None
    return _KNOWN[kind]


_KNOWN: Final[dict[type, tuple[str, ...] | None]] = {}
