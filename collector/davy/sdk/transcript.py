"""What is kept of a stream of answers, bounded in items and bytes: text as one text, other pieces as a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from davy.fields import record
from davy.sdk.fields import Fields

MOST_PIECES: Final = 1_000
MOST_BYTES: Final = 64 * 2**10
_SAID: Final = ("content", "refusal", "reasoning_content", "reasoning")
_NESTED: Final = 4
_SCALARS: Final = frozenset({bool, int, float, str, bytes, type(None)})


class Transcript:
    """Keeps the pieces of one stream while they pass.

    Pieces of text are joined, and so are the chunks of OpenAI's chats and completions: text, calls of tools, reasoning
    and why it ended, by choice, and what was used. Of other language models the text is. Other pieces are copied, for
    the app may use them again. `cut` says that something was left out.

    Examples
    --------
    >>> kept = Transcript()
    >>> for piece in ("he", "llo"): kept.take(piece)
    >>> kept.outputs(None)
    {'text': 'hello'}
    """

    __slots__ = ("_chat", "_others", "_text", "_textual", "cut", "size")

    def __init__(self) -> None:
        self._text: list[str] = []
        self._textual = False
        self._others: list[Any] = []
        self._chat: Any = None
        self.size = 0
        self.cut = False

    def take(self, piece: Any, *, room: bool = True) -> None:
        """Keep a piece, if there is room for any."""
        if not room:
            self.cut = True
            return
        choices = None if type(piece) is str else _part(piece, "choices")
        if isinstance(choices, (list, tuple)):
            self._add_chunk(piece, choices)
            return
        text = piece if type(piece) is str else text_of(piece)
        if text is not None:
            self._textual = True
            self._add_text(text)
        elif len(self._others) >= MOST_PIECES or self.size >= MOST_BYTES:
            self.cut = True
        else:
            kept, size = copied(piece, MOST_BYTES - self.size)
            self.size += size
            self._others.append(kept)

    def outputs(self, name: str | None) -> Fields:
        """Return the fields of the answer; nothing when no piece came."""
        found: Fields = {}
        if self._chat is not None:
            from davy.protocols.completions import streamed

            found = streamed(self._chat)
            if name is not None and "text" in found:
                found = {name: found.pop("text"), **found}
        if self._textual:
            found["pieces" if found else name or "text"] = "".join(self._text)
        if self._others:
            if all(type(piece) is bytes for piece in self._others):
                found["value" if found else name or "value"] = b"".join(self._others)
            else:
                found["value" if found else name or "value"] = list(self._others)
        return found

    def _add_chunk(self, piece: Any, choices: Sequence[Any]) -> None:
        if self._chat is None:
            from davy.protocols.streaming import StreamedAnswer  # only who streams chats pays for it

            self._chat = StreamedAnswer()
        used = _part(piece, "usage")
        usage = {} if used is None else {"usage": record(used) or {}}
        self._chat.add({"choices": [self._choice(each) for each in choices], **usage})

    def _choice(self, choice: Any) -> dict[str, Any]:
        """Return what is kept of a choice in a chunk, as the protocol has it."""
        found: dict[str, Any] = {name: _part(choice, name) for name in ("index", "finish_reason")}
        found["text"] = self._room_for(_part(choice, "text"))
        delta = _part(choice, "delta")
        if delta is not None:
            found["delta"] = {name: self._room_for(_part(delta, name)) for name in _SAID}
            found["delta"]["function_call"] = self._function(_part(delta, "function_call"))
            calls = _part(delta, "tool_calls")
            if isinstance(calls, (list, tuple)):
                found["delta"]["tool_calls"] = [
                    {"index": _part(call, "index"), "function": self._function(_part(call, "function"))}
                    for call in calls
                ]
        tokens = _part(_part(choice, "logprobs"), "content")
        if isinstance(tokens, (list, tuple)):
            self.size += 8 * len(tokens)
            found["logprobs"] = {"content": [{"logprob": _part(each, "logprob")} for each in tokens]}
        return found

    def _function(self, function: Any) -> dict[str, Any] | None:
        if function is None:
            return None
        return {name: self._room_for(_part(function, name)) for name in ("name", "arguments")}

    def _room_for(self, text: Any) -> str | None:
        """Return as much of a text as is kept; None for what is no text."""
        if not isinstance(text, str):
            return None
        kept: str = str.__str__(text)
        room = max(0, MOST_BYTES - self.size)
        if len(kept) > room:
            self.cut, kept = True, kept[:room]
        self.size += len(kept)
        return kept

    def _add_text(self, text: str) -> None:
        text = self._room_for(text) or ""
        if text:
            self._text.append(text)
            if len(self._text) > MOST_PIECES:
                self._text = ["".join(self._text)]


def text_of(piece: Any) -> str | None:
    """Return the text in a chunk of a language model's answer, empty when it brings none; None for anything else."""
    kind = type(piece)
    if kind in _SCALARS or kind is np.ndarray or isinstance(piece, (list, tuple)):
        return str.__str__(piece) if isinstance(piece, str) else None
    event = _part(piece, "type")
    if isinstance(event, str) and event.startswith(("response.", "content_block", "message_")):
        delta = _part(piece, "delta")
        found = delta if isinstance(delta, str) else _part(delta, "text")
        return found if isinstance(found, str) and event.endswith("delta") else ""
    content = _part(_part(piece, "message"), "content")
    if content is None and not isinstance(piece, Mapping):
        content = _part(piece, "content")
        content = _part(piece, "text") if content is None else content
    return content if isinstance(content, str) else None


def copied(value: Any, room: int, depth: int = 0) -> tuple[Any, int]:
    """Return a copy of what an app may change, and about the bytes it takes; of more than `room` the value itself."""
    if type(value) in _SCALARS:
        return value, len(value) if isinstance(value, (str, bytes)) else 8
    if isinstance(value, np.ndarray):
        return (value.copy() if value.nbytes <= room else value), value.nbytes
    if depth < _NESTED and type(value) in {list, tuple, dict}:
        size, items = 64, []
        for item in value.items() if type(value) is dict else value:
            found, more = copied(item, room - size, depth + 1)
            items.append(found)
            size += more
            if size > room:
                return value, size  # too much to copy on the app's thread
        return type(value)(items), size
    found = record(value) if depth == 0 else None
    return (value, 64) if found is None else copied(found, room, 1)


def _part(value: Any, name: str) -> Any:
    if value is None:
        return None
    try:
        return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
    except Exception:  # noqa: BLE001 - whatever an object of the app raises, it has no such part
        return None
