"""The inferences written a moment ago, by model and id, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice


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
        self._names: dict[int, None] = {}

    def claim(self, model: str, ids: Sequence[bytes], claimed: list[int]) -> list[int]:
        """Give the rows that are new and remember them; their names are added to `claimed`."""
        if not self._most:
            return list(range(len(ids)))
        rows, names = [], self._names
        for row, id in enumerate(ids):
            name = hash((model, id))
            if name not in names:
                names[name] = None
                rows.append(row)
                claimed.append(name)
        for name in list(islice(names, max(0, len(names) - self._most))):
            del names[name]
        return rows

    def forget(self, claimed: Sequence[int]) -> None:
        """Forget rows again that were claimed and then not written."""
        for name in claimed:
            self._names.pop(name, None)
