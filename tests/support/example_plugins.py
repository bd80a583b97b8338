"""The package of examples/plugins as it is installed, and what detection finds with it, for a process of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, Final

_SOURCE: Final = Path(__file__).parents[2] / "examples" / "plugins"
MODEL: Final = "fraud:3"


def installed(folder: Path) -> Path:
    """Build the package's wheel and unpack it, as an installer does; return the directory for a path to modules."""
    source, target = folder / "source", folder / "installed"
    shutil.copytree(_SOURCE, source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    build = f"from setuptools.build_meta import build_wheel; build_wheel({str(folder)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def found(fails: str) -> dict[str, Any]:
    """Return what detection finds in a stream that changes, where a method of the package's monitor raises, or none."""
    import numpy as np
    from davy_example_plugins.monitor import FarShare

    import davy.testing
    from davy.codec import dump, load, load_any
    from davy.event import ALERTS, INFERENCES, Alert, dead_letters
    from davy_detectors.doctor import checks
    from davy_detectors.plugins import suspensions
    from davy_detectors.testing import detect, fit, send

    def fail(*_: object) -> None:
        raise RuntimeError("made to raise")

    if fails:
        setattr(FarShare, fails, fail)
    clock = davy.testing.Clock(1_700_000_000_000_000_000)
    settings = {"detect.false_alarm_every": 100_000, "detect.poll_records": 2}
    world = davy.testing.runtime(clock=clock, settings=settings)
    rng = np.random.default_rng(0)
    fit(world, MODEL, {"inputs.amount": rng.normal(size=2_000)})
    incidents = []
    for wide in (1.0, 3.0):
        send(world, MODEL, {"inputs.amount": rng.normal(scale=wide, size=2_000)})
        incidents = detect(world)
    alerts = [load(Alert, record.value) for record in world.log.read(ALERTS, 0, 0)]
    snapshot = load_any(world.store.get("snapshots", MODEL) or b"")
    return {
        "causes": sorted(one.cause for one in incidents),
        "drift": [dump(one).hex() for one in [*incidents, *alerts] if one.cause == "drift"],
        "state": repr(snapshot["monitors"]["e-detector"]),
        "shown": [
            line
            for line in world.meter.exposition().decode().splitlines()
            if "drift" in line.partition(" ")[0] or "plugin" in line.partition(" ")[0]
        ],
        "suspended": [
            [one.kind, one.name, one.model, one.version, one.error] for one in suspensions(world.store)
        ],
        "doctor": [check.found for check in checks(world) if "far-share" in check.what],
        "dead_letters": len(list(world.log.read(dead_letters(INFERENCES), 0, 0))),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(found(*sys.argv[1:])))
