"""The SQLite log: inferences written, and read, decoded and binned, a second.

An envelope holds 200 inferences of 30 float32 features; every append is one envelope in one transaction.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from davy.codec import Encoder, decode, pack
from davy.event import INFERENCES
from davy.log import Message, open_log

NAME: Final = "log"
ROWS: Final = 200
FEATURES: Final = 30
BINS: Final = 28
ENVELOPES: Final = 1000
WRITERS: Final = 4
REPEATS: Final = 5
TARGETS: Final = {"write": 250_000, "read_and_bin": 500_000}

Matrix = NDArray[np.float32]


def envelope(generator: np.random.Generator) -> bytes:
    """Return the bytes of one envelope of standard normal features."""
    inputs = {"x": generator.standard_normal((ROWS, FEATURES), dtype=np.float32)}
    chunk = Encoder().encode_batch("bench:1", generator.bytes(16 * ROWS), time.time_ns(), inputs, {})
    return pack([chunk])


class Histograms:
    """Counts of every feature in bins of equal probability under a standard normal sample.

    A look-up table over a fine regular grid gives the bin of a value with one multiplication and one index; the few
    grid cells that hold an edge give the lower bin, which moves an edge by less than 1/2000 of a standard deviation.
    """

    def __init__(self, sample: Matrix) -> None:
        edges = np.quantile(sample, np.linspace(0, 1, BINS + 1)[1:-1], axis=0)
        grid = np.linspace(-8, 8, 2**15 + 1)[:-1]
        bins = np.array([np.searchsorted(edges[:, i], grid, side="right") for i in range(FEATURES)])
        self._scale = np.float32(2**15 / 16)
        self._table = (bins + BINS * np.arange(FEATURES)[:, None]).astype(np.int32).ravel()
        self._first = (2**15 * np.arange(FEATURES)).astype(np.int32)
        self.counts = np.zeros(FEATURES * BINS, dtype=np.int64)

    def add(self, values: Matrix) -> None:
        """Count a matrix of shape ``(n, features)``."""
        cells = np.clip((values + np.float32(8)) * self._scale, 0, 2**15 - 1).astype(np.int32)
        self.counts += np.bincount(self._table[cells + self._first].ravel(), minlength=self.counts.size)


def write(url: str, data: bytes, envelopes: int) -> float:
    """Append envelopes one by one; return the seconds."""
    producer = open_log(url).producer()
    message = Message(INFERENCES, "bench:1", data)
    begun = time.perf_counter()
    for _ in range(envelopes):
        producer.append([message])
    return time.perf_counter() - begun


def read_and_bin(url: str, histograms: Histograms) -> float:
    """Poll, decode and bin everything in the log; return the seconds."""
    consumer = open_log(url).consumer([INFERENCES], "bench")
    begun = time.perf_counter()
    while records := consumer.poll(max_records=64, timeout=0):
        histograms.add(np.concatenate([decode(record.value)["inputs", "x"].values for record in records]))
    return time.perf_counter() - begun


def write_in_processes(url: str, data: bytes) -> float:
    """Append from several processes at once; return the seconds from a common start to the last end."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(WRITERS + 1)
    writers = [context.Process(target=_writer, args=(url, data, barrier)) for _ in range(WRITERS)]
    for writer in writers:
        writer.start()
    barrier.wait()
    begun = time.perf_counter()
    barrier.wait()
    seconds = time.perf_counter() - begun
    for writer in writers:
        writer.join()
    return seconds


def run() -> dict[str, Any]:
    """Measure and give inferences a second: median, lowest and highest of the repeats, and the target."""
    generator = np.random.default_rng(7)
    data = envelope(generator)
    sample = generator.standard_normal((10_000, FEATURES), dtype=np.float32)

    def once(directory: str) -> tuple[float, float, float]:
        url, histograms = f"sqlite:///{directory}", Histograms(sample)
        written, read = write(url, data, ENVELOPES), read_and_bin(url, histograms)
        if histograms.counts.sum() != ENVELOPES * ROWS * FEATURES:
            raise RuntimeError("values were lost between the log and the histograms")
        return written, read, write_in_processes(f"{url}/shared", data)

    seconds = list(zip(*(_in_new_directory(once) for _ in range(REPEATS)), strict=True))
    names = ("write", "read_and_bin", f"write_{WRITERS}_processes")
    return {name: _rates(name, each) for name, each in zip(names, seconds, strict=True)} | {
        "envelope_bytes": len(data)
    }


def _writer(url: str, data: bytes, barrier: Barrier) -> None:
    open_log(url)
    barrier.wait()
    write(url, data, ENVELOPES // WRITERS)
    barrier.wait()


def _in_new_directory(measure: Callable[[str], tuple[float, ...]]) -> tuple[float, ...]:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        return measure(directory)


def _rates(name: str, seconds: tuple[float, ...]) -> dict[str, float | None]:
    rates = [ENVELOPES * ROWS / each for each in seconds]
    return {
        "median": round(median(rates)),
        "lowest": round(min(rates)),
        "highest": round(max(rates)),
        "target": TARGETS.get(name),
    }


if __name__ == "__main__":
    for key, value in run().items():
        print(key, value)
