"""What an archive holds, as its tests read it, and what they fill it with."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import parquet

from davy.archive.places import FilePlace, open_place
from davy.archive.role import Archive
from davy.codec import Encoder, dump, pack
from davy.config import ArchiveSettings, DetectSettings, Settings
from davy.consume import Loop
from davy.event import FEEDBACK, FLAGS, INFERENCES, Draw, Feedback, Flag
from davy.log import Message
from davy.runtime import Runtime
from support.dying import Fuse
from support.streams import Clock, id_of, make_runtime

DAY = 86_400 * 10**9


class MortalPlace:
    """A place that dies before or after it has written or removed a file."""

    def __init__(self, inner: FilePlace, fuse: Fuse) -> None:
        self._inner, self._fuse = inner, fuse
        self.paths, self.open, self.tidy = inner.paths, inner.open, inner.tidy

    def put(self, path: str, data: bytes) -> None:
        self._fuse.burn()
        self._inner.put(path, data)
        self._fuse.burn()

    def remove(self, path: str) -> None:
        self._fuse.burn()
        self._inner.remove(path)
        self._fuse.burn()


def runtime_of(adapter: str, directory: Path, *, clock: Clock | None = None, **archive: Any) -> Runtime:
    """Return a runtime with these settings of the archive."""
    made = make_runtime(adapter, directory, DetectSettings(), clock)
    return replace(made, settings=Settings(archive=ArchiveSettings(**archive)))


def loop_of(runtime: Runtime, place: FilePlace | Path, *, max_records: int = 64) -> Loop[int]:
    """Return the loop of an archive at a place."""
    where = open_place(f"file:///{place}") if isinstance(place, Path) else place
    return Loop(runtime, Archive(runtime, where), max_records=max_records)


def drain(loop: Loop[int]) -> None:
    """Handle what the log holds; write the files of what is sealed, once the columns that they need are kept."""
    loop.drain()
    loop.step()


def envelope(first: int, count: int, *, model: str = "fraud:3", at: int | None = None) -> bytes:
    """Return an envelope of inferences numbered from `first`; one a second unless a time is given."""
    ids = b"".join(id_of(first + row) for row in range(count))
    numbers = np.arange(first, first + count)
    encoder = Encoder()
    if at is not None:
        return pack([encoder.encode_batch(model, ids, at, {"n": numbers}, {"probs": np.ones((count, 2))})])
    chunks = [
        encoder.encode(model, id_of(n), n * 10**9, {"n": n}, {"probs": np.ones(2)}) for n in numbers.tolist()
    ]
    return pack(chunks)


def send(runtime: Runtime, values: Sequence[bytes], *, topic: str = INFERENCES, key: str = "fraud:3") -> None:
    """Append records."""
    producer = runtime.log.producer()
    producer.append([Message(topic, key, value) for value in values])
    producer.close()


def files(root: Path) -> dict[str, bytes]:
    """Return every file with rows of an archive."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.relative_to(root).parts[0] != "schemas"
    }


def nameless(found: dict[str, bytes]) -> dict[str, bytes]:
    """Return files by their names without the log's, which is random."""
    return {re.sub(r"-[0-9a-f]{8}\.parquet$", ".parquet", name): data for name, data in found.items()}


def ids(root: Path, folder: str = "inferences") -> Counter[str]:
    """Count every id in the files of a folder."""
    found: Counter[str] = Counter()
    for path in (root / folder).rglob("*.parquet"):
        found.update(parquet.ParquetFile(path).read(columns=["id"])["id"].to_pylist())
    return found


def numbered(count: int) -> Counter[str]:
    """Return the ids that `envelope` made, each once."""
    return Counter(id_of(number).hex() for number in range(count))


def fraud_archive(directory: Path) -> Path:
    """Fill an archive of a model whose fields come, go and change their kind over two days; return its directory."""
    runtime = runtime_of("memory", directory, rows=100)
    root, rng, encoder = directory / "archive", np.random.default_rng(3), Encoder()
    loop, day = loop_of(runtime, root), 20_000 * DAY
    for number in range(200):
        later = number >= 100
        inputs: dict[str, Any] = {"amount": float(rng.exponential()) if later else number, "country": "nz"}
        probs = rng.dirichlet([1, 1]).astype(np.float64 if later else np.float32)
        if later:
            inputs["age"] = int(rng.integers(18, 90)) if number % 3 else None
        outputs = {"label": "fraud" if probs[1] > 0.5 else "fine", "probs": probs}
        at = day + (number // 100) * DAY + number * 10**9
        chunk = encoder.encode("fraud:3", id_of(number), at, inputs, outputs, tags={"shop": "web"})
        send(runtime, [pack([chunk])])
        truth = Feedback(id_of(number), "fraud" if number % 7 == 0 else "fine", at + DAY, model="fraud:3")
        send(runtime, [dump(truth)], topic=FEEDBACK)
        flag = Flag(
            f"f{number}", id_of(number), "fraud:3", at, [Draw("msp", probability=1.0)], {"msp": 0.5}, b""
        )
        send(runtime, [dump(flag)], topic=FLAGS)
    drain(loop)
    return root
