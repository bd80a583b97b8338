"""One run of the loop: train, serve, watch, fail, alarm, mine, label, rebuild, retrain, judge."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np

from davy import console, metrics
from davy.demo.annotator import Annotator
from davy.demo.data import Frames, World, bad_traffic, clean_traffic, held_out_bad
from davy.demo.figures import Labels, Run, count_failures, judge_accuracy, judge_alarm
from davy.demo.model import DigitModel, retrain, train
from davy.demo.processes import davy_command, free_port, wait_until
from davy.demo.stage import Stage
from davy.demo.traffic import begin, frame_id, send, send_many
from davy.metrics import Metric

MODEL: Final = "digits:1"
CLEAN_MODEL: Final = "digits-clean:1"
REFERENCE: Final = 8_000
CLEAN_BEFORE: Final = 1_500
BAD: Final = 5_000
BUDGET: Final = 100
_PATIENCE_SECONDS: Final = 180.0


def run_once(seed: int, here: Stage, annotator: Annotator) -> Run:
    """Run the whole loop for one seed and measure it."""
    begun = time.perf_counter()
    world = World.make(seed)
    model = train(world.train.images, world.train.digits, seed)
    _fit_reference(seed, world, model, here)
    _start(here)
    frames = _traffic(seed, world, here)
    incidents = davy_command("incidents", "--json", env=here.env)
    _mine(here)
    annotator.annotate(here, _answers(seed, frames, here))
    rows = _build_dataset(here)
    mined_frames, mined_answers = _labelled(seed, frames, rows)
    random_frames, random_labels = _random_labels(seed, model, frames, len(mined_frames))
    mined, random = (
        retrain(world.train.images, world.train.digits, some.images, some.digits, seed)
        for some in (mined_frames, random_frames)
    )
    rng = np.random.default_rng([seed, 4])
    held_out = {"bad": held_out_bad(world.held_out, rng), "clean": clean_traffic(world.held_out, 4_000, rng)}
    return Run(
        seed=seed,
        wall_s=round(time.perf_counter() - begun, 1),
        alarm=judge_alarm(
            [one for one in incidents if one["model"] == MODEL],
            [one for one in incidents if one["model"] == CLEAN_MODEL],
            CLEAN_BEFORE + int(np.argmax(frames.bad[CLEAN_BEFORE:])),
        ),
        mined=count_failures(mined_frames, mined_answers),
        random=random_labels,
        accuracy=judge_accuracy(model, mined, random, held_out),
        ledger=_ledger(here),
        label_studio=annotator.ledger(here),
    )


def _fit_reference(seed: int, world: World, model: DigitModel, here: Stage) -> None:
    """Record what normal is: clean frames and the model's answers, as an NPZ file."""
    frames = clean_traffic(world.pool, REFERENCE, np.random.default_rng([seed, 5]))
    answers = model(frames.images)
    path = here.directory / "reference.npz"
    columns: dict[str, Any] = {
        "inputs.image": frames.images,
        "outputs.label": answers["label"],
        "outputs.probs": answers["probs"],
        "embedding": answers["embedding"],
    }
    np.savez(path, allow_pickle=False, **columns)
    model.save(here.directory / "model.npz")
    for name in (MODEL, CLEAN_MODEL):
        davy_command("reference", "fit", "--model", name, "--file", str(path), "--json", env=here.env)


def _start(here: Stage) -> None:
    here.start_davy()
    port = free_port()
    here.serving = f"http://127.0.0.1:{port}"
    here.start(
        "serving",
        *(sys.executable, "-m", "davy.demo.serving", str(here.directory / "model.npz"), str(port)),
        ready=f"{here.serving}/davy",
    )


