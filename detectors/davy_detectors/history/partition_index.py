"""What one partition remembers of one model: which envelopes it had, and where in the log they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from davy.codec import dump_any, load_any
from davy.errors import DecodeError
from davy.event import Array, Envelope
from davy.store import Collection, declare
from davy_detectors.history.sparse_index import SparseIndex

if TYPE_CHECKING:
    from davy.store import Store

_VERSION: Final = 2
_REMEMBERED: Final = 1024


COUNTING: Final[Collection[bytes]] = declare(
    Collection("counting", bytes, "detect", bytes, bytes, version=_VERSION, by="partition")
)
"""What each partition of the inferences remembers, by model, as `PartitionIndex.load` reads it in a log."""


def by_partition(store: Store, model: str, partitions: Iterable[int], log: str) -> dict[int, PartitionIndex]:
    """Return what each partition of a log remembers of a model, those that have had it."""
    stored = {partition: COUNTING.of(partition).get(store, model) for partition in partitions}
    return {
        partition: PartitionIndex.load(data, log) for partition, data in stored.items() if data is not None
    }


class PartitionIndex:
    """The last 1024 envelopes by their ids, and a sparse index from moments to offsets.

    A pair of the sparse index says that no record before this offset has an inference after this moment. Of inferences
    that came late, the offset of the last is known: from there on every record was appended in time.

    Parameters
    ----------
    log
        Name of the log in which the envelopes lie.
    """

    def __init__(self, log: str = "") -> None:
        self._log = log
        self.index = SparseIndex()
        self.last_late = -1
        self._reach = 0
        self._recent: dict[int, None] = {}

    @classmethod
    def load(cls, data: bytes, log: str) -> Self:
        """Go on from what `dump` gave; of another log only the ids are remembered.

        Raises
        ------
        DecodeError
            Another version of Davy wrote the state.
        """
        found = load_any(data)
        if found["v"] != _VERSION:
            remedy = "run the version of Davy that wrote it, or delete it and begin anew"
            raise DecodeError("state of detect", found["v"], remedy)
        seen = cls(log)
        if found.get("log", log) == log:
            seen.index, seen._reach, seen.last_late = (
                SparseIndex.load(found["index"]),
                found["reach"],
                found["late"],
            )
        seen._recent = dict.fromkeys(found["recent"].tolist())
        return seen

    def dump(self) -> bytes:
        """Return everything that must survive a restart."""
        recent = np.array(list(self._recent), np.uint64)
        state = {"index": self.index.dump(), "reach": self._reach, "late": self.last_late, "recent": recent}
        return dump_any({"v": _VERSION, "log": self._log, **state})

    def is_repeated(self, envelope: Envelope) -> bool:
        """Remember an envelope; say whether it was here before."""
        if not envelope.count:
            return False
        digest = hashlib.blake2b(envelope.ids.tobytes(), digest_size=8).digest()
        name = int.from_bytes(digest, "little")
        if name in self._recent:
            return True
        self._recent[name] = None
        if len(self._recent) > _REMEMBERED:
            del self._recent[next(iter(self._recent))]
        return False

    def set_back(self, to: int) -> None:
        """Take what was passed by for what happened up to this moment: the clock that told more was ahead."""
        self.index.forget_keys_after(to)
        self._reach = min(self._reach, to)

    def pass_by(self, offset: int, window_times: Array, *, late: bool) -> None:
        """Remember where a record lies and when its inferences count; `late` where some came too late to be in time."""
        if late:
            self.last_late = offset
        self.index.add(self._reach, offset)
        self._reach = max(self._reach, int(window_times.max()))
