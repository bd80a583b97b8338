"""The ``davy demo`` command: seeds, Label Studio, the table, the JSON file."""

from __future__ import annotations

import json
import platform
import shutil
import signal
import sys
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from davy import console
from davy.errors import SettingError

if TYPE_CHECKING:
    from davy.demo.annotator import Annotator
    from davy.demo.figures import Run

Seed = Annotated[int, typer.Option(help="First seed.", min=0)]
Seeds = Annotated[int, typer.Option(help="How many seeds to run, one after the other.", min=1)]
UseLabelStudio = Annotated[
    bool, typer.Option("--label-studio/--no-label-studio", help="Label through a real Label Studio.")
]
Keep = Annotated[bool, typer.Option("--keep", help="Leave everything running, with the addresses to open.")]
Apart = Annotated[
    bool,
    typer.Option(
        "--apart",
        help="Run each role in a process of its own, on DAVY_URL, DAVY_STORE_URL and DAVY_BLOB_URL.",
    ),
]
Json = Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")]
Directory = Annotated[Path, typer.Option(help="Where runs keep their data.")]


def demo(
    seed: Seed = 0,
    seeds: Seeds = 1,
    label_studio: UseLabelStudio = True,
    keep: Keep = False,
    apart: Apart = False,
    json: Json = None,
    directory: Directory = Path(".davy-demo"),
) -> int:
    """Run the whole loop on scikit-learn's digits: serve, fail, alarm, mine, label, retrain; print what it found."""
    from davy.demo.loop import run_once
    from davy.demo.stage import stage

    if keep and seeds > 1:
        raise SettingError("--keep", seeds, "keeps one run; use --seeds 1")
    begun, runs = time.perf_counter(), []
    with _annotator(directory, use_label_studio=label_studio) as annotator:
        for number in range(seed, seed + seeds):
            where = directory / f"seed-{number}"
            shutil.rmtree(where, ignore_errors=True)
            with stage(where, annotator.env, apart=apart) as here:
                runs.append(run_once(number, here, annotator))
                _write(json, runs, begun)
                if keep:
                    _show(runs, begun)
                    _wait(here, annotator)
    if not keep:
        _show(runs, begun)
    return 0


def _annotator(directory: Path, *, use_label_studio: bool) -> Annotator:
    if not use_label_studio:
        from davy.demo.annotator import FileAnnotator

        return FileAnnotator()
    from davy.demo.labelstudio import LabelStudioAnnotator

    return LabelStudioAnnotator(directory / "label-studio")


def _write(path: Path | None, runs: list[Run], begun: float) -> None:
    if path is None:
        return
    found = {
        "command": " ".join(["davy", *sys.argv[1:]]),
        "davy": version("davy"),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {_cores()} cores",
        "wall_s": round(time.perf_counter() - begun, 1),
        "runs": [run.as_json() for run in runs],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _cores() -> int:
    import os

    return os.cpu_count() or 1


def _show(runs: list[Run], begun: float) -> None:
    console.show([_alarm_row(run) for run in runs], title="The alarm")
    console.show([row for run in runs for row in _label_rows(run)], title="What the labels bought")
    console.show([row for run in runs for row in _accuracy_rows(run)], title="Accuracy after retraining")
    for run in runs:
        if run.label_studio:
            console.say(f"Label Studio: {run.label_studio}; its answers came from a simulated annotator")
    ratio = median(run.mined.distinct_failures / max(run.random.distinct_failures, 1) for run in runs)
    console.say(f"distinct failures per label, mined over random: {ratio:.1f} (median of {len(runs)})")
    console.say(f"took {time.perf_counter() - begun:.0f} s")


def _alarm_row(run: Run) -> dict[str, Any]:
    alarm = run.alarm
    return {
        "seed": run.seed,
        "alarm": "raised" if alarm.raised else "missed",
        "delay": alarm.delay_events,
        "onset said": alarm.onset_event,
        "true onset": alarm.true_onset_event,
        "features": ", ".join(alarm.features[:4]),
        "clean alarms": alarm.clean_alarms,
        "captured": run.ledger["captured"],
        "stored": run.ledger["stored"],
        "dropped": run.ledger["counted"],
    }


def _label_rows(run: Run) -> list[dict[str, Any]]:
    return [
        {
            "seed": run.seed,
            "labels": name,
            "number": found.labels,
            "failures a label": found.failures / max(found.labels, 1),
            "distinct failures a label": found.distinct_failures / max(found.labels, 1),
        }
        for name, found in (("mined", run.mined), ("random", run.random))
    ]


def _accuracy_rows(run: Run) -> list[dict[str, Any]]:
    return [
        {
            "seed": run.seed,
            "traffic": name,
            "before": found.before,
            "after mined labels": found.mined,
            "after random labels": found.random,
        }
        for name, found in run.accuracy.items()
    ]


def _wait(here: Any, annotator: Annotator) -> None:
    console.say(f"status page   {here.gateway}")
    console.say(f"metrics       {here.gateway}/metrics")
    console.say(f"serving app   {here.serving}/docs")
    for line in annotator.addresses():
        console.say(line)
    console.say("running until Ctrl-C")
    sys.stdout.flush()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        signal.pause()
    except KeyboardInterrupt:
        console.say("stopping")
