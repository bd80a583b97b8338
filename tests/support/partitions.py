"""Processes that detect over a log of several partitions: they come, die and wake up."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from math import inf
from typing import Any, TypeAlias

import numpy as np

from davy.blobs.memory import MemoryBlobs
from davy.codec import Encoder, load, load_any, pack
from davy.config import DetectSettings, Settings
from davy.event import INFERENCES, Array
from davy.log import Message
from davy.meter import Meter
from davy.runtime import Runtime
from davy.store import Store
from davy.store.memory import MemoryStore
from davy_detectors.incidents.incident import Incident
from davy_detectors.stream.role import DetectTarget
from support.dying import Fuse, Killed, mortal
from support.partitioned import PartitionedLog
from support.streams import BEGIN, MODEL, Clock, bury, id_of, pass_time, sample

Sent: TypeAlias = tuple[int, str, bytes]
"""Append time, key and envelope."""


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
        """Return the value of a metric as a process shows it, None when it does not."""
        return sample(self._runtimes[process], name, **labels)

    def send(self, at: int, key: str, value: bytes) -> None:
        """Append an envelope at this time."""
        pass_time(self.runtime, until=at)
        self.log.producer().append([Message(INFERENCES, key, value)])

    def run(self, process: DetectTarget, patience: float = inf) -> None:
        """Let a process do one round of its work; when it dies of it, its place is taken by another."""
        try:
            process.counting.step()
            process.hear()
            process.testing.turn(patience)
        except Killed:
            self.deaths += 1
            self.processes.remove(process)
            self.expel(process)
            bury(self.runtime, f"model/{MODEL}")
            self.start()

    def expel(self, process: DetectTarget) -> None:
        """Let the group's session of a process run out."""
        for loop in filter(None, (process.counting, process.labels)):
            if loop._consumer is not None:
                with suppress(Killed):
                    loop._consumer.close()

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
    """Return what must not depend on partitions, processes and the order of their work."""
    state = load_any(store.get("detect", MODEL) or b"")
    incidents = [load(Incident, data) for _, data in store.items("incidents")]
    return {
        "incidents": sorted(incidents, key=lambda incident: incident.raised_event),
        "windows": [load_any(data)[:3] for _, data in store.items(f"windows/{MODEL}")],
        "counts": [load_any(data)[3]["e-detector"] for _, data in store.items(f"windows/{MODEL}")],
        "state": {
            key: state[key] for key in ("events", "tested", "ratio", "alarmed", "calm_since", "incidents")
        },
        "numbers": {key: value.tolist() for key, value in state["index"].items()},
    }