def _traffic(seed: int, world: World, here: Stage) -> Frames:
    rng, begun = np.random.default_rng([seed, 6]), begin()
    clean = clean_traffic(world.pool, CLEAN_BEFORE, rng)
    bad = bad_traffic(world.pool, BAD, rng)
    quiet = clean_traffic(world.pool, CLEAN_BEFORE + BAD, rng)
    with console.progress("clean traffic", len(clean)) as advance:
        send(here.serving, clean, seed, first=0, begun=begun, progress=advance)
    with console.progress("traffic with a failing source", len(bad)) as advance:
        send(here.serving, bad, seed, first=len(clean), begun=begun, progress=advance)
    with console.progress("an equally long clean run", len(quiet)) as advance:
        send_many(here.serving, quiet, progress=advance)
    total = len(clean) + len(bad)
    for name in (MODEL, CLEAN_MODEL):
        counted, tested = partial(_all_counted, here, name, total), partial(_all_tested, here, name)
        wait_until(counted, f"{total} inferences of {name} to be counted", seconds=_PATIENCE_SECONDS)
        wait_until(tested, f"the last inferences of {name} to be tested", seconds=_PATIENCE_SECONDS)
    return clean.joined(bad)


def _all_counted(here: Stage, model: str, total: int) -> bool:
    return _counted(here, model) == total


def _all_tested(here: Stage, model: str) -> bool:
    newest = _shown(here, metrics.LAST_INFERENCE, model)
    return _shown(here, metrics.TESTED_UNTIL, model) >= newest > 0


def _counted(here: Stage, model: str) -> int:
    return int(_shown(here, metrics.INFERENCES, model))


def _shown(here: Stage, metric: Metric, model: str) -> float:
    """Return what `/metrics` shows of a model, 0 while it shows nothing."""
    text = httpx.get(f"{here.counts}/metrics", timeout=10).text
    found = re.search(rf'^{metric.name}{{model="{re.escape(model)}"}} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def _mine(here: Stage) -> None:
    with console.progress("selection round", BUDGET):
        davy_command(
            *("mine", "--model", MODEL, "--budget", str(BUDGET), "--wait", "120", "--json"), env=here.env
        )


def _answers(seed: int, frames: Frames, here: Stage) -> dict[str, int]:
    """Return the true digit of every candidate that waits for a label."""
    candidates = davy_command("candidates", "--model", MODEL, "--json", env=here.env)
    truth = {frame_id(seed, row): int(digit) for row, digit in enumerate(frames.digits)}
    waiting = {"selected", "pushing", "pushed"}
    return {one["id"]: truth[one["inference_id"]] for one in candidates if one["state"] in waiting}


def _build_dataset(here: Stage) -> Mapping[str, Any]:
    built = davy_command("dataset", "build", "--model", MODEL, "--json", env=here.env)
    with np.load(Path(built["path"]) / "rows.npz", allow_pickle=False) as rows:
        return {name: rows[name] for name in rows.files}


def _labelled(seed: int, frames: Frames, rows: Mapping[str, Any]) -> tuple[Frames, np.ndarray[Any, Any]]:
    """Return the labelled frames with the digits that came back, and the model's answers to them."""
    place = {frame_id(seed, row): row for row in range(len(frames))}
    chosen = frames.take([place[str(name)] for name in rows["inference_id"]])
    labels = np.asarray(rows["label"]).astype(np.int64)
    labelled = Frames(np.asarray(rows["inputs.image"], np.float32), labels, chosen.sources, chosen.bad)
    return labelled, np.asarray(rows["outputs.label"]).astype(np.int64)


def _random_labels(seed: int, model: DigitModel, frames: Frames, count: int) -> tuple[Frames, Labels]:
    """Spend the same number of labels on frames drawn at random from the bad part of the traffic."""
    rng = np.random.default_rng([seed, 7])
    chosen = frames.take(CLEAN_BEFORE + rng.choice(len(frames) - CLEAN_BEFORE, size=count, replace=False))
    return chosen, count_failures(chosen, model(chosen.images)["label"])


def _ledger(here: Stage) -> dict[str, int]:
    """Sent = stored + counted: what the SDK captured, what the detectors read from the log, what was dropped."""
    stats = httpx.get(f"{here.serving}/davy", timeout=30).json()
    stored = _counted(here, MODEL) + _counted(here, CLEAN_MODEL)
    return {"captured": stats["captured"], "stored": stored, "counted": sum(stats["dropped"].values())}
