"""What a stranger has to know: files entered by one inference and by one alarm, rooms, names that two classes have.

A profiler notes the file of every call, while one captured inference is encoded, sent, read and counted, and while an
inference raises an alarm. The process is warm by then: what only happens once is not counted.
"""

from __future__ import annotations

import ast
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import numpy as np

import davy
from davy.config import DetectSettings, Settings
from davy.event import ALERTS
from davy.runner import open_runtime
from davy.runtime import Runtime
from davy_detectors.batch import Batch
from davy_detectors.reference import Reference
from davy_detectors.reference.active import put as put_reference
from davy_detectors.stream.role import DetectTarget

NAME: Final = "rooms"
MODEL: Final = "m:1"
PACKAGES: Final = {
    "davy": "collector/davy",
    "davy_detectors": "detectors/davy_detectors",
    "davy_miner": "miner/davy_miner",
}
_ROOT: Final = Path(__file__).parents[1]
TARGETS: Final = {"files_of_an_inference_and_an_alarm": 25}


def run() -> dict[str, Any]:
    inference, alarm = _entered()
    both = inference | alarm
    return {
        "files_of_an_inference": len(inference),
        "files_of_an_alarm": len(alarm),
        "files_of_an_inference_and_an_alarm": len(both),
        "of_them": {
            name: sum(one.startswith(f"{place}/") for one in both) for name, place in PACKAGES.items()
        },
        "files": sorted(both),
        "rooms": {name: _rooms(_ROOT / place) for name, place in PACKAGES.items()},
        "class_names_in_two_modules": _doubled(),
        "targets": TARGETS,
    }


def _entered() -> tuple[set[str], set[str]]:
    """Return the files that one inference enters on its way from the app to the counts, and those of an alarm."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as directory, _noted() as files:
        detect = DetectSettings(window_seconds=1.0, lateness_seconds=0.1)
        settings = Settings(url=f"sqlite:///{directory}", detect=detect)
        davy.init(settings.url)
        with open_runtime(settings) as runtime:
            normal = Batch.from_columns(MODEL, {"inputs.x": rng.normal(size=5_000)})
            fitted = Reference.fit(MODEL, normal, settings=settings.detect)
            put_reference(runtime.store, MODEL, fitted.to_bytes())
            role = DetectTarget(runtime)
            _capture(rng.normal(size=200))
            _work(role, seconds=3.0, runtime=runtime)
            files.clear()
            _capture(rng.normal(size=1))
            while not role.counting.step():
                pass
            inference = set(files)
            files.clear()
            alarm: set[str] = set()
            while not _alerts(runtime):
                _capture(rng.normal(loc=6.0, size=200))
                role.counting.step()
                files.clear()
                role.testing.step()
                alarm = set(files)
            role.close()
        davy.shutdown()
    return inference, alarm


def _alerts(runtime: Runtime) -> int:
    starts = runtime.log.start(ALERTS).items()
    return sum(1 for (topic, partition), start in starts for _ in runtime.log.read(topic, partition, start))


def _capture(values: Any) -> None:
    for value in values.tolist():
        davy.capture(MODEL, {"x": value}, {"y": 0.0})
    assert davy.flush(10)


def _work(role: DetectTarget, *, seconds: float, runtime: Runtime) -> None:
    over = runtime.clock() + int(seconds * 1e9)
    while runtime.clock() < over:
        role.counting.step(timeout=0.1)
        role.testing.step()


@contextmanager
def _noted() -> Iterator[set[str]]:
    """Note the files of Davy whose functions are called, in this thread and in those that begin meanwhile."""
    files: set[str] = set()
    places = {str(_ROOT / place): place for place in PACKAGES.values()}

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            file = frame.f_code.co_filename
            for folder, place in places.items():
                if file.startswith(folder):
                    files.add(place + file.removeprefix(folder))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield files
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]


def _rooms(package: Path) -> int:
    """Return how many rooms a package has: folders with modules, and modules beside them."""
    folders = sum(1 for one in package.iterdir() if (one / "__init__.py").exists())
    return folders + sum(1 for one in package.glob("*.py") if one.name != "__init__.py")


def _doubled() -> dict[str, list[str]]:
    """Return the names of classes that two modules define, with these modules."""
    found: dict[str, list[str]] = defaultdict(list)
    for place in PACKAGES.values():
        for file in sorted((_ROOT / place).rglob("*.py")):
            for node in ast.parse(file.read_text()).body:
                if isinstance(node, ast.ClassDef):
                    found[node.name].append(str(file.relative_to(_ROOT)))
    return {name: files for name, files in sorted(found.items()) if len(files) > 1}
