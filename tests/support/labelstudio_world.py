"""Candidates, a clock and a runtime around a fake Label Studio, and crashes at any step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from davy.blobs.memory import MemoryBlobs
from davy.codec import Encoder, dump, load, pack
from davy.config import GatewaySettings, LabelStudioSettings, Settings
from davy.event import Draw, Label
from davy.log.memory import MemoryLog
from davy.meter import Meter
from davy.runtime import Runtime
from davy.store import Batch, Lease, Store
from davy.store.memory import MemoryStore
from davy_miner.candidates import COLLECTION, Candidate, candidate_id
from davy_miner.labelstudio import LabelStudio
from davy_miner.labelstudio.client import SdkTool
from support.fake_labelstudio import LEGACY_KEY, FakeLabelStudio

MODEL = "digits:1"
SECOND = 10**9
BEGIN = 1_767_571_200 * SECOND
SETTLE = 120.0
TIMEOUT, PATIENCE = 0.4, 2.0
"""Seconds until an answer is given up: while faults strike, and once they are over."""


class Crash(BaseException):
    """The process is gone: nothing of it runs any more."""


@dataclass
class Fuse:
    """Counts the steps of one process and ends it at one of them, before or after the step took effect."""

    step: int | None = None
    after: bool = False
    steps: int = 0
    blown: bool = False

    def around(self, action: Callable[[], Any]) -> Any:
        """Do one step."""
        if self.blown:
            raise Crash
        self.steps += 1
        if self.steps != self.step:
            return action()
        self.blown = True
        if self.after:
            action()
        raise Crash


class CrashingStore:
    """A store as one process sees it that may be killed at any change; a killed process releases nothing."""

    def __init__(self, store: Store, fuse: Fuse) -> None:
        self._store, self._fuse = store, fuse
        self.url = store.url

    def get(self, collection: str, key: str) -> bytes | None:
        return self._store.get(collection, key)

    def get_many(self, collection: str, keys: Sequence[str]) -> dict[str, bytes]:
        return self._store.get_many(collection, keys)

    def items(self, collection: str) -> Iterator[tuple[str, bytes]]:
        return self._store.items(collection)

    def count(self, collection: str) -> int:
        return self._store.count(collection)

    def apply(self, batch: Batch, *, lease: Lease | None = None) -> None:
        self._fuse.around(lambda: self._store.apply(batch, lease=lease))

    def acquire(self, name: str, owner: str, *, seconds: float) -> Lease | None:
        return self._store.acquire(name, owner, seconds=seconds)

    def release(self, lease: Lease) -> None:
        if not self._fuse.blown:
            self._store.release(lease)

    def close(self) -> None:
        self._store.close()


class CrashingTool(SdkTool):
    """Label Studio as one process sees it that may be killed around any call that changes something."""

    def __init__(self, url: str, api_key: str, fuse: Fuse, *, timeout: float) -> None:
        super().__init__(url, api_key, timeout=timeout)
        self._fuse = fuse

    def create_project(self, title: str, description: str, config: str) -> int:
        return int(
            self._fuse.around(lambda: super(CrashingTool, self).create_project(title, description, config))
        )

    def change_config(self, project: int, config: str) -> None:
        self._fuse.around(lambda: super(CrashingTool, self).change_config(project, config))

    def import_tasks(self, project: int, tasks: Any) -> None:
        self._fuse.around(lambda: super(CrashingTool, self).import_tasks(project, tasks))

    def delete_task(self, task: int) -> None:
        self._fuse.around(lambda: super(CrashingTool, self).delete_task(task))


class World:
    """A store that outlives processes, a clock for all of them, and a Label Studio."""

    def __init__(
        self, fake: FakeLabelStudio | None, *, url: str = "", api_key: str = LEGACY_KEY, **settings: Any
    ):
        self.now = BEGIN
        self.fake = fake
        self.store = MemoryStore(clock=lambda: self.now / 1e9)
        self.blobs = MemoryBlobs()
        given = {"batch": 50, "timeout_seconds": TIMEOUT, "settle_seconds": SETTLE, **settings}
        url = fake.url if fake else url
        self.settings = Settings(
            labelstudio=LabelStudioSettings(url=url, api_key=api_key, **given),
            gateway=GatewaySettings(media_secret="lamp"),
        )
        self._open: list[LabelStudio] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._open:
            one.close()

    def process(
        self, fuse: Fuse | None = None, *, blind: bool = False, timeout: float | None = None
    ) -> LabelStudio:
        """Start a process that pushes and pulls, to be killed when its fuse says so."""
        fuse = fuse or Fuse()
        settings = self.settings.labelstudio
        tool = CrashingTool(settings.url, settings.api_key, fuse, timeout=timeout or settings.timeout_seconds)
        runtime = self.runtime(CrashingStore(self.store, fuse))
        made = LabelStudio(runtime, pause=lambda _: self.pass_time(1), blind=blind, tool=tool)
        self._open.append(made)
        return made

    def runtime(self, store: Store | None = None) -> Runtime:
        """Return what a role gets."""
        return Runtime(
            self.settings,
            MemoryLog(clock=lambda: self.now),
            store or self.store,
            self.blobs,
            Meter(),
            clock=lambda: self.now,
        )

    def pass_time(self, seconds: float) -> None:
        """Move every clock."""
        self.now += int(seconds * SECOND)
        if self.fake:
            self.fake.advance(seconds)

    def select(self, count: int, *, first: int = 0, model: str = MODEL, **fields: Any) -> list[str]:
        """Put candidates into the queue; return their ids."""
        made = [self.candidate(number, model=model, **fields) for number in range(first, first + count)]
        batch = Batch()
        for one in made:
            batch.put(COLLECTION, one.id, dump(one))
        self.store.apply(batch)
        return [one.id for one in made]

    def candidate(self, number: int, *, model: str = MODEL, **fields: Any) -> Candidate:
        """Make a candidate whose model answered ``number % 10`` with probability 0.7."""
        inference_id = number.to_bytes(16, "big")
        probs = np.full(10, 0.3 / 9)
        probs[number % 10] = 0.7
        inputs = fields.pop("inputs", {"pixels": np.full((8, 8), number % 17, dtype=np.float32)})
        outputs = fields.pop("outputs", {"probs": probs, "label": number % 10})
        chunk = Encoder().encode(model, inference_id, BEGIN, inputs, outputs)
        made = Candidate(
            id=candidate_id(model, inference_id),
            model=model,
            inference_id=inference_id,
            at=BEGIN,
            state="selected",
            draws=[Draw("msp", probability=0.5), Draw("control", probability=0.02)],
            scores={"msp": 0.01},
            inference=pack([chunk]),
            arm="greedy",
            picture=self.blobs.put(b"\x89PNG %d" % number, "image/png"),
        )
        return replace(made, **fields)

    def candidates(self) -> dict[str, Candidate]:
        """Every candidate as it is stored."""
        return {key: load(Candidate, data) for key, data in self.store.items(COLLECTION)}

    def pull(self, process: LabelStudio) -> list[Label]:
        """Pull and commit."""
        batch = Batch()
        labels = process.pull(batch)
        self.store.apply(batch)
        return labels

    def until_quiet(self, process: LabelStudio | None = None) -> None:
        """Push and pull, with time passing, until nothing is left to do."""
        process = process or self.process(timeout=PATIENCE)
        for _ in range(3):
            process.push()
            self.pull(process)
            self.pass_time(400)
        process.push()
