"""The inferences written a moment ago, by model and id, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

_MODELS: Final = 1_000
"""So many models feedback is looked for in that names none."""


class Recent:
    """Remembers the newest inferences; what is older, and everything at a restart, is forgotten.

    An inference is remembered by a 64-bit hash under a key of this process: about 110 bytes each.

    Parameters
    ----------
    most
        How many are remembered.

    Examples
    --------
    >>> recent, claimed = Recent(2), []
    >>> recent.claim("m:1", [b"a", b"b", b"a"], claimed)
    [0, 1]
    >>> recent.claim("m:1", [b"c", b"b"], claimed), recent.claim("m:1", [b"a"], claimed)
    ([0], [0])
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._names: set[int] = set()
        self._order: deque[int] = deque()
        self._models: dict[str, None] = {}

    def claim(self, model: str, ids: Sequence[bytes], claimed: list[int]) -> list[int]:
        """Return the rows that are new and remember them; their names are added to `claimed`."""
        if not self._most:
            return list(range(len(ids)))
        rows, names, order = [], self._names, self._order
        if ids and len(self._models) < _MODELS:
            self._models[model] = None
        for row, id in enumerate(ids):
            name = hash((model, id))
            if name not in names:
                names.add(name)
                order.append(name)
                rows.append(row)
                claimed.append(name)
        while len(order) > self._most:
            names.discard(order.popleft())
        return rows

    def model_of(self, id: bytes, project: str) -> str:
        """Return the model of `project` whose inference this is; empty where none is remembered, or several are."""
        begin = f"{project}/" if project else ""
        found = [
            one for one in list(self._models) if one.startswith(begin) and hash((one, id)) in self._names
        ]
        return found[0] if len(found) == 1 else ""

    def forget(self, claimed: Sequence[int]) -> None:
        """Forget the rows claimed last, which were then not written."""
        for name in reversed(claimed):
            self._names.discard(name)
            if self._order and self._order[-1] == name:
                self._order.pop()
