"""What Davy says of itself while something is broken, and how soon it is right: the checks of a round."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from support.embedded import UP, Embedded, some_seconds

Mend: TypeAlias = Callable[[], object]


@dataclass(frozen=True)
class Fault:
    """What breaks, how the processes run, and what has to be said: of whom /readyz, with which status and findings."""

    strike: Callable[[Embedded, random.Random], Mend]
    wrong: AbstractSet[str]
    """What `davy doctor` says one of, and /readyz too where its status is 503 or another process asks."""
    roles: Mapping[str, Sequence[str]] = field(default_factory=lambda: UP)
    asked: str = "up"
    status: int = 503
    disk_bytes: int = 0
    labelling: bool = False
    lasts: bool = False
    """Whether one strike of ten lasts ten minutes."""


def struck(
    fault: Fault, world: Embedded, rng: random.Random, *, times: int = 1, lasting: float = 0.0
) -> list[dict[str, float]]:
    """Let a deployment begin and a fault strike it; return what was seen at each, and what was counted at last.

    Parameters
    ----------
    fault, world, rng
        What strikes, whom, and chance: the moment, and which bytes.
    times
        How often it strikes: each time after all is said to be well again.
    lasting
        How many seconds the last strike lasts at least.
    """
    world.begin()
    world.right_within(lambda: world.readyz(fault.asked) == (200, quiet(world)), "it to be ready")
    world.right_within(lambda: world.counted() > 200, "inferences to be counted")
    world.right_within(lambda: world.wrong() == [], "davy doctor to find nothing wrong")
    assert world.metric(fault.asked, "davy_build_info") == 1  # a scrape, as before any fault
    seen = [strike(fault, world, rng, lasting if left == 1 else 0.0) for left in range(times, 0, -1)]
    return [*seen[:-1], {**seen[-1], **ledger(world)}]


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
        world.right_within(
            lambda: risen(world, fault.asked), "the metrics of a role that stands still to rise"
        )
        while time.monotonic() < over:
            time.sleep(10)
            assert risen(world, fault.asked)
            assert ready_tells()
    mend()
    well = lambda: world.readyz(fault.asked) == (200, quiet(world))  # noqa: E731
    seen["readyz_well_seconds"] = world.right_within(well, "/readyz to be well again")
    seen["doctor_well_seconds"] = world.right_within(lambda: world.wrong() == [], "davy doctor to be well")
    return seen


def risen(world: Embedded, name: str) -> bool:
    """Return whether the metrics of a role that stands still rise, and do not say that all is read.

    Of a damaged store some can still be read until its check finds the damage, and detection goes on with that.
    """
    for series in (
        'davy_role_silent_seconds{role="detect"}',
        'davy_lag_seconds{role="detect"}',
        'davy_unread_seconds{partition="0"}',
    ):
        before = world.metric(name, series)
        time.sleep(1.0)
        if not world.metric(name, series) >= before + 0.9 > 1.0:
            return False
    return True


def quiet(world: Embedded) -> dict[str, str]:
    """Return what is said where all is well: a small disk is a warning, and so is one of another role's process."""
    place = world.directory if world.directory.exists() else world.folder
    return {"disk": "warning"} if os.statvfs(place).f_blocks * 4096 < 2**30 else {}


def ledger(world: Embedded) -> dict[str, Any]:
    """Check that every inference captured is counted once, or its loss is."""
    account = world.stop()
    dropped = sum(account["dropped"].values())
    world.wait_counted(account["captured"] - dropped)
    stored = Counter(world.stored())
    assert len(stored) == account["captured"] - dropped
    return {"captured": account["captured"], "counted": len(stored), "dropped": dropped}
