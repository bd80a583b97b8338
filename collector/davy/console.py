"""What commands print: tables on a terminal, plain lines in a pipe, JSON where a program reads."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any


def show(
    rows: Sequence[Mapping[str, Any]], *, title: str, as_json: bool = False, empty: str = "nothing yet"
) -> None:
    """Print rows with the same keys.

    On a terminal a table; in a pipe one line a row, values separated by tabs, after a line of keys; with
    `as_json` one JSON array.
    """
    if as_json:
        sys.stdout.write(json.dumps(list(rows), default=str) + "\n")
        return
    if not rows:
        say(f"{title}: {empty}")
        return
    columns = list(rows[0])
    if not sys.stdout.isatty():
        lines = ["\t".join(columns), *("\t".join(_text(row[c]) for c in columns) for row in rows)]
        sys.stdout.write("\n".join(lines) + "\n")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(_text(row[c]) for c in columns))
    Console().print(table)


def show_one(row: Mapping[str, Any], *, title: str, as_json: bool = False) -> None:
    """Print one thing: key and value a line, or one JSON object."""
    if as_json:
        sys.stdout.write(json.dumps(dict(row), default=str) + "\n")
        return
    show([{title: key, "": value} for key, value in row.items()], title=title)


def say(text: str) -> None:
    """Print a line for a person."""
    sys.stdout.write(f"{text}\n")


def _text(value: Any) -> str:
    match value:
        case None:
            return "-"
        case float():
            return f"{value:.4g}"
        case list() | tuple():
            return ", ".join(map(_text, value))
        case _:
            return str(value)


@contextmanager
def progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how far something is: a bar on a terminal, one line at the end in a pipe.

    Gives the function that is told how many more are done.
    """
    if not sys.stderr.isatty():
        begun = time.perf_counter()
        yield lambda _: None
        sys.stderr.write(f"{description}: {total} in {time.perf_counter() - begun:.1f} s\n")
        sys.stderr.flush()
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bars:
        task = bars.add_task(description, total=total)
        yield lambda done: bars.advance(task, done)
