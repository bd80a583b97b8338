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
from archive_days import accuracy, amounts, days, ten_days
from services import service_or_skip

TEXT = (Path(__file__).parents[2] / "docs/archive.md").read_text()
SNIPPETS = re.findall(r"^```python archive(.*?)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
pytestmark = pytest.mark.fast


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ten_days(tmp_path_factory.mktemp("documents")).parent


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
