"""What roles log: a line an event, as text or as JSON; what happens again comes once a minute, with a count."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from davy.console import printable

if TYPE_CHECKING:
    from types import TracebackType

_TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_AGAIN_SECONDS: Final = 60.0
_REASONS: Final = 1000
_REASON_LETTERS: Final = 500
_WORD: Final = re.compile(r"\w+")
_MODEL: Final = re.compile(r"[^\s:]*[^\W\d_][^\s:]*:[^\s:]+")


def begin(form: str = "text", level: str = "info") -> None:
    """Write what this process logs to standard error.

    Parameters
    ----------
    form
        ``text`` or ``json``.
    level
        ``debug``, ``info``, ``warning`` or ``error``; of Davy's own loggers, others tell nothing below ``info``.
    """
    handler = logging.StreamHandler()
    handler.addFilter(Sparing())
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter(_TEXT))
    own = logging.getLevelName(level.upper())
    logging.basicConfig(level=max(logging.INFO, own), handlers=[handler])
    logging.getLogger("davy").setLevel(own)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it writes a line a request


@dataclass(slots=True)
class _Told:
    """When a reason was logged last, and how often it came since."""

    at: float
    held: int = 0


class Sparing(logging.Filter):
    """Passes a reason once, and again after a minute at the earliest, with the number of those in between.

    The reason is the attribute `reason` of a record (``extra={"reason": …}``), where it has one; else its text. Of a
    warning or an error that is the text without the numbers in it, and the names of models that it was given. Only what
    comes first of a reason has a traceback.

    Parameters
    ----------
    clock
        Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._told: dict[tuple[str, int, str], _Told] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a record is logged; its attribute `again` is how many were not."""
        if record.levelno < logging.INFO:
            return True
        with self._lock:
            held = self._held(record.name, record.levelno, _reason(record))
        if held is None:
            return False
        if held:
            record.again, record.exc_info, record.exc_text = held, None, None
        return True

    def _held(self, name: str, level: int, reason: str) -> int | None:
        """Return how many were held back before this one, None when it is held back too."""
        key, now = (name, level, reason), self._clock()
        told = self._told.pop(key, None)
        if told is None:
            if len(self._told) >= _REASONS:
                del self._told[next(iter(self._told))]  # the one that is silent for longest
            self._told[key] = _Told(now)
            return 0
        self._told[key] = told
        if now - told.at < _AGAIN_SECONDS:
            told.held += 1
            return None
        held, self._told[key] = told.held, _Told(now)
        return held


class TextFormatter(logging.Formatter):
    """Formats a line a record; those of a traceback are indented, so none looks like a record."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's
        """Return the line of a record."""
        again = getattr(record, "again", 0)
        more = f" (and {again} more like it since it was last logged)" if again else ""
        record.message = f"{printable(record.message)}{more}"
        return super().formatMessage(record)

    def formatException(  # noqa: N802 - logging's
        self, ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    ) -> str:
        """Return the lines of a traceback."""
        return "\n".join(f"  {printable(line)}" for line in super().formatException(ei).split("\n"))


class JsonFormatter(logging.Formatter):
    """Formats a JSON object a record: `at`, `level`, `logger`, `message`; `again` and `traceback` where there are any.

    Examples
    --------
    >>> record = logging.LogRecord("davy.runner", logging.INFO, "", 0, "%s starts", ("detect",), None)
    >>> record.created = 1.7e9
    >>> print(JsonFormatter().format(record))
    {"at": "2023-11-14T22:13:20.000Z", "level": "info", "logger": "davy.runner", "message": "detect starts"}
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the object on a line; whatever is not ASCII is escaped."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told: dict[str, object] = {
            "at": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if again := getattr(record, "again", 0):
            told["again"] = again
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told).replace("\x7f", "\\u007f")


def _reason(record: logging.LogRecord) -> str:
    given = getattr(record, "reason", None)
    if given is not None:
        return str(given)
    text = record.getMessage()[:_REASON_LETTERS]
    if record.levelno < logging.WARNING:
        return text
    return " ".join((_WORD.sub(_without_numbers, text), *_models(record)))


def _models(record: logging.LogRecord) -> Iterator[str]:
    """Return the names of models in the texts that a record was given: they differ in numbers that matter."""
    given = record.args if isinstance(record.args, tuple) else ()
    for text in (one for one in given if isinstance(one, str)):
        yield from (word for word in text[:_REASON_LETTERS].split() if _MODEL.fullmatch(word.rstrip(",;:.")))


def _without_numbers(word: re.Match[str]) -> str:
    """Leave out what varies, numbers, offsets, ids and addresses: warnings that differ in them alone are one."""
    return "#" if any(map(str.isdigit, word[0])) else word[0]
