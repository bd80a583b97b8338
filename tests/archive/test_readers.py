"""An archive whose fields come, go and change their kind is read whole by DuckDB, Polars, pandas and PyArrow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import dataset
from support.archived import fraud_archive, numbered

pytestmark = pytest.mark.fast


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fraud_archive(tmp_path_factory.mktemp("readers"))


def by_duckdb(folder: Path) -> Any:
    return duckdb.sql(f"FROM read_parquet('{folder}/**/*.parquet', union_by_name = true)").to_arrow_table()


def by_polars(folder: Path) -> Any:
    files = sorted(folder.rglob("*.parquet"))
    frames = [pl.scan_parquet(file, hive_partitioning=True) for file in files]
    return pl.concat(frames, how="diagonal_relaxed").collect().to_arrow()


def by_pandas(folder: Path) -> Any:
    return pa.Table.from_pandas(by_pyarrow(folder).to_pandas())


def by_pyarrow(folder: Path) -> Any:
    found = dataset.dataset(folder, partitioning="hive")
    schemas = [found.schema, *(file.physical_schema for file in found.get_fragments())]
    schema = pa.unify_schemas(schemas, promote_options="permissive")
    return dataset.dataset(folder, schema, partitioning="hive").to_table()


READERS = [by_duckdb, by_polars, by_pandas, by_pyarrow]


@pytest.mark.parametrize("read", READERS)
def test_every_row_is_read_with_every_field_of_every_file(read: Callable[[Path], Any], root: Path) -> None:
    table = read(root / "inferences").sort_by("id")
    assert table["id"].to_pylist() == sorted(numbered(200))
    assert set(table["model"].to_pylist()) == {"fraud:3"}
    assert len({str(day) for day in table["day"].to_pylist()}) == 2
    amounts = table["inputs.amount"].to_pylist()
    assert amounts[:100] == list(range(100))
    assert all(isinstance(amount, float) for amount in amounts)
    ages = np.array(table["inputs.age"].to_pylist(), float)
    assert np.isnan(ages[:100]).all()
    assert np.isnan(ages[100:]).sum() == sum(number % 3 == 0 for number in range(100, 200))
    probs = np.array(table["outputs.probs"].to_pylist())
    assert probs.shape == (200, 2)
    assert np.allclose(probs.sum(axis=1), 1)


@pytest.mark.parametrize("read", READERS)
def test_feedback_and_flags_are_joined_by_the_id_of_the_inference(
    read: Callable[[Path], Any], root: Path
) -> None:
    inferences, feedback, flags = (read(root / name) for name in ("inferences", "feedback", "flags"))
    assert sorted(feedback["id"].to_pylist()) == sorted(inferences["id"].to_pylist())
    assert sorted(flags["inference_id"].to_pylist()) == sorted(inferences["id"].to_pylist())
    assert set(feedback["truth"].to_pylist()) == {"fraud", "fine"}
    assert set(flags["scores.msp"].to_pylist()) == {0.5}


@pytest.mark.parametrize("read", READERS)
def test_times_are_read_in_utc(read: Callable[[Path], Any], root: Path) -> None:
    times = read(root / "inferences").sort_by("id")["at"].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    assert times[0].as_py() == 20_000 * 86_400 * 10**6
    assert times[199].as_py() == (20_001 * 86_400 + 199) * 10**6
