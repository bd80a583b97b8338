"""What was meant by a name that there is not: those that are spelt nearly so."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Final

_NEAR: Final = 3


def meant(name: str, known: Iterable[str]) -> str:
    """Return the question whether one of `known` that is spelt nearly so was meant; empty when none is.

    Examples
    --------
    >>> meant("fruad:3", ["fraud:3", "risk:1"]), meant("fruad:3", [])
    ('did you mean fraud:3? ', '')
    >>> meant("fraud:3", ["payments/fraud:3"])  # the same, of a project
    'did you mean payments/fraud:3? '
    """
    names = sorted(set(known))
    near = [one for one in names if one.endswith(f"/{name}")][:_NEAR]
    near += [one for one in get_close_matches(name, names, n=_NEAR) if one not in near]
    return f"did you mean {' or '.join(near)}? " if near else ""


def meant_path(path: Path, there: Iterable[Path]) -> str:
    """Return the question whether one of the paths `there`, beside `path`, was meant; empty when none is.

    Examples
    --------
    >>> meant_path(Path("data/backupp"), [Path("data/backup"), Path("data/log")])
    'did you mean data/backup? '
    """
    near = get_close_matches(path.name, [one.name for one in there], n=_NEAR)
    return f"did you mean {' or '.join(str(path.parent / name) for name in near)}? " if near else ""
