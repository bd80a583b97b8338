"""A year of a deployment in minutes: models come and go, incidents open and close, people label, senders drop.

Everything runs in this process on the embedded log and store, by a clock that is set by hand: a day is one morning of
traffic, then detection, a round of the miner, answers to part of what it chose, retention and expiry.
"""

from __future__ import annotations

import gc
import logging
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

from davy.blobs.file import FileBlobs
from davy.codec import Encoder, dump, load, pack
from davy.config import DetectSettings, MineSettings, Settings
from davy.consume import Loop
from davy.event import FEEDBACK, INFERENCES, LABELS, Feedback, Label
from davy.health import Health
from davy.log import Message
from davy.log.sqlite import SqliteLog
from davy.meter import Meter
from davy.retention import RetentionTarget
from davy.runtime import Runtime
from davy.store.sqlite import SqliteStore
from davy_dashboards.web._status import StatusReader
from davy_detectors.batch import Batch
from davy_detectors.models.known import KnownModel, known_models, unlisted
from davy_detectors.reference import Reference
from davy_detectors.reference.active import put as put_reference
from davy_detectors.stream.role import DetectTarget
from davy_miner.candidates import CANDIDATES, Candidate
from davy_miner.worker import Mine

NAME: Final = "age"
MONTHS: Final = 12
NAMES: Final = 20_000
SETTLED: Final = 3
"""Months after which nothing that has a bound grows any more."""
KEPT: Final = frozenset({"labels", "datasets", "answered candidates", "feedback", "keys"})
"""What is kept for good: answers, what they belong to, and what became known about it."""
_SECOND: Final = 10**9
_DAY: Final = 86_400 * _SECOND
_BEGIN: Final = 1_700_000_000 * _SECOND
_ODD: Final = 40
"""Names of fields that a sender leaves out."""
_FIELDS: Final = ("age", "income", "rate", "term")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Life:
    """How much happens in it."""

    models: int = 4
    """New models a month; each sends for 30 days, and every third has no reference."""
    inferences: int = 60
    """Of a model, a day."""
    junk: int = 60
    """Names a month that come once."""
    bound: int = 60
    """The setting detect.models."""
    answered: float = 0.3
    """Share of what was chosen that people answer."""


@dataclass(slots=True)
class Aged:
    """A deployment and its clock."""

    life: Life
    directory: Path
    now: int = _BEGIN
    names: int = 0
    runtime: Runtime = field(init=False)

    def __post_init__(self) -> None:
        url = f"sqlite:///{self.directory}"
        settings = Settings(
            url=url,
            detect=DetectSettings(models=self.life.bound, quiet_events=200, false_alarm_every=20_000),
            mine=MineSettings(budget=6, round_seconds=86_000.0, unanswered=60, pool=200),
        )
        log, store = SqliteLog(url, clock=lambda: self.now), SqliteStore(url)
        blobs = FileBlobs(f"file:///{self.directory}/blobs")
        self.runtime = Runtime(settings, log, store, blobs, Meter(), clock=lambda: self.now)

    def close(self) -> None:
        """Let go of everything."""
        for one in (self.runtime.log, self.runtime.store, self.runtime.blobs):
            one.close()

    def fit(self, model: str, seed: int) -> None:
        """Give a model a reference."""
        batch = Batch.from_columns(model, _rows(np.random.default_rng(seed), 1_000))
        reference = Reference.fit(model, batch, settings=self.runtime.settings.detect)
        put_reference(self.runtime.store, model, reference.to_bytes())

    def send(self, model: str, count: int, rng: np.random.Generator, *, drifts: float = 0.0) -> None:
        """Append inferences of a model, a few of them near-duplicates, with a report of what its sender dropped."""
        columns = _rows(rng, count, drifts=drifts)
        encoder, chunks = Encoder(), []
        for row in range(count):
            self.names += 1
            source = 0 if row % 4 == 0 else row  # a quarter is the same sample
            inputs = {name: float(columns[f"inputs.{name}"][source]) for name in _FIELDS}
            name = self.names.to_bytes(16, "big")
            at = self.now - (count - row) * _SECOND // 20
            chunks.append(
                encoder.encode(model, name, at, inputs, {"probs": columns["outputs.probs"][source]})
            )
        report = {"queue_full": 1, f"field:inputs.f{self.names % _ODD}:type": 1}
        producer = self.runtime.log.producer()
        producer.append([Message(INFERENCES, model, pack(chunks, report=report))])
        producer.close()


