"""What docs/archive.md shows runs, on an archive whose fields come and change, and finds what was sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyarrow import parquet
from support.archive_days import accuracy, amounts, days, ten_days
from support.archived import drain, loop_of, runtime_of, send
from support.services import service_or_skip
from support.streams import Clock

from davy.codec import Encoder, pack

TEXT = (Path(__file__).parents[2] / "docs/archive.md").read_text()
SNIPPETS = re.findall(r"^```python archive(.*?)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
pytestmark = pytest.mark.fast


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ten_days(tmp_path_factory.mktemp("documents")).parent


@pytest.fixture(scope="module")
def young(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where an archive is of a model for which nobody has said anything yet."""
    clock, directory = Clock(), tmp_path_factory.mktemp("young")
    runtime = runtime_of("memory", directory, clock=clock, seconds=60.0)
    loop = loop_of(runtime, directory / "archive")
    for day in days()[5:]:
        for place, (inputs, outputs) in enumerate(day.rows):
            chunk = Encoder().encode(day.model, day.ids()[place], day.at + place, inputs, outputs)
            send(runtime, [pack([chunk])])
    loop.drain()
    clock.now += 61 * 10**9
    for _ in range(3):
        drain(loop)
    loop.close()
    return directory


@pytest.fixture(autouse=True)
def _beside_the_archive(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(directory)


def ran(*words: str) -> Mapping[str, Any]:
    """Run the one recipe that has these words; return what it named."""
    (code,) = (code for _, code in SNIPPETS if all(word in code for word in words))
    named: dict[str, Any] = {}
    exec(compile(code, str(words), "exec"), named)
    return named


def as_sent(rows: list[tuple[Any, ...]]) -> dict[tuple[str, str], tuple[int, float | None]]:
    return {
        (model, str(day)[:10]): (count, None if pd.isna(mean) else mean) for model, day, count, mean in rows
    }


def test_duckdb_means_by_day_what_was_sent() -> None:
    named = ran("AS amount", "AS accuracy")
    assert as_sent(named["amounts"].fetchall()) == amounts()
    assert {str(day): share for day, share in named["accuracy"].fetchall()} == pytest.approx(accuracy())


def test_polars_means_by_day_what_was_sent() -> None:
    named = ran("scan_parquet")
    assert as_sent(named["amounts"].collect().rows()) == amounts()
    assert named["everything"].collect().height == sum(len(day.rows) for day in days())


def test_pandas_means_by_day_what_was_sent() -> None:
    named = ran("pd.read_parquet", "filters=models")
    assert as_sent([(*key, size, mean) for key, size, mean in named["amounts"].itertuples()]) == amounts()
    assert {"inputs.age", "inputs.amount.text", "inputs.Amount.number"} <= set(named["frame"].columns)


def test_pyarrow_means_by_day_what_was_sent() -> None:
    found = ran("to_table").get("amounts")
    assert found is not None
    names = ("model", "day", "count_all", "inputs.amount_mean")
    assert as_sent(list(zip(*(found[name].to_pylist() for name in names), strict=True))) == amounts()


def test_labels_and_incidents_join_and_dates_nested_values_and_long_integers_are_read() -> None:
    named = ran("AS l", "AS opened")
    labelled = named["labelled"].fetchall()
    assert len(labelled) == len(days())
    for day, (answer, verdict, label, tab, opened, customer) in zip(days(), labelled, strict=True):
        inputs, outputs = day.rows[0]
        assert (answer, verdict, tab, customer) == ("fraud", "correct", "a", inputs["customer"])
        assert label == (outputs["label"] if isinstance(outputs["label"], str) else None)
        assert opened.astimezone(UTC) == datetime(2026, 11, day.number + 1, 8, tzinfo=UTC)
    found = {id: (state, feature) for id, state, _, feature in named["incidents"].fetchall()}
    assert found == {f"i{day.number}": ("resolved", "inputs.amount") for day in days()}


@pytest.mark.parametrize(
    "_installed",
    [
        pytest.param(
            0,
            marks=service_or_skip(
                "evidently", find_spec("evidently") is not None, "pip install evidently 'pandas<3.1'"
            ),
        )
    ],
)
def test_evidently_compares_two_days(_installed: int, directory: Path) -> None:
    ran("evidently")
    assert (directory / "drift.html").stat().st_size > 0


def test_every_snippet_is_run_here() -> None:
    assert len(SNIPPETS) == TEXT.count("```python") == 6


@pytest.mark.parametrize(
    "words",
    [
        ("AS amount", "AS accuracy"),
        ("AS l", "AS opened"),
        ("scan_parquet",),
        ("filters=models",),
        ("to_table",),
    ],
)
def test_on_a_young_archive_of_inferences_alone_every_recipe_runs(
    words: tuple[str, ...], young: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(young)
    folders = {path.name for path in (young / "archive").iterdir() if not path.name.startswith(".")}
    assert folders == {"inferences", "schemas"}
    named = ran(*words)
    rows = sum(len(day.rows) for day in days()[5:])
    if "accuracy" in named:
        assert named["accuracy"].fetchall() == []
        assert sum(count for _, _, count, _ in named["amounts"].fetchall()) == rows
    elif "labelled" in named:
        assert named["labelled"].fetchall() == named["incidents"].fetchall() == []
    else:
        found = named["amounts"]
        assert "fraud:3" in str(found.collect() if hasattr(found, "collect") else found)
    for table in ("feedback", "flags", "labels", "incidents"):
        found = parquet.read_table(young / f"archive/schemas/{table}/fraud.parquet")
        assert {"id", "at", "model", "day"} <= set(found.column_names)
        assert found.num_rows == 0
