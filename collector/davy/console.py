"""What commands print: tables on a terminal, plain lines in a pipe, JSON where a program reads.

All text goes through `printable`, for names and answers come from strangers. What cannot be written is an
`OutputError`, and what its encoding does not have is printed as an escape.
"""

from __future__ import annotations

import io
import json
import logging
import math
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TextIO

from davy.errors import OutputError
from davy.event import UNSEEN

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_HALF: Final = "▀"
_WIDEST: Final = 64
_STEERS: Final = re.compile(f"[\ud800-\udfff{UNSEEN}]")
"""Control characters, line breaks, what turns the direction of text or cannot be seen, and halves of characters."""


def printable(text: str) -> str:
    r"""Return text that cannot steer a terminal or feign a line: what could stands as an escape sequence.

    Examples
    --------
    >>> print(printable("fraud:3\x1b[2J\nall is well"))
    fraud:3\x1b[2J\nall is well
    """
    return _STEERS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def command(*words: str, names: Sequence[str] = ()) -> str:
    """Return a command of Davy's to suggest: whoever pastes it into a shell runs that, whatever names strangers chose.

    Parameters
    ----------
    words
        The command and its options.
    names
        Its arguments; one may begin as an option does.

    Examples
    --------
    >>> print(command("reference", "fit", "--model", "x;reboot:1"))
    davy reference fit --model 'x;reboot:1'
    >>> print(command("models", "keep", names=["a:1", "-b:1"]))
    davy models keep -- a:1 -b:1
    """
    marked = ["--"] if any(name.startswith("-") for name in names) else []
    return shlex.join(["davy", *words, *marked, *names])


@contextmanager
def printing() -> Iterator[None]:
    """Print at the end at the latest what anybody prints inside.

    Raises
    ------
    OutputError
        Standard output cannot be written, or is closed.
    """
    given = sys.stdout
    with ExitStack() as stack:
        output = _Output(stack.enter_context(_closed()) if given is None else given)
        sys.stdout = output
        try:
            yield
            output.flush()
        finally:
            sys.stdout = given
            with suppress(OutputError):
                output.detach()


class _Output(io.TextIOWrapper):
    """Standard output that prints what its encoding lacks as escapes, and whose failures are told from all others.

    What could not be written is given up, or the interpreter would try again at its end.
    """

    def __init__(self, given: TextIO) -> None:
        super().__init__(
            given.buffer,
            given.encoding,
            "backslashreplace",
            line_buffering=given.isatty(),
            write_through=False,
        )
        self._given = given

    def isatty(self) -> bool:
        return self._given.isatty()

    def write(self, text: str) -> int:
        with self._failing():
            return super().write(text)

    def flush(self) -> None:
        with self._failing():
            super().flush()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            with suppress(OSError), Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), self.fileno())
            remedy = "cannot be written, print it elsewhere; what was done before stays so"
            raise OutputError("standard output", error.strerror, remedy) from error


def _closed() -> TextIO:
    """Return a stream that cannot be written."""
    return os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")


def show(
    rows: Sequence[Mapping[str, Any]], *, title: str, as_json: bool = False, empty: str = "nothing yet"
) -> None:
    """Print rows with the same keys.

    On a terminal a table; in a pipe one line a row, values separated by tabs, after a line of keys; with
    `as_json` one JSON array.
    """
    if as_json:
        _write_json(list(rows))
        return
    if not rows:
        say(f"{title}: {empty}")
        return
    columns = list(rows[0])
    if not sys.stdout.isatty():
        lines = [
            "\t".join(map(printable, columns)),
            *("\t".join(_text(row[c]) for c in columns) for row in rows),
        ]
        sys.stdout.write("\n".join(lines) + "\n")
        return
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text  # what stands in brackets is text, not style

    headers = [Column(Text(printable(name))) for name in columns]
    table = Table(*headers, title=Text(printable(title)), title_justify="left")
    for row in rows:
        table.add_row(*(Text(_text(row[c])) for c in columns))
    Console().print(table)


def age(seconds: float | None) -> str:
    """Write a length of time in its largest unit.

    Examples
    --------
    >>> age(0.4), age(90), age(7200), age(None)
    ('0 s', '1 min', '2 h', '-')
    """
    if seconds is None or not math.isfinite(seconds):
        return "-"
    for length, unit in _UNITS:
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return "0 s"


def show_one(row: Mapping[str, Any], *, title: str, as_json: bool = False) -> None:
    """Print one thing: key and value a line, or one JSON object."""
    if as_json:
        _write_json(dict(row))
        return
    show([{title: key, "": value} for key, value in row.items()], title=title)


def room() -> tuple[int, int] | None:
    """Return the columns and rows a picture may have in `draw`, two rows a line; None where none can be drawn."""
    if not sys.stdout.isatty():
        return None
    try:
        _HALF.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return None
    from rich.console import Console

    console = Console()
    return None if console.color_system is None else (min(console.width, _WIDEST), _WIDEST)


def draw(pixels: Any) -> None:
    """Draw a picture with half blocks, two pixels a character, one above the other.

    Parameters
    ----------
    pixels
        Bytes of red, green and blue, shape ``(height, width, 3)``, no larger than `room` says; of an odd number of
        rows the last one stays half.
    """
    from rich.color import Color
    from rich.console import Console
    from rich.style import Style
    from rich.text import Text

    rows = [[Color.from_rgb(*colour) for colour in row] for row in pixels.tolist()]
    console = Console()
    for place in range(0, len(rows), 2):
        below = rows[place + 1] if place + 1 < len(rows) else [None] * len(rows[place])
        line = Text(no_wrap=True)
        for upper, lower in zip(rows[place], below, strict=True):
            line.append(_HALF, Style(color=upper, bgcolor=lower))
        console.print(line)


def clear() -> None:
    """Clear the screen before what is printed next; in a pipe nothing happens."""
    if sys.stdout.isatty():
        sys.stdout.write("\x1b[H\x1b[2J")


def say(text: str) -> None:
    """Print a line for a person."""
    sys.stdout.write(f"{printable(text)}\n")


def announce(text: str) -> None:
    """Print a line for a person at once; where nothing can be printed, what was to be announced goes on without it."""
    try:
        say(text)
        sys.stdout.flush()
    except OutputError as error:
        logging.getLogger("davy.console").warning(
            "standard output cannot be written (%s): going on without", error.value
        )


def warn(text: str) -> None:
    """Print a line for a person beside what a program reads: on the error stream, where that takes any."""
    if sys.stderr is None:  # it is closed
        return
    with suppress(OSError):
        sys.stderr.write(f"{printable(text)}\n")
        sys.stderr.flush()


def _write_json(value: Any) -> None:
    # Whatever is not ASCII is escaped; of ASCII's control characters JSON leaves one as it is.
    sys.stdout.write(json.dumps(value, default=str).replace("\x7f", "\\u007f") + "\n")


def _text(value: Any) -> str:
    match value:
        case None:
            return "-"
        case float():
            return f"{value:.4g}"
        case list() | tuple():
            return ", ".join(map(_text, value))
        case _:
            return printable(str(value))


@contextmanager
def progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how far something is: a bar on a terminal, one line at the end in a pipe.

    Gives the function that is told how many more are done.
    """
    description = printable(description)
    if sys.stderr is None or not sys.stderr.isatty():
        begun = time.perf_counter()
        yield lambda _: None
        warn(f"{description}: {total} in {time.perf_counter() - begun:.1f} s")
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bars:
        task = bars.add_task(description, total=total)
        yield lambda done: bars.advance(task, done)
