"""Streams with planted changes, and runtimes on the adapters of choice, for tests of roles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from davy.blobs.memory import MemoryBlobs
from davy.codec import Encoder, decode, load, pack
from davy.config import DetectSettings, Settings
from davy.errors import DecodeError
from davy.event import FLAGS, INFERENCES, Array, Flag
from davy.log import Log, Message
from davy.log.memory import MemoryLog
from davy.log.sqlite import SqliteLog
from davy.meter import Meter
from davy.runtime import Runtime
from davy.store import Store
from davy.store.memory import MemoryStore
from davy.store.sqlite import SqliteStore
from davy_detectors.batch import Batch
from davy_detectors.reference import Reference
from davy_detectors.reference.active import put_fitted
from davy_detectors.stream.role import DetectTarget

MODEL = "risk:1"
SECOND = 1_000_000_000
BEGIN = 1_700_000_000 * SECOND
ADAPTERS = ("memory", "sqlite")


class Clock:
    """A clock that is set by hand."""

    def __init__(self, now: int = BEGIN) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def make_runtime(
    adapter: str, directory: Path, detect: DetectSettings, clock: Clock | None = None
) -> Runtime:
    """Return a runtime with empty log and store, not shared with any other test."""
    clock = clock or Clock()
    log: Log
    store: Store
    if adapter == "memory":
        log, store = MemoryLog(clock=clock), MemoryStore()
    else:
        log = SqliteLog(f"sqlite:///{directory}", clock=clock)
        store = SqliteStore(f"sqlite:///{directory}")
    return Runtime(Settings(detect=detect), log, store, MemoryBlobs(), Meter(), clock=clock)


def rows(count: int, seed: int, *, shifted: Array | None = None) -> dict[str, Array]:
    """Four inputs and the probability of a class; `income` is 4 sd higher where `shifted` is true."""
    rng = np.random.default_rng(seed)
    columns = {f"inputs.{name}": rng.normal(size=count) for name in ("age", "income", "rate", "term")}
    if shifted is not None:
        columns["inputs.income"][shifted] += 4.0
    risk = 1 / (1 + np.exp(-columns["inputs.age"]))
    columns["outputs.probs"] = np.stack([risk, 1 - risk], axis=1)
    return columns


def id_of(number: int) -> bytes:
    """Return the id of the inference with this running number."""
    return number.to_bytes(16, "big")


def envelopes(
    columns: dict[str, Array], sizes: Sequence[int], *, model: str = MODEL, first: int = 0
) -> Iterator[bytes]:
    """Cut columns into envelopes of these sizes, the last one repeated; one inference a millisecond."""
    total, start, turn = len(next(iter(columns.values()))), 0, 0
    encoder = Encoder()
    while start < total:
        stop = min(total, start + sizes[min(turn, len(sizes) - 1)])
        chunks = [
            encoder.encode(
                model,
                id_of(first + row),
                BEGIN + (first + row) * 1_000_000,
                {
                    name.removeprefix("inputs."): float(v[row])
                    for name, v in columns.items()
                    if "inputs" in name
                },
                {"probs": columns["outputs.probs"][row]},
            )
            for row in range(start, stop)
        ]
        yield pack(chunks)
        start, turn = stop, turn + 1


def send(runtime: Runtime, values: Iterator[bytes] | Sequence[bytes], *, model: str = MODEL) -> None:
    """Append envelopes to the log, each when its newest inference has happened by the runtime's clock."""
    producer = runtime.log.producer()
    for value in values:
        pass_time(runtime, until=_newest(value))
        producer.append([Message(INFERENCES, model, value)])
    producer.close()


def _newest(value: bytes) -> int:
    try:
        return int(decode(value).at.max())
    except DecodeError:
        return 0


def pass_time(runtime: Runtime, seconds: float = 0.0, *, until: int = 0) -> None:
    """Let the runtime's clock, which is set by hand, go on; it never goes back."""
    assert isinstance(runtime.clock, Clock)
    runtime.clock.now = max(runtime.clock.now + int(seconds * SECOND), until)


def detect(runtime: Runtime, *, max_records: int = 8) -> None:
    """Count everything the log holds, then test all of it."""
    settings = replace(runtime.settings.detect, poll_records=max_records)
    target = DetectTarget(replace(runtime, settings=replace(runtime.settings, detect=settings)))
    target.counting.drain()
    pass_time(runtime, 2 * settings.lateness_seconds)
    target.testing.turn()
    target.close()


def bury(runtime: Runtime, *names: str) -> None:
    """Let ten seconds pass after the death of whoever held these leases."""
    for name in names:
        runtime.store.release(runtime.store.acquire(name, "undertaker", seconds=1.0, steal=True))


def give_reference(runtime: Runtime, *, count: int = 5000, seed: int = 1, model: str = MODEL) -> Reference:
    """Fit a reference on clean rows and put it where the detect role finds it."""
    batch = Batch.from_columns(model, rows(count, seed))
    reference = Reference.fit(model, batch, settings=runtime.settings.detect)
    put_fitted(runtime, reference)
    return reference


def read(runtime: Runtime, topic: str) -> list[bytes]:
    """Return every value of a topic."""
    return [record.value for record in runtime.log.read(topic, 0, 0)]


def read_flags(runtime: Runtime) -> dict[str, Flag]:
    """Return the flags by id: what a reader that drops duplicates sees."""
    flags = (load(Flag, value) for value in read(runtime, FLAGS))
    return {flag.id: flag for flag in flags}


def sample(runtime: Runtime, name: str, **labels: str) -> float | None:
    """Return the value of a metric, None when it has none."""
    return sample_of(runtime.meter, name, **labels)


def sample_of(meter: Meter, name: str, **labels: str) -> float | None:
    """Return the value of a metric of this meter, None when it has none."""
    wanted = name + ("{" + ",".join(f'{k}="{v}"' for k, v in sorted(labels.items())) + "}" if labels else "")
    for line in meter.exposition().decode().splitlines():
        if line.rpartition(" ")[0] == wanted:
            return float(line.rpartition(" ")[2])
    return None
