"""What a person names must exist: directories, models, anything with a name; else it is refused, with near names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from davy._directory import directory_of
from davy._near import meant, meant_path
from davy.config import Settings
from davy.errors import SettingError
from davy.models import names
from davy.store import Store

__all__ = ["meant", "require_model", "require_place", "unknown"]

_FILES: Final = ("log.db", "store.db")


def unknown(option: str, name: str, known: Iterable[str], *, what: str, remedy: str) -> SettingError:
    """Return the error that says there is nothing called `name`, and what is spelt nearly so.

    Parameters
    ----------
    option
        Where it was given.
    known
        What there is.
    what, remedy
        What it is the name of, and how to find out which there are.

    Examples
    --------
    >>> raise unknown("--model", "fruad:3", ["fraud:3"], what="model", remedy="`davy models list` names all")
    Traceback (most recent call last):
    davy.errors.SettingError: --model: 'fruad:3': no such model; did you mean fraud:3? `davy models list` names all
    """
    return SettingError(option, name, f"no such {what}; {meant(name, known)}{remedy}")


def require_model(name: str, store: Store, *more: str) -> str:
    """Return `name` if a model was ever called so: seen in the log, given a reference, or one of `more`.

    Raises
    ------
    SettingError
        There is no such model.
    """
    known = names(store).union(more)
    if name not in known:
        raise unknown("--model", name, known, what="model", remedy="`davy models list` names all")
    return name


def require_place(settings: Settings) -> None:
    """Raise SettingError unless Davy's directories are there; what reads makes none.

    What this user may not look at counts as there: opening it says why it cannot be.

    Parameters
    ----------
    settings
        With the addresses of store and payloads filled in.
    """
    log = _directory("sqlite", settings.url)
    if log is not None and not _is_davys(log, unseen=True):
        near = meant_path(log, _neighbours(log))
        remedy = f"holds nothing of Davy's; {near}`davy up` or the first inference makes it"
        raise SettingError("DAVY_URL", settings.url, remedy)
    for variable, scheme, url in (
        ("DAVY_STORE_URL", "sqlite", settings.store_url),
        ("DAVY_BLOB_URL", "file", settings.blob_url),
    ):
        directory = _directory(scheme, url)
        if directory is not None and directory.parent != log and not _is(Path.is_dir, directory, unseen=True):
            raise SettingError(variable, url, "there is no such directory; `davy up` makes it")


def _directory(scheme: str, url: str) -> Path | None:
    return directory_of(url) if url.startswith(f"{scheme}://") else None


def _is_davys(directory: Path, *, unseen: bool) -> bool:
    return any(_is(Path.is_file, directory / name, unseen=unseen) for name in _FILES)


def _is(kind: Callable[[Path], bool], path: Path, *, unseen: bool) -> bool:
    """Whether a path is of a kind; `unseen` where this user may not find out."""
    try:
        path.stat()  # since CPython 3.14 the kinds themselves are false where nobody may look
        return kind(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return unseen


def _neighbours(directory: Path) -> list[Path]:
    try:
        return [path for path in directory.parent.iterdir() if _is_davys(path, unseen=False)]
    except OSError:
        return []
