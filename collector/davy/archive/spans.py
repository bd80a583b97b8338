"""Which offsets of a partition wait for their files: one span that grows, and those that are sealed."""

from __future__ import annotations

from dataclasses import astuple, dataclass, field, replace
from typing import Final, Self

from davy.codec import dump_any, load_any
from davy.log import Partition
from davy.store import Batch, Collection, Store, declare


@dataclass(frozen=True, slots=True)
class Span:
    """Records from `first` to `last`, both included, with their rows and bytes; `opened_at` in nanoseconds.

    `log` is the log they lie in, empty where the span was opened before logs had names.
    """

    first: int
    last: int
    opened_at: int
    rows: int = 0
    size: int = 0
    log: str = ""


@dataclass(slots=True)
class Ledger:
    """The spans of one partition; bytes in the store."""

    growing: Span | None = None
    sealed: list[Span] = field(default_factory=list)

    def take_in(self, offset: int, *, rows: int, size: int, now: int, log: str) -> Span:
        """Extend the growing span to a record; return the span."""
        span = self.growing or Span(offset, offset, now, log=log)
        self.growing = replace(span, last=offset, rows=span.rows + rows, size=span.size + size)
        return self.growing

    def leave(self, log: str) -> list[Span]:
        """Forget the spans of any other log than this; return them."""
        every = [*self.sealed, *filter(None, [self.growing])]
        gone = [span for span in every if span.log not in {"", log}]
        self.sealed = [span for span in self.sealed if span not in gone]
        self.growing = None if self.growing in gone else self.growing
        return gone

    def seal(self) -> None:
        """Close the span that grew."""
        if self.growing is not None:
            self.sealed.append(self.growing)
            self.growing = None

    def to_bytes(self) -> bytes:
        """Return what `from_bytes` reads."""
        growing = None if self.growing is None else astuple(self.growing)
        return dump_any([growing, [astuple(span) for span in self.sealed]])

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` gave."""
        growing, sealed = load_any(data)
        return cls(None if growing is None else Span(*growing), [Span(*span) for span in sealed])


LEDGERS: Final[Collection[Ledger]] = declare(
    Collection("archive", Ledger, "archive", Ledger.to_bytes, Ledger.from_bytes)
)
"""Which offsets wait for their files, by topic and partition: see `ledgers`."""


def ledgers(store: Store) -> dict[Partition, Ledger]:
    """Return what waits in each partition."""
    found = {}
    for key, ledger in LEDGERS.items(store):
        topic, partition = key.rsplit("/", 1)
        found[topic, int(partition)] = ledger
    return found


def put_ledger(batch: Batch, place: Partition, ledger: Ledger) -> None:
    """Write down what waits in a partition."""
    LEDGERS.put(batch, f"{place[0]}/{place[1]}", ledger)
