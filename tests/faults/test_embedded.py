"""Davy on one machine, broken in ways that only what it does can tell: it says what is wrong, and when it is over."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from damage import damage_structure
from embedded import UP, Embedded, some_seconds
from fake_labelstudio import FakeLabelStudio
from rounds import ROUNDS, write_down
from services import freeze

from davy.demo.processes import wait_until

APART = {name: ("davy", "run", name) for name in ("gateway", "detect", "mine")}
TEN_MINUTES = 600.0
pytestmark = pytest.mark.timeout(300 + TEN_MINUTES)

_POISON = """
import davy
for number in range(600):
    davy.capture("other:1", {"x": number / 600}, {"probs": [0.4, 0.6]})
assert davy.flush(60)
"""
_REFUSED = "Davy other:1 · tabular-classification"
Mend = Callable[[], object]


@dataclass(frozen=True)
class Fault:
    """What breaks, how the processes run, and what has to be said: of whom /readyz, with which status and findings."""

    strike: Callable[[Embedded, random.Random], Mend]
    wrong: frozenset[str]
    """What `davy doctor` says one of, and /readyz too where its status is 503 or another process asks."""
    roles: Mapping[str, Sequence[str]] = field(default_factory=lambda: UP)
    asked: str = "up"
    status: int = 503
    disk_bytes: int = 0
    labelling: bool = False
    lasts: bool = False
    """Whether every tenth round lasts ten minutes."""


def fill_disk(world: Embedded, rng: random.Random) -> Mend:
    """Take every byte of the data directory's own disk."""
    filler = world.directory / "filler"
    with filler.open("wb") as file:
        try:
            while True:
                file.write(rng.randbytes(2**16))
                file.flush()
        except OSError:
            pass
    return filler.unlink


def damage_store(world: Embedded, rng: random.Random) -> Mend:
    """Flip 60 bytes of the store."""
    return damage_structure(world.directory / "store.db", seed=rng.randrange(1000))


