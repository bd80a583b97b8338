"""A secret that may lie in a file, as orchestrators mount them: read again whenever the file changes."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final

PLACEHOLDER: Final = "change-me"
HOLDS_PLACEHOLDER: Final = f"still holds the example's {PLACEHOLDER!r}"
_MOST: Final = 64 * 1024
_LACKS: Final = {
    FileNotFoundError: "is not there",
    IsADirectoryError: "is a directory",
    PermissionError: "may not be read by this user",
}


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
        self._told = ""
        self.trouble = ""
        """Why the file gave no secret when it was last looked at, after its name; empty where it gave one."""

    def __repr__(self) -> str:
        return "Secret(...)"

    def current(self) -> str:
        """Return the secret as it is now; what was read last while the file cannot be read or holds none."""
        if self._path is not None:
            try:
                self._read(self._path)
            except OSError as error:  # being replaced, or not there yet
                self._seen, self.trouble = (), _LACKS.get(type(error), f"cannot be read ({error.strerror})")
            except UnicodeDecodeError:
                self.trouble = "is not text"
        return self._value

    def changed(self) -> bool:
        """Whether `trouble` is another one than when this was asked last; there was none before."""
        before, self._told = self._told, self.trouble
        return before != self._told

    def _read(self, path: Path) -> None:
        found = path.stat()
        seen = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        if not stat.S_ISREG(found.st_mode):  # to open a pipe would wait for whoever writes to it
            self._seen, self.trouble = (), _LACKS[IsADirectoryError] if path.is_dir() else "is no file"
        elif seen != self._seen:
            with path.open(encoding="utf-8-sig") as file:
                line = file.readline(_MOST).strip()
            self._seen = seen
            if line.casefold() == PLACEHOLDER:
                self.trouble = HOLDS_PLACEHOLDER
                return
            self._value = line or self._value  # a file that is being written anew is empty for a moment
            self.trouble = "" if line else "has no key in its first line"
