"""Damages SQLite files as a failing disk does, and undoes it."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

HEADER = 16


def damage_structure(path: Path, *, flips: int = 60, pages: int = 0, seed: int = 1) -> Callable[[], None]:
    """Flip bytes in what holds a file's pages together; return what undoes it.

    The bytes lie in the heads of pages and their lists of cells, not in values: a file has no checksums, so nobody
    could tell that a value was changed.

    Parameters
    ----------
    path
        The file; what stands in its write-ahead file is moved into it first.
    flips
        How many bytes.
    pages
        In how many pages; 0 for any.
    seed
        Which bytes.
    """
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    rng, before = random.Random(seed), path.read_bytes()
    damaged = bytearray(before)
    trees = [start for start in range(size, len(before), size) if before[start] in {2, 5, 10, 13}]
    chosen = rng.sample(trees, pages) if pages else trees
    for _ in range(flips):
        damaged[rng.choice(chosen) + rng.randrange(HEADER)] ^= 0xFF
    changed = [at for at in range(0, len(before), size) if before[at : at + size] != damaged[at : at + size]]
    with path.open("r+b") as file:
        for at in changed:
            file.seek(at)
            file.write(damaged[at : at + size])

    def mend() -> None:
        """Write the pages back that nobody has written since."""
        with path.open("r+b") as file:
            for at in changed:
                file.seek(at)
                if file.read(size) == damaged[at : at + size]:
                    file.seek(at)
                    file.write(before[at : at + size])

    return mend
