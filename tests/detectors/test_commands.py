"""The commands `davy reference` and `davy incidents`, as a person or a script uses them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet
from support.streams import MODEL, Clock, detect, envelopes, rows, send

from davy.cli import run_app
from davy.log.sqlite import SqliteLog
from davy.runner import open_runtime
from davy.runtime import Runtime
from davy_detectors.reference import Reference

pytestmark = pytest.mark.fast

Run = Callable[..., Any]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAVY_URL", f"sqlite:///{tmp_path}/davy")
    monkeypatch.setenv("DAVY_DETECT_FALSE_ALARM_EVERY", "100000")
    with open_runtime():
        return tmp_path


@pytest.fixture
def runtime(here: Path) -> Iterator[Runtime]:
    with open_runtime() as opened:
        clock = Clock()
        log = SqliteLog(opened.settings.url, clock=clock)
        yield replace(opened, log=log, clock=clock)
        log.close()


@pytest.fixture
def run(here: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> Any:
        assert run_app(arguments) == 0
        out = capsys.readouterr().out
        return json.loads(out) if "--json" in arguments else out

    return call


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run_app(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def stored(runtime: Runtime, model: str = MODEL) -> Reference:
    data = runtime.store.get("references", model)
    assert data is not None
    return Reference.from_bytes(data)


def write(path: Path, columns: Mapping[str, Any]) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **columns)
        return path
    flat = {
        name: v.tolist() if isinstance(v, np.ndarray) and v.ndim > 1 else v for name, v in columns.items()
    }
    table = pa.table(flat)
    if path.suffix == ".csv":
        csv.write_csv(table, path)
    else:
        parquet.write_table(table, path)
    return path


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".parquet"])
def test_a_reference_is_fitted_from_a_file(suffix: str, here: Path, run: Run, runtime: Runtime) -> None:
    columns: dict[str, Any] = {
        name: v for name, v in rows(1_000, 1).items() if suffix != ".csv" or v.ndim == 1
    }
    columns["tags.country"] = np.array(["at", "de"] * 500)
    path = write(here / f"reference{suffix}", columns)
    shown = run("reference", "fit", "--model", MODEL, "--file", str(path), "--json")
    assert shown["inferences"] == 1_000
    fitted = stored(runtime)
    assert fitted.version == shown["version"]
    assert "inputs.income" in fitted.streams
    assert ("msp" in fitted.scorers) == (suffix != ".csv")


def test_parquet_lists_are_tensors_and_gaps_are_missing_values(
    here: Path, run: Run, runtime: Runtime
) -> None:
    rng = np.random.default_rng(0)
    images = rng.random((400, 4, 4))
    ages: Sequence[float | None] = [None if i % 10 == 0 else float(i) for i in range(400)]
    path = write(here / "r.parquet", {"inputs.image": images, "inputs.age": ages})
    run("reference", "fit", "--model", MODEL, "--file", str(path))
    streams = stored(runtime).streams
    assert "inputs.age" in streams
    assert any(name.startswith("inputs.image") and "brightness" in name for name in streams)


def test_a_reference_is_fitted_from_the_newest_of_the_log(run: Run, runtime: Runtime) -> None:
    send(runtime, list(envelopes(rows(2_000, 1), [150])))
    shown = run("reference", "fit", "--model", MODEL, "--from-log", "--last", "700", "--json")
    assert shown["inferences"] == 700


def test_a_reference_is_fitted_from_a_time_in_the_log(run: Run, runtime: Runtime) -> None:
    send(runtime, list(envelopes(rows(2_000, 1), [150])))  # one a millisecond from 22:13:20 on
    times = ("--since", "2023-11-14T22:13:20.500", "--until", "2023-11-14T23:13:21.250+01:00")
    shown = run("reference", "fit", "--model", MODEL, "--from-log", *times, "--json")
    assert shown["inferences"] == 750


def test_references_are_listed_and_shown(here: Path, run: Run) -> None:
    path = write(here / "r.npz", rows(1_000, 1))
    run("reference", "fit", "--model", MODEL, "--file", str(path))
    run("reference", "fit", "--model", "other:2", "--file", str(path))
    assert {row["model"] for row in run("reference", "list", "--json")} == {MODEL, "other:2"}
    assert "inputs.income" in run("reference", "show", "--model", MODEL, "--json")["watched"]
    assert MODEL in run("reference", "list")


@pytest.mark.parametrize(
    ("arguments", "field", "remedy"),
    [
        ((), "--file", "give either --file or --from-log"),
        (("--file", "a.npz", "--from-log"), "--file", "give either --file or --from-log"),
        (("--file", "absent.npz"), "--file", "there is no such file"),
        (("--file", "notes.txt"), "--file", "give one of .npz, .csv, .parquet"),
        (("--file", "broken.npz"), "--file", "is not an NPZ file"),
        (("--file", "broken.parquet"), "--file", "is not Parquet"),
        (("--file", "few.npz"), "reference", "give at least 200 inferences"),
        (("--file", "scalar.npz"), "inputs.a", "give an array with the inferences along the first axis"),
        (("--from-log",), "--from-log", "the log holds no inferences of this model"),
        (("--from-log", "--since", "yesterday"), "--since", "give a time like"),
        (("--file", "few.npz", "--last", "5"), "--file", "go with --from-log"),
    ],
)
def test_what_cannot_be_fitted_is_refused_with_a_remedy(
    arguments: Sequence[str], field: str, remedy: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "notes.txt").write_text("x")
    (here / "broken.npz").write_bytes(b"PK not really")
    (here / "broken.parquet").write_bytes(b"PAR0")
    write(here / "few.npz", rows(50, 1))
    write(here / "scalar.npz", {"inputs.a": np.float64(1.0)})
    error = refused(capsys, "reference", "fit", "--model", MODEL, *arguments)
    assert error.startswith(f"davy: {field}")
    assert remedy in error


def test_a_model_that_the_log_does_not_have_is_refused_with_near_names(
    runtime: Runtime, capsys: pytest.CaptureFixture[str]
) -> None:
    send(runtime, list(envelopes(rows(10, 1), [10])))
    error = refused(capsys, "reference", "fit", "--model", "rsik:1", "--from-log")
    assert f"the log holds no inferences of this model; did you mean {MODEL}?" in error


def test_a_model_without_a_reference_is_named(runtime: Runtime, capsys: pytest.CaptureFixture[str]) -> None:
    send(runtime, list(envelopes(rows(10, 1), [10])))
    detect(runtime)
    assert "davy reference fit" in refused(capsys, "reference", "show", "--model", MODEL)
    assert f"did you mean {MODEL}?" in refused(capsys, "reference", "show", "--model", "risk:11")


def test_incidents_are_listed_filtered_and_shown(
    here: Path, run: Run, runtime: Runtime, capsys: pytest.CaptureFixture[str]
) -> None:
    shifted = (np.arange(4_000) >= 3_000) & (np.random.default_rng(3).random(4_000) < 0.1)
    run("reference", "fit", "--model", MODEL, "--file", str(write(here / "r.npz", rows(5_000, 1))))
    assert run("incidents", "--json") == []
    send(runtime, list(envelopes(rows(4_000, 7, shifted=shifted), [200])))
    detect(runtime)
    (found,) = run("incidents", "--json")
    assert run("incidents", "--open", "--model", MODEL, "--json") == [found]
    assert f"did you mean {MODEL}?" in refused(capsys, "incidents", "--model", "rsik:1")
    shown = run("incidents", "show", found["id"][:6], "--json")
    assert shown == found
    assert found["features"][0]["feature"] == "inputs.income"
    assert found["onset_at"].startswith("2023-11-14T22:13:2")
    assert found["resolved_at"] is None
    assert all(len(bytes.fromhex(sample)) == 16 for sample in found["samples"])
    text = run("incidents", "show", found["id"])
    assert found["samples"][0] in text
    assert "inputs.income" in text
    assert found["id"] in run("incidents")


def test_an_unknown_incident_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such incident" in refused(capsys, "incidents", "show", "abc")
