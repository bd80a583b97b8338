"""What age and size let go, on a cluster that knows times of records but not their sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from davy.log._kafka.library import Admin, Reader
from davy.log.base import Partition

_LOOKED_AT: Final = 1024
"""Records read to estimate sizes, over all partitions."""
_STRETCHES: Final = 64
"""Parts of a partition that stay or go whole."""


def older_than(
    admin: Admin, starts: Mapping[Partition, int], ends: Mapping[Partition, int], before: int
) -> dict[Partition, int]:
    """Return the first offset of each partition that was appended at or after `before`, nanoseconds since the epoch."""
    found = admin.offsets(list(starts), -(-before // 10**6))
    return {place: found.get(place, end) for place, end in ends.items()}


def stretches(
    reader: Reader, starts: Mapping[Partition, int], ends: Mapping[Partition, int]
) -> list[tuple[int, Partition, int, int]]:
    """Return the stretches of each partition: when the first record was appended (ns), where, its end, its bytes.

    A cluster tells the bytes of its files, which hold deleted records for a while and values compressed; so sizes are
    read. Of a partition of up to 64 records each is looked at; of a larger one a record a stretch stands for it. With
    more than 16 partitions there are fewer stretches, so that no more than some thousand records are read.
    """
    each = max(1, min(_STRETCHES, _LOOKED_AT // max(1, len(starts))))
    found = []
    for place, start in starts.items():
        end = ends[place]
        step = max(1, -(-(end - start) // each))
        for first in range(start, end, step):
            last = min(first + step, end)
            record = next(reader.read(place, first, last), None)
            if record is not None:
                found.append((record.at, place, last, len(record.value) * (last - first)))
    return found


def beyond(
    reader: Reader, starts: Mapping[Partition, int], ends: Mapping[Partition, int], max_bytes: int
) -> dict[Partition, int]:
    """Return the first offset of each partition that stays when values may take `max_bytes` together.

    That is exact where every record is looked at, and an estimate where one stands for a stretch, which stays or goes
    whole.
    """
    found = stretches(reader, starts, ends)
    size = sum(stretch[-1] for stretch in found)
    cut = dict(starts)
    for _, place, last, weight in sorted(found):
        if size <= max_bytes:
            break
        cut[place] = max(cut[place], last)
        size -= weight
    return cut
