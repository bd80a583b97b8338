"""A log of several partitions that groups share, as Kafka's do, and processes that come, die and wake up over it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, TypeAlias
from zlib import crc32

import numpy as np
from dying import Fuse, Killed, mortal
from streams import BEGIN, MODEL, Clock, bury, id_of, pass_time, sample

from davy.blobs.memory import MemoryBlobs
from davy.codec import Encoder, load, load_any, pack
from davy.config import DetectSettings, Settings
from davy.event import INFERENCES, Array
from davy.log import Assigned, Message, Partition, Position, Record
from davy.log.memory import MemoryLog
from davy.meter import Meter
from davy.runtime import Runtime
from davy.store import Store
from davy.store.memory import MemoryStore
from davy_detectors.alerts import Incident
from davy_detectors.worker import DetectTarget

Sent: TypeAlias = tuple[int, str, bytes]
"""Append time, key and envelope."""


@dataclass(slots=True)
class Group:
    """Consumers that share partitions."""

    members: list[PartitionedConsumer] = field(default_factory=list)
    generation: int = 0


class PartitionedLog:
    """Partitions made of one memory log each. A group's members share them; each learns of changes when it polls."""

    exclusive = True

    def __init__(self, partitions: int, clock: Clock) -> None:
        self.url = f"memory://{partitions}-partitions"
        self.logs = [MemoryLog(clock=clock) for _ in range(partitions)]
        self._groups: dict[str, Group] = {}

    def producer(self) -> _Producer:
        return _Producer(self)

    def consumer(
        self, topics: Sequence[str], group: str, *, assigned: Assigned | None = None
    ) -> PartitionedConsumer:
        return PartitionedConsumer(self, topics, self.group(group), assigned)

    def group(self, name: str) -> Group:
        """Give a group, empty before anybody joined it."""
        return self._groups.setdefault(name, Group())

    def start(self, topic: str) -> Position:
        return {(topic, p): log.start(topic)[topic, 0] for p, log in enumerate(self.logs)}

    def end(self, topic: str) -> Position:
        return {(topic, p): log.end(topic)[topic, 0] for p, log in enumerate(self.logs)}

    def read(self, topic: str, partition: int, start: int, stop: int | None = None) -> Iterator[Record]:
        records = self.logs[partition].read(topic, 0, start, stop)
        return (replace(record, partition=partition) for record in records)

    def retain(self, *, before: int | None = None, max_bytes: int | None = None) -> int:
        return sum(log.retain(before=before, max_bytes=max_bytes) for log in self.logs)

    def close(self) -> None:
        pass


class _Producer:
    def __init__(self, log: PartitionedLog) -> None:
        self._log = log

    def append(self, messages: Sequence[Message], *, timeout: float = 30.0) -> None:
        for message in messages:
            partition = crc32(message.key.encode()) % len(self._log.logs)
            self._log.logs[partition].append([message], timeout)

    def close(self, *, timeout: float = 5.0) -> None:
        pass


class PartitionedConsumer:
    """A member of a group; one that does not poll believes to have what it had."""

    def __init__(
        self, log: PartitionedLog, topics: Sequence[str], group: Group, assigned: Assigned | None
    ) -> None:
        self._log, self._topics, self._group, self._assigned = log, topics, group, assigned
        self._offsets: dict[Partition, int] = {}
        self._generation = -1
        group.members.append(self)
        group.generation += 1

    def poll(self, *, max_records: int = 500, timeout: float = 1.0) -> list[Record]:
        if self._generation != self._group.generation:
            self._rebalance()
        each = [
            replace(record, partition=partition)
            for (topic, partition), offset in self._offsets.items()
            for record in self._log.logs[partition].fetch({topic: offset}, max_records, 0.0)
        ][:max_records]
        for record in each:
            self._offsets[record.topic, record.partition] = record.offset + 1
        return each

    def position(self) -> Position:
        return dict(self._offsets)

    def seek(self, position: Position) -> None:
        self._offsets |= {place: offset for place, offset in position.items() if place in self._offsets}

    def commit(self, position: Position) -> None:
        pass

    def lag(self) -> int:
        return sum(self._log.logs[p].backlog({topic: offset}) for (topic, p), offset in self._offsets.items())

    def close(self) -> None:
        if self in self._group.members:
            self._group.members.remove(self)
            self._group.generation += 1

    def _rebalance(self) -> None:
        self._generation = self._group.generation
        if self not in self._group.members:  # expelled while it slept
            self._group.members.append(self)
            self._group.generation += 1
            self._generation = self._group.generation
        turn, count = self._group.members.index(self), len(self._group.members)
        places = [
            place
            for place in chain(*(self._log.end(topic) for topic in self._topics))
            if place[1] % count == turn
        ]
        stored: Mapping[Partition, int] = self._assigned(places) if self._assigned else {}
        self._offsets = {(t, p): self._log.start(t)[t, p] for t, p in places} | dict(stored)


