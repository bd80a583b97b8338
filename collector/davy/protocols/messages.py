"""A request or an answer of a model's server: one JSON object, or the objects of a stream of server-sent events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from davy.errors import InvalidInference

STREAM: Final = (b"data:", b"event:", b"id:", b"retry:", b":")


@dataclass(frozen=True, slots=True)
class ProtocolMessage:
    """A request or a response: which of the two, the name of values without a name, the JSON, the bytes after it.

    `chunks` holds the events of a stream, which then stands for the body.
    """

    side: str
    field: str
    body: Mapping[str, Any]
    tail: bytes = b""
    chunks: Sequence[Mapping[str, Any]] = ()

    @property
    def asks(self) -> bool:
        """Whether it is the request."""
        return self.side == "request"


def events(data: bytes, parse: Callable[[bytes], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the JSON objects of a stream of server-sent events; what is no object, ``[DONE]`` too, says nothing.

    Parameters
    ----------
    data
        The stream, from its beginning.
    parse
        Gives the object in the data of an event, in a list; an empty one where it is none.

    Raises
    ------
    InvalidInference
        There is no object in it.
    """
    found, lines = [], []
    for line in [*data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"), b""]:
        if line.startswith(b"data:"):
            lines.append(line[5:].strip())
        elif not line and lines:
            found += parse(b"\n".join(lines))
            lines = []
    if not found:
        raise InvalidInference("body", f"{len(data)} bytes", "is a stream of events without any JSON object")
    return found
