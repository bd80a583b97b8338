"""Keys that are rotated, revoked or expire under an app that captures 200 inferences a second: nothing may get lost.

A real ``davy run gateway`` and an app with its key in a file. After some seconds the key is changed, and only
some seconds later the file: what the gateway refuses meanwhile waits in the app's queue or spool. In the end the log is
read: what was captured must be stored or counted as dropped, and nothing may have been refused for good.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.gateway import gateway
from davy.codec import decode
from davy.event import INFERENCES
from davy.gateway.keys import Key, KeyRing
from davy.log import open_log
from davy.store import open_store

NAME: Final = "keys"
RATE: Final = 200
SECONDS: Final = 30.0
CHANGE_AT: Final = 8.0
FILE_AT: Final = 18.0
EXPIRES_AFTER: Final = 4.0
_APP: Final = """
import json, pathlib, random, sys, time
import davy
folder, rate, seconds, first = pathlib.Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
rng, begun, number, depths = random.Random(first), time.time(), 0, []
while (now := time.time()) - begun < seconds and not (folder / "end").exists():
    while number < (now - begun) * rate:
        inputs = {f"x{i}": rng.gauss(0, 1) for i in range(30)}
        davy.capture("bench:1", inputs, {"value": rng.random()}, tags={"n": str(first + number)})
        number += 1
    depths.append((now, davy.stats()["depth"]))
    time.sleep(0.02)
flushed = None if (folder / "end").exists() else davy.flush(60)
if flushed is None:
    davy.shutdown()
while flushed and (depth := davy.stats()["depth"]) and time.time() - begun < seconds + 60:  # it may lie in the spool
    depths.append((time.time(), depth))
    time.sleep(0.02)
depths.append((time.time(), davy.stats()["depth"]))
(folder / f"app-{first}.json").write_text(
    json.dumps({"number": number, "flushed": flushed, "stats": davy.stats(), "depths": depths})
)
"""


@dataclass(frozen=True)
class Case:
    """What becomes of the key, whether there is a spool, and whether the app is started anew while it is refused."""

    change: Callable[[KeyRing, Key], str | None]
    spool: bool
    restart: bool = False


def rotated(ring: KeyRing, key: Key) -> str:
    return ring.rotate(key.id)[1]


def rotated_at_once(ring: KeyRing, key: Key) -> str:
    return ring.rotate(key.id, overlap_hours=0)[1]


def expired(ring: KeyRing, key: Key) -> str:
    return ring.rotate(key.id, overlap_hours=EXPIRES_AFTER / 3600)[1]


def revoked(ring: KeyRing, key: Key) -> None:
    ring.revoke(key.id)


CASES: Final[Mapping[str, Case]] = {
    f"{name}, {'with' if spool else 'without'} the spool": Case(change, spool)
    for name, change in (
        ("rotated, both good", rotated),
        ("rotated, the old one ends at once", rotated_at_once),
        ("rotated, the old one ends before the app has the new", expired),
        ("revoked, another one made", revoked),
    )
    for spool in (False, True)
} | {"revoked, the app started anew meanwhile, with the spool": Case(revoked, spool=True, restart=True)}


def run() -> dict[str, Any]:
    """Measure every case, and refuse figures of one that lost an inference or refused one for good."""
    return {name: measure(case) for name, case in CASES.items()}


def measure(
    case: Case, *, seconds: float = SECONDS, change_at: float = CHANGE_AT, file_at: float = FILE_AT
) -> dict[str, Any]:
    """Run one case; the times are in seconds from its beginning."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        url, file = f"sqlite:///{folder}/data", folder / "key"
        with opened(url) as ring:
            key, secret = ring.create("bench", ["write"])
            _write(file, secret)
            with gateway(url) as (port, _):
                begun = time.time()
                app = _start(folder, port, case, seconds, 0)
                _sleep_until(begun + change_at)
                new = case.change(ring, key)
                if case.restart:
                    _sleep_until(begun + (change_at + file_at) / 2)
                    (folder / "end").touch()
                    app.wait(60)
                    (folder / "end").unlink()
                    app = _start(folder, port, case, begun + seconds - time.time(), 1_000_000)
                _sleep_until(begun + file_at)
                _write(file, new or ring.create("bench", ["write"])[1])
                told = time.time()
                if app.wait(120):
                    raise RuntimeError(f"the app ended with {app.returncode}")
        return account(folder, url, told)


def account(folder: Path, url: str, told: float) -> dict[str, Any]:
    """Return what was captured, stored and counted; `told` is when the app was given the new key."""
    apps = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("app-*.json"))]
    captured = sum(app["number"] for app in apps)
    dropped: dict[str, int] = {}
    for app in apps:
        for reason, count in app["stats"]["dropped"].items():
            dropped[reason] = dropped.get(reason, 0) + count
    log = open_log(url)
    try:
        envelopes = [decode(record.value) for record in log.read(INFERENCES, 0, 0)]
    finally:
        log.close()
    numbers = [number for one in envelopes for number in one["tags", "n"].values.tolist()]
    stored, counted = len(set(numbers)), sum(dropped.values())
    if captured != stored + counted or dropped.get("refused") or not apps[-1]["flushed"]:
        raise RuntimeError(f"{captured} captured, {stored} stored, dropped {dropped}, {apps[-1]['stats']}")
    depths = apps[-1]["depths"]
    rest = [at for at, depth in depths if at > told and depth <= RATE]
    return {
        "captured": captured,
        "stored": stored,
        "dropped_and_counted": counted,
        "refused_for_good": dropped.get("refused", 0),
        "stored_twice": len(numbers) - stored,
        "waited_at_most": max(depth for app in apps for _, depth in app["depths"]),
        "seconds_from_the_new_key_to_no_backlog": round(max(0.0, rest[0] - told), 1) if rest else None,
    }


@contextmanager
def opened(url: str) -> Iterator[KeyRing]:
    store = open_store(url)
    try:
        yield KeyRing(store)
    finally:
        store.close()


def _start(folder: Path, port: int, case: Case, seconds: float, first: int) -> subprocess.Popen[bytes]:
    script = folder / "app.py"
    script.write_text(_APP, encoding="utf-8")
    settings = {
        **{name: value for name, value in os.environ.items() if not name.startswith("DAVY_")},
        "DAVY_URL": f"http://127.0.0.1:{port}",
        "DAVY_GATEWAY_API_KEY_FILE": str(folder / "key"),
        **({"DAVY_SDK_SPOOL": str(folder / "spool")} if case.spool else {}),
    }
    arguments: Sequence[object] = (folder, RATE, seconds, first)
    return subprocess.Popen([sys.executable, str(script), *map(str, arguments)], env=settings)


def _write(file: Path, secret: str) -> None:
    """Replace the file in one step, as an orchestrator does."""
    new = file.with_suffix(".new")
    new.write_text(f"{secret}\n", encoding="utf-8")
    new.replace(file)


def _sleep_until(at: float) -> None:
    time.sleep(max(0.0, at - time.time()))


if __name__ == "__main__":
    for key, value in run().items():
        print(key, value)