class Cluster:
    """Processes that detect over one log and one store."""

    def __init__(self, partitions: int, settings: DetectSettings) -> None:
        self.clock = Clock()
        self.log = PartitionedLog(partitions, self.clock)
        self.runtime = Runtime(
            Settings(detect=settings), self.log, MemoryStore(), MemoryBlobs(), Meter(), clock=self.clock
        )
        self.processes: list[DetectTarget] = []
        self.deaths = 0
        self._runtimes: dict[DetectTarget, Runtime] = {}

    def start(self, *, steps: int = 10**9, behind: int = 0) -> DetectTarget:
        """Start a process that dies after so many of its calls to log and store; its clock is `behind` nanoseconds."""
        own = replace(self.runtime, meter=Meter(), clock=lambda: self.clock.now - behind)
        runtime = mortal(own, Fuse(steps))
        process = DetectTarget(runtime)
        self.processes.append(process)
        self._runtimes[process] = runtime
        return process

    def metric(self, process: DetectTarget, name: str, **labels: str) -> float | None:
        """Give the value of a metric as a process shows it, None when it does not."""
        return sample(self._runtimes[process], name, **labels)

    def send(self, at: int, key: str, value: bytes) -> None:
        """Append an envelope at this time."""
        pass_time(self.runtime, until=at)
        self.log.producer().append([Message(INFERENCES, key, value)])

    def run(self, process: DetectTarget) -> None:
        """Let a process do one round of its work; when it dies of it, its place is taken by another."""
        try:
            process.counting.step()
            process.testing.turn()
        except Killed:
            self.deaths += 1
            self.processes.remove(process)
            self.expel(process)
            bury(self.runtime, f"model/{MODEL}")
            self.start()

    def expel(self, process: DetectTarget) -> None:
        """Let the group's session of a process run out."""
        consumer = process.counting._consumer
        if consumer is not None:
            with suppress(Killed):
                consumer.close()

    def finish(self) -> None:
        """Let time pass until everything is counted and tested, and stop."""
        for _ in range(30):
            pass_time(self.runtime, 1.0)
            for process in list(self.processes):
                self.run(process)
        for process in self.processes:
            process.close()


def traffic(
    columns: Mapping[str, Array], hosts: int, flush: int = 400, *, first: int = 0, begin: int = BEGIN
) -> list[Sent]:
    """Spread rows, two every two milliseconds, over hosts; each sends an envelope every `flush` milliseconds.

    Gives append time, key and envelope, in order of time.
    """

    count = len(next(iter(columns.values())))
    host_of = np.random.default_rng(11).integers(0, hosts, count)
    encoder, sent = Encoder(), []
    for start in range(0, count, flush):
        for host in range(hosts):
            mine = start + np.flatnonzero(host_of[start : start + flush] == host)
            chunks = [
                encoder.encode(
                    MODEL,
                    id_of(first + int(row)),
                    begin + int(row) // 2 * 2_000_000,
                    {n.removeprefix("inputs."): float(v[row]) for n, v in columns.items() if "inputs" in n},
                    {"probs": columns["outputs.probs"][row]},
                )
                for row in mine
            ]
            if chunks:
                at = begin + (start + flush) * 1_000_000 + host * 1_000
                sent.append((at, f"{MODEL}#{host}", pack(chunks)))
    return sent


def answer(store: Store) -> dict[str, Any]:
    """Give what must not depend on partitions, processes and the order of their work."""
    state = load_any(store.get("detect", MODEL) or b"")
    incidents = [load(Incident, data) for _, data in store.items("incidents")]
    return {
        "incidents": sorted(incidents, key=lambda incident: incident.raised_event),
        "epochs": [load_any(data)[:4] for _, data in store.items(f"epochs/{MODEL}")],
        "counts": [load_any(data)[4]["e-detector"].tolist() for _, data in store.items(f"epochs/{MODEL}")],
        "state": {
            key: state[key] for key in ("events", "tested", "ratio", "alarmed", "calm_since", "incidents")
        },
        "numbers": {key: value.tolist() for key, value in state["trail"].items()},
    }
