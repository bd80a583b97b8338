"""The loop of a role: which partitions this process handles, and their records poll by poll."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from davy import metrics
from davy.consume.failures import Failures, keep_going
from davy.consume.leases import Leases
from davy.consume.outbox import Outbox
from davy.consume.part import Part, Role
from davy.consume.positions import Positions
from davy.forgetting import outbox_lease, outbox_of
from davy.log import Consumer, Partition, Position, Record
from davy.runtime import Runtime
from davy.store import Lease

__all__ = ["Loop", "Role", "Spread"]

T = TypeVar("T")
_logger = logging.getLogger("davy.consume")


@dataclass(frozen=True, slots=True)
class Spread(Generic[T]):
    """A role whose partitions may be handled by several processes: `make` gives a role of its own to each of them."""

    name: str
    topics: Sequence[str]
    make: Callable[[Partition], Role[T]]


class Loop(Generic[T]):
    """Runs one role until the runtime stops.

    A `Role` is run by one process at a time, which alone is in the consumer group. Of a `Spread` role every process
    handles the partitions that the log gives it; on a log that gives everybody everything it is run by one process.

    Parameters
    ----------
    runtime
        Log, store, meter and stop signal.
    role
        What to do with the records.
    max_records
        Records taken in one poll; those of a partition are handled in one transaction.
    """

    def __init__(self, runtime: Runtime, role: Role[T] | Spread[T], *, max_records: int = 64) -> None:
        self._runtime = runtime
        self._role = role
        self._max_records = max_records
        self._shared = isinstance(role, Spread) and runtime.log.exclusive
        self._failures = Failures(runtime, role.name)
        self._leases = Leases(runtime.store)
        self._positions = Positions(runtime, role.name)
        self._lease: Lease | None = None
        self._stands_by = False
        self._producer = runtime.log.producer()
        self._consumer: Consumer | None = None
        self._parts: dict[str, Part[T]] = {}
        runtime.pulse.begin(role.name, role.topics)

    def run(self) -> None:
        """Work until the runtime's stop signal; a failed transaction is counted, logged and tried again."""
        step = partial(self.step, timeout=0.2)
        keep_going(self._runtime, self._failures, step, stand_aside=self.stand_aside)

    def step(self, *, timeout: float = 0.0) -> int:
        """Handle the records of one poll; return their number.

        Raises
        ------
        DavyError
            Log or store failed, or the role failed at what is due by time. The next step after a failure goes on
            from the stored position.
        """
        try:
            return self._step(timeout)
        except BaseException:
            self._leave()
            raise

    def drain(self) -> int:
        """Handle everything the log holds now; return the number of records. For tests, replays and shutdown."""
        total = 0
        while handled := self.step():
            total += handled
        return total

    def stand_aside(self) -> None:
        """Leave the group, and what was held to whoever waits for it; the next step begins again."""
        self._leave()
        self._leases.close()
        self._lease = None

    def close(self) -> None:
        """Stand aside, and let go of the log."""
        self.stand_aside()
        self._producer.close()

    def _step(self, timeout: float) -> int:
        if not self._may_read():
            self._runtime.stop.wait(timeout)
            return 0
        if self._consumer is None:
            self._consumer = self._runtime.log.consumer(
                self._role.topics, self._role.name, assigned=self._assigned
            )
        records = self._consumer.poll(max_records=self._max_records, timeout=timeout)
        self._follow(self._consumer)
        by_part: dict[str, list[Record]] = {}
        for record in records:
            by_part.setdefault(self._name((record.topic, record.partition)), []).append(record)
        for name, mine in by_part.items():
            begun = time.perf_counter()
            self._parts[name].handle(mine)
            seconds = time.perf_counter() - begun
            self._runtime.meter.observe(metrics.BATCH_SECONDS, seconds, role=self._role.name)
        for part in self._parts.values():
            part.idle()
        return len(records)

    def _may_read(self) -> bool:
        """Say whether this process may be in the group: a role in one piece would keep partitions from its holder."""
        if self._shared:
            return True
        lease = self._leases.hold(self._right(self._role.name))
        if lease != self._lease:
            self._leave()
            self._lease = lease
        if (lease is None) != self._stands_by:
            self._stands_by = lease is None
            said = "another process has it; waits to take over" if self._stands_by else "takes over"
            _logger.info("%s: %s", self._role.name, said)
        return lease is not None

    def _assigned(self, partitions: Sequence[Partition]) -> Position:
        for place in partitions:
            self._parts.pop(self._name(place), None)  # somebody else may have written its state meanwhile
            if self._shared:
                self._leases.steal(self._right(self._name(place)))
        return self._positions.begin(partitions)

    def _follow(self, consumer: Consumer) -> None:
        """Begin with partitions that were assigned and let go of those that no longer are."""
        held = consumer.position()
        self._runtime.pulse.hold(self._role.name, held)
        places = {self._name(place): place for place in held}
        for name in self._parts.keys() - places.keys():
            del self._parts[name]
            if self._shared:
                self._leases.release(self._right(name))
        for name in places.keys() - self._parts.keys():
            part = self._make(name, places[name], consumer)
            part.take_up()
            self._parts[name] = part

    def _make(self, name: str, place: Partition, consumer: Consumer) -> Part[T]:
        return Part(
            self._runtime,
            self._role.make(place) if isinstance(self._role, Spread) else self._role,
            outbox=Outbox(self._runtime.store, self._producer, name, self._failures),
            leases=self._leases,
            lease=self._leases.require(self._right(name)),
            failures=self._failures,
            positions=self._positions,
            commit=consumer.commit,
        )

    def _name(self, place: Partition) -> str:
        spread = isinstance(self._role, Spread)
        return outbox_of(self._role.name, place if spread else None)

    def _right(self, name: str) -> str:
        return outbox_lease(name if self._shared else self._role.name)

    def _leave(self) -> None:
        self._parts.clear()
        self._runtime.pulse.hold(self._role.name, ())
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None
