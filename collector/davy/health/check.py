"""A finding, and how an error becomes one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias

from davy._directory import way_out
from davy._urls import without_password
from davy.errors import DavyError

State: TypeAlias = Literal["ok", "warning", "wrong"]
_MISTAKE: Final = "report this, it is a mistake of Davy's"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: `state` is ok, warning or wrong; `remedy` says what to do unless all is well.

    Examples
    --------
    >>> Check("disk", "wrong", "0.0 GiB free", "free space").softened().state
    'warning'
    """

    what: str
    state: State
    found: str
    remedy: str = ""

    def softened(self) -> Check:
        """Return the finding as a warning, where it is wrong: for what another process has to mend."""
        return replace(self, state="warning") if self.state == "wrong" else self

    def shown(self) -> dict[str, Any]:
        """Return the finding as JSON shows it, without passwords."""
        return {
            "what": self.what,
            "state": self.state,
            "found": without_password(self.found),
            "remedy": self.remedy,
        }


def told_once(checks: Iterable[Check]) -> list[Check]:
    """Leave out what has the reason of something wrong before it: what does not answer makes much fail in the same way.

    Examples
    --------
    >>> store = Check("store", "wrong", "shelf.db", "free space")
    >>> others = Check("others", "warning", "sqlite:///shelf: shelf.db", "free space")
    >>> [check.what for check in told_once([store, others, Check("blobs", "wrong", "blobs", "free space")])]
    ['store', 'blobs']
    """
    found: list[Check] = []
    for check in checks:
        reasons = [other for other in found if other.state == "wrong" and other.remedy == check.remedy]
        told = any(f": {check.found}".endswith(f": {other.found}") for other in reasons)
        if check.state == "ok" or not told:
            found.append(check)
    return found


def attempt(what: str, action: Callable[[], list[Check]]) -> list[Check]:
    """Return what `action` finds, or that it could not find out, and why.

    Examples
    --------
    >>> from davy.errors import StoreError
    >>> def refuse() -> list[Check]:
    ...     raise StoreError("store", "redis://shelf", "cannot be reached: start it")
    >>> attempt("store", refuse)
    [Check(what='store', state='wrong', found='redis://shelf', remedy='cannot be reached: start it')]
    """
    try:
        return action()
    except Exception as error:  # noqa: BLE001 - whatever it was, the other findings must be told
        return [trouble(what, error)]


def trouble(what: str, error: Exception) -> Check:
    """Return an error as a finding: what was found, and the way out.

    Examples
    --------
    >>> trouble("log", OSError(28, "No space left on device", "/data/log.db")).found
    '/data/log.db: No space left on device'
    """
    match error:
        case DavyError():
            return Check(what, "wrong", str(error.value), error.remedy)
        case OSError(filename=str() as name):  # what the system refuses has a remedy, whoever let it through
            return Check(what, "wrong", f"{name}: {error.strerror}", way_out(error))
        case OSError():
            return Check(what, "wrong", f"{type(error).__name__}: {error}", way_out(error, _MISTAKE))
    return Check(what, "wrong", f"{type(error).__name__}: {error}", _MISTAKE)