def lock_store(world: Embedded, rng: random.Random) -> Mend:
    """Hold the store's lock."""
    connection = sqlite3.connect(world.directory / "store.db", timeout=30, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    return connection.close


def wedge_plugin(world: Embedded, rng: random.Random) -> Mend:
    """Let a plug-in of detection not return."""
    world.wedge.touch()
    return world.wedge.unlink


def stop_process(world: Embedded, rng: random.Random) -> Mend:
    """Stop the process that detects from running."""
    freeze(world.processes["detect"].pid)
    return lambda: world.signal("detect", signal.SIGCONT)


def kill_process(world: Embedded, rng: random.Random) -> Mend:
    """Kill the process that detects."""
    world.processes["detect"].kill()
    world.processes["detect"].wait()
    return lambda: world.start("detect")


def break_labelling(world: Embedded, rng: random.Random) -> Mend:
    """Let Label Studio answer everything with an error."""
    fake = world.labelling
    assert fake is not None
    fake.broken = True
    return lambda: setattr(fake, "broken", False)


def poison_labelling(world: Embedded, rng: random.Random) -> Mend:
    """Let another model give answers of which Label Studio refuses every form."""
    fake = world.labelling
    assert fake is not None
    fake.refuse_titles.add(_REFUSED)
    subprocess.run([sys.executable, "-c", _POISON], env=world.env, check=True, timeout=60)
    before = len(fake.tasks)

    def mend() -> None:
        wait_until(lambda: len(fake.tasks) > before, "tasks of the first model to be made meanwhile")
        fake.refuse_titles.clear()

    return mend


FAULTS = {
    "disk of the data directory full": Fault(fill_disk, frozenset({"disk"}), disk_bytes=64 * 2**20),
    "store damaged": Fault(damage_store, frozenset({"store", "store file"})),
    "store locked": Fault(lock_store, frozenset({"store"}), lasts=True),
    "plug-in that never returns": Fault(
        wedge_plugin, frozenset({"role detect"}), {"up": ("wedging", "{wedge}", "davy", "up")}
    ),
    "detect stopped": Fault(stop_process, frozenset({"role detect"}), APART, "gateway", 200),
    "detect killed": Fault(kill_process, frozenset({"role detect"}), APART, "gateway", 200),
    "labelling answers errors": Fault(
        break_labelling,
        frozenset({"labelling: pushing tasks", "labelling: reading labels"}),
        labelling=True,
    ),
    "labelling poisoned": Fault(poison_labelling, frozenset({"labelling: models"}), labelling=True),
}


@contextmanager
def disk_of(size: int, place: Path) -> Iterator[None]:
    """Put a directory on a disk of its own with this many bytes, unless that is 0."""
    if not size:
        yield
        return
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "davy-test", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"a disk of its own cannot be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextmanager
def world_of(fault: Fault, folder: Path) -> Iterator[Embedded]:
    with ExitStack() as stack:
        stack.enter_context(disk_of(fault.disk_bytes, folder / "davy"))
        fake = stack.enter_context(FakeLabelStudio()) if fault.labelling else None
        roles = {
            name: [part.format(wedge=folder / "wedge") for part in parts]
            for name, parts in fault.roles.items()
        }
        yield stack.enter_context(Embedded(folder, roles, labelling=fake))


@pytest.mark.parametrize("number", range(ROUNDS))
@pytest.mark.parametrize("name", FAULTS)
def test_what_davy_says_of_itself_is_right_within_half_a_minute(
    name: str, number: int, tmp_path: Path
) -> None:
    fault, rng = FAULTS[name], random.Random(f"{name} {number}")
    with world_of(fault, tmp_path) as world:
        world.begin()
        world.right_within(lambda: world.readyz(fault.asked) == (200, quiet(world)), "it to be ready")
        world.right_within(lambda: world.counted() > 200, "inferences to be counted")
        world.right_within(lambda: world.wrong() == [], "davy doctor to find nothing wrong")
        assert world.metric(fault.asked, "davy_build_info") == 1  # a scrape, as before any fault
        seen = strike(fault, world, rng, TEN_MINUTES if fault.lasts and number % 10 == 9 else 0.0)
        write_down(name, {**seen, **ledger(world)})


def strike(fault: Fault, world: Embedded, rng: random.Random, lasting: float) -> dict[str, float]:
    """Break and mend something, some seconds later; return how long what is said was wrong."""
    some_seconds(rng)
    mend = fault.strike(world, rng)

    def told(findings: dict[str, str]) -> bool:
        return any(findings.get(what) in {"wrong", "warning"} for what in fault.wrong)

    def ready_tells() -> bool:
        status, findings = world.readyz(fault.asked)
        return status == fault.status and told(findings)

    def doctor_tells() -> bool:
        code, findings = world.doctor()
        return code == 1 and told(findings)

    seen = {"readyz_seconds": world.right_within(ready_tells, "/readyz to say what is wrong")}
    seen["doctor_seconds"] = world.right_within(doctor_tells, "davy doctor to say what is wrong")
    if fault.wrong & {"store", "role detect"} and fault.asked == "up":
        over = time.monotonic() + lasting
        risen(world, fault.asked)
        while time.monotonic() < over:
            time.sleep(10)
            risen(world, fault.asked)
            assert ready_tells()
    mend()
    well = lambda: world.readyz(fault.asked) == (200, quiet(world))  # noqa: E731
    seen["readyz_well_seconds"] = world.right_within(well, "/readyz to be well again")
    seen["doctor_well_seconds"] = world.right_within(lambda: world.wrong() == [], "davy doctor to be well")
    return seen


def risen(world: Embedded, name: str) -> None:
    """Check that the metrics of a role that stands still rise, and do not say that all is read."""
    for series in (
        'davy_role_silent_seconds{role="detect"}',
        'davy_lag_seconds{role="detect"}',
        'davy_unread_seconds{partition="0"}',
    ):
        before = world.metric(name, series)
        time.sleep(1.0)
        assert world.metric(name, series) >= before + 0.9 > 1.0, series


def quiet(world: Embedded) -> dict[str, str]:
    """Return what is said where all is well: a small disk is a warning, and so is one of another role's process."""
    return {"disk": "warning"} if os.statvfs(world.directory).f_blocks * 4096 < 2**30 else {}


def ledger(world: Embedded) -> dict[str, Any]:
    """Check that every inference captured is counted once, or its loss is."""
    account = world.stop()
    dropped = sum(account["dropped"].values())
    world.wait_counted(account["captured"] - dropped)
    stored = Counter(world.stored())
    assert len(stored) == account["captured"] - dropped
    return {"captured": account["captured"], "counted": len(stored), "dropped": dropped}
