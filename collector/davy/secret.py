"""A secret that may lie in a file, as orchestrators mount them: read again whenever the file changes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_MOST: Final = 64 * 1024


class Secret:
    """A key of the settings, or the first line of a file.

    Parameters
    ----------
    value
        What holds as long as there is no file.
    path
        The file; empty for none. It may appear later, and may be replaced while the process runs.

    Examples
    --------
    >>> Secret("lamp").current()
    'lamp'
    """

    def __init__(self, value: str = "", path: str = "") -> None:
        self._value, self._path = value, Path(path) if path else None
        self._seen: tuple[int, ...] = ()

    def __repr__(self) -> str:
        return "Secret(...)"

    def current(self) -> str:
        """Return the secret as it is now; what was read last while the file cannot be read."""
        if self._path is not None:
            try:
                found = self._path.stat()
                seen = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
                if seen != self._seen:
                    with self._path.open(encoding="utf-8") as file:
                        self._value = file.readline(_MOST).strip()
                    self._seen = seen
            except (OSError, UnicodeDecodeError):
                pass  # being replaced, or not there yet; whoever refuses the old key says so
        return self._value
