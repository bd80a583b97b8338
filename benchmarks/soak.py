"""Half an hour of a whole deployment at half the load it can take, with a fault a minute.

Three brokers, a Redis with its replica, two detect processes, one that mines, a fake Label Studio with its vices: all
on this machine beside the serving app. Lag and resident memory are looked at every five seconds.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

from benchmarks.services import TESTS
from davy.errors import DavyError

NAME: Final = "soak"
MINUTES: Final = int(os.environ.get("DAVY_SOAK_MINUTES", "30"))
_FIRST_OFFER: Final = 10_000
_OFFER_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.05
_SHARE: Final = 0.5
_SEED: Final = 5
_EVERY_SECONDS: Final = 5.0
_WARM_SECONDS: Final = 180.0
"""Memory of a process is judged from this age on."""
_LEAST_SECONDS: Final = 300.0
"""Nothing is said about the slope of a process that lived for less after that."""
SETTINGS: Final = {
    "DAVY_DETECT_RESTATE_SECONDS": "60",
    "DAVY_DETECT_QUIET_EVENTS": "100000",
    "DAVY_DETECT_FLAG_SHARE": "0.001",
    "DAVY_DETECT_CONTROL_SHARE": "0.001",
    "DAVY_MINE_ROUND_SECONDS": "10",
    "DAVY_MINE_POLL_SECONDS": "1",
    "DAVY_MINE_POOL": "2000",
}
"""What a team at this load would set: incidents that end after seconds of quiet, few flags, and a pool that is full
within minutes, so that a round costs the same from then on."""
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Watch(threading.Thread):
    """Samples lag, and resident memory by process."""

    def __init__(self, world: Any) -> None:
        super().__init__(daemon=True)
        self._world = world
        self._over = threading.Event()
        self.lag: list[int] = []
        self.memory: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def run(self) -> None:
        """Sample until told to stop."""
        while not self._over.wait(_EVERY_SECONDS):
            now = time.monotonic()
            with suppress(DavyError, OSError):  # a broker or Redis is down
                self.lag.append(self._world.lag())
            for process in (*self._world.roles.values(), self._world.app):
                child = process.child
                try:
                    pages = int(Path(f"/proc/{child.pid}/statm").read_text().split()[1])
                except (OSError, AttributeError):
                    continue
                self.memory[f"{process.name} {child.pid}"].append((now, pages * _PAGE / 2**20))

    def stop(self) -> None:
        """Take no more samples."""
        self._over.set()
        self.join()

    def slopes(self) -> dict[str, list[float]]:
        """Return the growth of memory in MB an hour, by role, of every process of it that lived long enough."""
        found: dict[str, list[float]] = defaultdict(list)
        for name, samples in self.memory.items():
            late = [(at, size) for at, size in samples if at - samples[0][0] > _WARM_SECONDS]
            if late and late[-1][0] - late[0][0] > _LEAST_SECONDS:
                at, size = np.array(late).T
                slope = float(np.polyfit(at - at[0], size, 1)[0] * 3600)
                found[name.partition(" ")[0]].append(round(slope, 2))
        return dict(found)

    def now(self) -> dict[str, float]:
        """Return the memory in MB by name of process, as last seen."""
        return {name.partition(" ")[0]: round(samples[-1][1], 1) for name, samples in self.memory.items()}

    def most(self) -> dict[str, float]:
        """Return the most memory in MB by name of process."""
        found: dict[str, float] = {}
        for name, samples in self.memory.items():
            short = name.partition(" ")[0]
            found[short] = round(max(found.get(short, 0.0), *(size for _, size in samples)), 1)
        return found


def run() -> dict[str, Any]:
    """Find out the most the deployment takes, then run it at half of that and break something every minute."""
    sys.path.insert(0, str(TESTS))
    os.environ["PYTHONPATH"] = str(TESTS)
    from support.breaking import FAULTS
    from support.deployment import Deployment
    from support.fake_labelstudio import VICES, FakeLabelStudio
    from support.kafka_server import Cluster
    from support.labelling_tools import FakeTool

    rng, minutes, rests = random.Random(_SEED), [], []
    with tempfile.TemporaryDirectory() as name, FakeLabelStudio() as fake:
        folder = Path(name)
        with (
            Cluster(3, folder / "kafka") as cluster,
            Deployment(cluster, folder, FakeTool(fake), **SETTINGS) as world,
        ):
            most = _most(world)
            rate = int(_SHARE * most)
            watch = Watch(world)
            watch.start()
            for minute, fault in enumerate((list(FAULTS) * MINUTES)[:MINUTES]):
                fake.vices.extend(rng.sample(VICES, 2))
                world.capture(rate * 55, 55.0, shifted=minute % 10 == 5)
                time.sleep(rng.uniform(5.0, 20.0))
                begun = time.monotonic()
                FAULTS[fault](world, rng)
                mended = time.monotonic()
                account = world.app.account()
                try:
                    rests.append(world.rest(account["sent"]))
                except DavyError:
                    for process in (*world.roles.values(), world.app):
                        sys.stderr.write(f"== {process.name}\n{process.said()}\n")
                    raise
                minutes.append(
                    {
                        "fault": fault,
                        "seconds": round(mended - begun, 1),
                        "rest_seconds": round(rests[-1], 1),
                        "resident_mb": watch.now(),
                    }
                )
                sys.stderr.write(f"{minutes[-1]} {account['sent']} sent\n")
            watch.stop()
            ledger = world.check(account, compare=False)
    return {
        "minutes": MINUTES,
        "seed": _SEED,
        "most_per_second": round(most),
        "load_per_second": rate,
        "ledger": ledger,
        "thinned": account["thinned"],
        "lag_records": {"median": median(watch.lag), "most": max(watch.lag), "last": watch.lag[-1]},
        "seconds_to_rest_after_the_load": {"median": round(median(rests), 1), "worst": round(max(rests), 1)},
        "resident_mb_most": watch.most(),
        "resident_mb_per_hour": watch.slopes(),
        "by_minute": minutes,
    }


def _most(world: Any) -> float:
    """Return how many inferences a second go from capture to being counted when the app is offered more than that.

    What is offered doubles until the SDK thins, which it does before its queue is full.
    """
    from support.deployment import counted

    world.capture(2_000, 2.0)  # so that connections and topics are there
    account = world.app.account()
    offered, rate, thinned = _FIRST_OFFER, 0.0, account["thinned"]
    while account["thinned"] == thinned:
        offered *= 2
        before, begun = account["sent"], time.monotonic()
        world.capture(round(offered * _OFFER_SECONDS), _OFFER_SECONDS)
        account = world.app.account()
        with world.looking() as runtime:
            while counted(runtime.store) < account["sent"]:
                time.sleep(_LOOK_SECONDS)
        rate = (account["sent"] - before) / (time.monotonic() - begun)
        world.rest(account["sent"])
    return rate