def _rows(rng: np.random.Generator, count: int, *, drifts: float = 0.0) -> dict[str, Any]:
    columns: dict[str, Any] = {f"inputs.{name}": rng.normal(size=count) for name in _FIELDS}
    columns["inputs.income"] += 4.0 * (rng.random(count) < drifts)
    risk = 1 / (1 + np.exp(-columns["inputs.age"]))
    columns["outputs.probs"] = np.stack([risk, 1 - risk], axis=1)
    return columns


def live(life: Life, directory: Path, months: int = MONTHS) -> Iterator[dict[str, Any]]:
    """Let a deployment live; return its figures at the end of every month."""
    world, rng = Aged(life, directory), np.random.default_rng(3)
    roles = replace(world.runtime)
    detect, retention = DetectTarget(roles), RetentionTarget(roles)
    miner: Loop[Any] = Loop(roles, Mine(roles))
    page = StatusReader(roles, Health(roles))
    world.fit("old:1", 0)
    world.fit("idle:1", 1)
    world.send("idle:1", 50, rng)
    for month in range(months):
        for number in range(life.models):
            if number % 3:
                world.fit(f"m{month}:{number}", 100 * month + number)
        for day in range(30):
            for number in range(life.models):
                trouble = 0.5 if 10 <= day < 15 and number % 2 else 0.0
                world.send(f"m{month}:{number}", life.inferences, rng, drifts=trouble)
            world.send("old:1", life.inferences, rng, drifts=0.5 if 2 <= month < 8 else 0.0)
            for number in range(life.junk * day // 30, life.junk * (day + 1) // 30):
                world.send(f"junk{month}:{number}", 1, rng)
            world.now += 10 * _SECOND
            detect.counting.drain()
            detect.testing.turn()
            detect.expiry.step()
            miner.drain()
            _answer(world, rng)
            miner.drain()
            retention.retain()
            retention.drop_names()
            retention.collect_due()
            world.now += _DAY - 10 * _SECOND
        yield {"month": month + 1, **_figures(world, detect, miner, page)}
    miner.close()
    detect.close()
    world.close()


def _answer(world: Aged, rng: np.random.Generator) -> None:
    """Let people answer part of what was chosen, and an outcome become known."""
    found = (load(Candidate, data) for _, data in world.runtime.store.items(CANDIDATES.name))
    chosen = [one for one in found if one.state == "selected" and rng.random() < world.life.answered]
    messages = []
    for one in chosen:
        label = Label(one.id, one.inference_id, one.model, 1, 1, world.now, annotator="ann")
        messages.append(Message(LABELS, one.model, dump(label)))
        known = Feedback(one.inference_id, 1, world.now, model=one.model)
        messages.append(Message(FEEDBACK, one.model, dump(known)))
    producer = world.runtime.log.producer()
    producer.append(messages)
    producer.close()


def _figures(world: Aged, detect: DetectTarget, miner: Loop[Any], page: StatusReader) -> dict[str, Any]:
    scrapes, turns, pages = [], [], []
    for _ in range(5):
        begun = time.perf_counter()
        size = len(world.runtime.meter.exposition())
        scrapes.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        world.now += 2 * _SECOND
        detect.counting.step(timeout=0.0)
        detect.testing.turn()
        miner.step(timeout=0.0)
        turns.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        page._read()
        pages.append(time.perf_counter() - begun)
    held = stored(world.runtime)
    return {
        "memory_mb": _memory(),
        "store_kb": round(sum(size for name, size in held.items() if name not in KEPT) / 1024),
        "kept_for_good_kb": round(sum(size for name, size in held.items() if name in KEPT) / 1024),
        "log_kb": round((world.directory / "log.db").stat().st_size / 1024),
        "scrape_kb": round(size / 1024, 1),
        "scrape_ms": round(median(scrapes) * 1000, 1),
        "round_ms": round(median(turns) * 1000, 1),
        "page_ms": round(median(pages) * 1000, 1),
        "models_shown": len(page._read().models),
        "incidents_kept": world.runtime.store.count("incidents"),
        "store_by_collection": held,
    }


def stored(runtime: Runtime) -> Mapping[str, int]:
    """Return the bytes of records by collection; those of candidates that people answered stand for themselves."""
    path = Path(runtime.settings.url.partition("://")[2][1:]) / "store.db"
    with closing(sqlite3.connect(path)) as database:
        query = "SELECT collection, sum(length(key) + length(value)) FROM records GROUP BY 1"
        found = {str(name): int(size) for name, size in database.execute(query)}
    sizes: dict[str, int] = {}
    for name, size in found.items():
        short = name.partition("/")[0]
        sizes[short] = sizes.get(short, 0) + size
    answered = sum(
        len(key) + len(data)
        for key, data in runtime.store.items(CANDIDATES.name)
        if load(Candidate, data).state in {"labelled", "disputed", "skipped", "deleted"}
    )
    return {
        **sizes,
        CANDIDATES.name: sizes.get(CANDIDATES.name, 0) - answered,
        "answered candidates": answered,
    }


def names(directory: Path, count: int = NAMES) -> dict[str, Any]:
    """Let one inference each of so many models come, and then an honest model; return what that costs."""
    url, now = f"sqlite:///{directory}", _BEGIN
    log, store = SqliteLog(url, clock=lambda: now), SqliteStore(url)
    blobs = FileBlobs(f"file:///{directory}/blobs")
    runtime = Runtime(Settings(url=url), log, store, blobs, Meter(), clock=lambda: now)
    detect, producer, encoder = DetectTarget(runtime), log.producer(), Encoder()

    def envelope(model: str, number: int) -> Message:
        chunk = encoder.encode(model, number.to_bytes(16, "big"), now, {"x": 1.0}, {"label": 1})
        return Message(INFERENCES, model, pack([chunk]))

    before = _memory()
    producer.append([envelope(f"junk:{number}", number) for number in range(count)])
    begun = time.perf_counter()
    detect.counting.drain()
    now += 10 * _SECOND
    detect.testing.turn()
    taken = time.perf_counter() - begun
    scrapes = []
    for _ in range(5):
        begun = time.perf_counter()
        size = len(runtime.meter.exposition())
        scrapes.append(time.perf_counter() - begun)
    batch = Batch.from_columns("honest:1", _rows(np.random.default_rng(1), 1_000))
    put_reference(
        store, "honest:1", Reference.fit("honest:1", batch, settings=runtime.settings.detect).to_bytes()
    )
    now += 2 * _SECOND
    producer.append([envelope("honest:1", count)])
    begun = time.perf_counter()
    while not any(one.name == "honest:1" and one.totals.events for one in _known(runtime, now)):
        detect.counting.step(timeout=0.0)
        detect.testing.turn()
    honest = time.perf_counter() - begun
    after = _memory()
    counted = sum(one.totals.events for one in _known(runtime, now))
    others = unlisted(store, now)
    producer.close()
    detect.close()
    for one in (log, store, blobs):
        one.close()
    return {
        "names": count,
        "counted by name": counted,
        "counted together": others.inferences,
        "names not shown, estimated": others.models,
        "memory before, MB": before,
        "memory after, MB": after,
        "scrape, KB": round(size / 1024),
        "scrape, ms": round(median(scrapes) * 1000, 1),
        "counting all, s": round(taken, 2),
        "until an honest model is counted, s": round(honest, 3),
    }


def _known(runtime: Runtime, now: int) -> list[KnownModel]:
    return known_models(runtime.store, runtime.settings.detect, now)


def _memory() -> float:
    gc.collect()
    return round(int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE / 2**20, 1)


def run() -> dict[str, Any]:
    logging.getLogger("davy").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as name:
        months = list(live(Life(), Path(name)))
    with tempfile.TemporaryDirectory() as name:
        return {"by_month": months, "names": names(Path(name))}
