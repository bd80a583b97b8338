"""A world in which one inference has left a trace of every kind, beside others; and a walk over everything kept."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from pyarrow import parquet

from davy.archive.places import open_place
from davy.archive.role import Archive
from davy.blobs import Blobs, open_blobs
from davy.codec import Encoder, dump, load, pack
from davy.config import Settings
from davy.consume import Loop
from davy.event import (
    ALERTS,
    FEEDBACK,
    FLAGS,
    INFERENCES,
    LABELS,
    TOPICS,
    Alert,
    Feedback,
    Flag,
    dead_letters,
)
from davy.forgetting import ForgetReport, Forgetting, HidingLog
from davy.log import Log, Message, Record, open_log
from davy.meter import Meter
from davy.runtime import Runtime
from davy.store import Batch, Store, open_store
from davy_detectors.incidents.incident import INCIDENTS, Incident
from davy_detectors.stream.role import DetectTarget
from davy_miner import dataset, rounds
from davy_miner.candidates import candidate_id
from davy_miner.labelstudio import LabelStudio
from davy_miner.worker import Mine
from support.fake_labelstudio import LEGACY_KEY, FakeLabelStudio

MODEL = "digits:1"
SECOND = 10**9


@dataclass(frozen=True)
class Subject:
    """One inference and what it is recognised by."""

    number: int

    @property
    def id(self) -> bytes:
        return np.random.default_rng([11, self.number]).bytes(16)

    @property
    def text(self) -> str:
        return f"the miner's own words {self.number:03d}"

    @property
    def picture(self) -> bytes:
        return b"\x89PNG\r\n\x1a\n" + np.random.default_rng([12, self.number]).bytes(3000)

    @property
    def embedding(self) -> np.ndarray:
        return np.random.default_rng([13, self.number]).normal(size=16)

    @property
    def candidate(self) -> str:
        return candidate_id(MODEL, self.id)

    def marks(self) -> dict[str, bytes]:
        """Bytes that stand nowhere unless something of this inference does."""
        return {
            "id": self.id,
            "hex id": self.id.hex().encode(),
            "text": self.text.encode(),
            "wide text": self.text.encode("utf-32-le"),
            "picture": self.picture[8:],
            "embedding": self.embedding.tobytes(),
            "candidate": self.candidate.encode(),
        }


class ForgetWorld:
    """Log, store, payloads, datasets and a Label Studio, on adapters of choice."""

    def __init__(self, adapter: str, directory: Path, fake: FakeLabelStudio, **log: Any) -> None:
        self.fake, self.directory = fake, directory
        url = f"memory://{directory}" if adapter == "memory" else f"sqlite:///{directory}/davy"
        blobs = f"memory://{directory}" if adapter == "memory" else f"file:///{directory}/davy/blobs"
        settings = Settings(url=url, store_url=url, blob_url=blobs)
        self.settings = replace(
            settings,
            log=replace(settings.log, **log),
            detect=replace(settings.detect, control_share=1.0),
            mine=replace(settings.mine, round_seconds=0.0, datasets=str(directory / "datasets")),
            archive=replace(settings.archive, url=f"file:///{directory}/archive", seconds=0.0),
            labelstudio=replace(
                settings.labelstudio, url=fake.url, api_key=LEGACY_KEY, timeout_seconds=2, settle_seconds=0
            ),
        )
        self.log, self.store, self.blobs = open_log(url), open_store(url), open_blobs(blobs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for opened in (self.log, self.store, self.blobs):
            opened.close()

    def runtime(
        self,
        *,
        log: Log | None = None,
        store: Store | None = None,
        blobs: Blobs | None = None,
        tool: bool = True,
    ) -> Runtime:
        """Return what a process gets; without `tool` its miner knows no Label Studio."""
        url = self.fake.url if tool else ""
        settings = replace(self.settings, labelstudio=replace(self.settings.labelstudio, url=url))
        return Runtime(settings, log or self.log, store or self.store, blobs or self.blobs, Meter())

    def envelope(self, subjects: Sequence[Subject], **tags: Any) -> bytes:
        """Put the pictures and make the envelope."""
        encoder = Encoder()
        chunks = []
        for one in subjects:
            probs = np.full(10, 0.02)
            probs[one.number % 10] = 0.82
            inputs = {"image": self.blobs.put(one.picture, "image/png"), "text": one.text}
            given = tags or {"user": f"user-{one.number}"}
            chunks.append(
                encoder.encode(
                    MODEL, one.id, one.number, inputs, {"probs": probs}, embedding=one.embedding, tags=given
                )
            )
        return pack(chunks, report={"full": 2})

    def append(self, topic: str, *values: bytes, headers: dict[str, str] | None = None) -> None:
        """Append to the log as a producer does."""
        producer = self.log.producer()
        producer.append([Message(topic, MODEL, value, headers or {}) for value in values])
        producer.close()

    def roles(self, log: Log | None = None) -> None:
        """Let detectors and miner read what there is, through what hides the forgotten, as processes do."""
        runtime = self.runtime(log=HidingLog(log or self.log, self.store), tool=False)
        detectors = DetectTarget(runtime)
        try:
            detectors.counting.drain()
            detectors.testing.turn()
        finally:
            detectors.close()
        archive = Archive(runtime, open_place(self.settings.archive.url))
        for role in (Mine(runtime), archive):
            loop: Loop[Any] = Loop(runtime, role)
            try:
                loop.drain()
                loop.step()  # the archive writes what it sealed
            finally:
                loop.close()

    def label(self, subjects: Sequence[Subject]) -> None:
        """Choose everything that waits, push it, answer for `subjects` and read the answers back."""
        rounds.request(self.runtime(), MODEL, 1000)
        self.roles()
        tool = LabelStudio(self.runtime())
        tool.push()
        for one in subjects:
            (task,) = self.fake.tasks_of(one.candidate)
            self.fake.annotate(task["id"], ("verdict", "model wrong"), ("answer", "3"))
        batch = Batch()
        self.append(LABELS, *(dump(label) for label in tool.pull(batch)))
        self.store.apply(batch)
        tool.close()
        self.roles()

    def live(self, subjects: Sequence[Subject], size: int = 3) -> Path:
        """Let subjects pass through the whole loop; return the dataset version made of them."""
        for start in range(0, len(subjects), size):
            self.append(INFERENCES, self.envelope(subjects[start : start + size]))
        self.roles()
        ids = [one.id for one in subjects]
        incident = Incident(
            "i1", MODEL, "drift", "open", "r", 1, 1, 1, 1, 1, 10, features=[], statistic=2.0, threshold=1.0,
            samples=ids,
        )  # fmt: skip
        alert = Alert("i1", MODEL, "drift", "open", 1, 1, 1, 1, [], 2.0, 1.0, ids)
        self.store.apply(Batch().put(INCIDENTS.name, "i1", dump(incident)))
        self.append(ALERTS, dump(alert))
        self.append(FEEDBACK, *(dump(Feedback(one.id, one.text, 5, model=MODEL)) for one in subjects))
        self.append(
            dead_letters(INFERENCES), self.envelope(subjects[:size]), headers={"davy.error": "KeyError"}
        )
        self.append(dead_letters(FLAGS), *(b"\xff damaged " + one.id + b" flag" for one in subjects[:2]))
        self.label(subjects)
        return dataset.build(self.runtime(), MODEL)

    def forget(self, *subjects: Subject, runtime: Runtime | None = None) -> ForgetReport:
        """Forget as the command does."""
        return Forgetting(runtime or self.runtime(), patience=15).forget(
            frozenset(one.id for one in subjects)
        )

    def records(self, topic: str) -> list[Record]:
        """Every record of a topic."""
        start = self.log.start(topic)[topic, 0]
        return list(self.log.read(topic, 0, start))

    def flags(self) -> dict[bytes, Flag]:
        """The flags that can be read, by inference."""
        flags = [load(Flag, record.value) for record in self.records(FLAGS) if record.value]
        return {flag.inference_id: flag for flag in flags}

    def collections(self) -> dict[str, dict[str, bytes]]:
        """Everything in the store."""
        if self.settings.url.startswith("memory"):
            return {name: dict(rows) for name, rows in self.store._collections.items()}  # type: ignore[attr-defined]
        found: dict[str, dict[str, bytes]] = {}
        with sqlite3.connect(self.directory / "davy" / "store.db") as connection:
            for collection, key, value in connection.execute("SELECT collection, key, value FROM records"):
                found.setdefault(collection, {})[key] = value
        connection.close()
        return found

    def everything(self) -> Iterator[tuple[str, bytes]]:
        """Everything that is kept, with where it is; but for the names of what is forgotten."""
        for topic in TOPICS:
            for name in (topic, dead_letters(topic)):
                for record in self.records(name):
                    yield f"log {name}", repr(record.headers).encode() + record.value
        for collection, rows in self.collections().items():
            if collection != "forgotten":
                for key, value in rows.items():
                    yield f"store {collection}", key.encode() + b" " + value
        for stored in self.blobs.stored():
            yield "blobs", self.blobs.get(stored.hash)
        for path in sorted((self.directory / "datasets").rglob("*")):
            if path.is_file():
                yield "datasets", path.name.encode() + b" " + path.read_bytes()
        for path in sorted((self.directory / "archive").rglob("*")):
            if path.is_file():
                table = parquet.ParquetFile(path).read()
                yield "archive", repr((path.name, table.schema, table.to_pylist())).encode()
        yield "label studio", repr(self.fake.tasks).encode()

    def places(self, subject: Subject) -> dict[str, set[str]]:
        """Where each mark of a subject stands."""
        found: dict[str, set[str]] = {}
        for where, data in self.everything():
            for name, mark in subject.marks().items():
                if mark in data:
                    found.setdefault(name, set()).add(where)
        return found
