"""One schema a model: a column keeps its name and type for good, whatever comes, dies, is caught up or was before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import dataset, parquet
from support.archive_days import archived, by_day, days, ten_days
from support.archived import (
    DAY,
    MortalPlace,
    drain,
    envelope,
    files,
    ids,
    loop_of,
    nameless,
    numbered,
    runtime_of,
    send,
)
from support.dying import Fuse, Killed, mortal
from support.streams import BEGIN, Clock, bury, id_of

from davy.archive.places import open_place
from davy.archive.schemas import Schemas, TableSchema
from davy.codec import Encoder, pack
from davy.store import Batch, open_store

pytestmark = pytest.mark.fast


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ten_days(tmp_path_factory.mktemp("schemas"))


def schema_of(root: Path, name: str = "fraud", table: str = "inferences") -> Any:
    return parquet.read_schema(root / f"schemas/{table}/{name}.parquet")


def contents(root: Path, table: str) -> dict[str, Any]:
    """Return the rows of each day as one table with the columns that its files have, in the order of their names."""
    found = {}
    for day, paths in by_day(root, table):
        together = pa.concat_tables(
            [parquet.ParquetFile(path).read() for path in paths], promote_options="default"
        )
        by_id = together.sort_by([("id", "ascending"), ("at", "ascending")])
        found[day] = by_id.select(sorted(by_id.column_names))
    return found


def one(value: Mapping[str, Any], number: int, model: str = "fraud:3", at: int = 0) -> bytes:
    """Return an envelope of one inference."""
    return pack([Encoder().encode(model, id_of(number), at, dict(value), {})])


def put_by_hand(root: Path, day: str, columns: Mapping[str, Any]) -> None:
    """Write a file as Davy did before there were schemas."""
    folder = root / f"inferences/model=fraud%3A3/day={day}"
    folder.mkdir(parents=True)
    parquet.write_table(pa.table(dict(columns)), folder / "0-1-9-00000000.parquet")


@pytest.mark.parametrize("table", ["inferences", "feedback", "flags", "labels", "incidents"])
def test_catching_up_changes_no_day(table: str, root: Path, tmp_path: Path) -> None:
    daily = contents(archived(tmp_path / "daily", [[day] for day in days()]), table)
    at_once = contents(archived(tmp_path / "once", [days()]), table)
    assert daily.keys() == at_once.keys() == contents(root, table).keys()
    for day, rows in contents(root, table).items():
        assert rows.equals(daily[day], check_metadata=True), day
        assert rows.equals(at_once[day], check_metadata=True), day


def test_every_file_of_a_model_has_the_types_of_its_schema_and_no_column_without_a_value(root: Path) -> None:
    for table in ("inferences", "flags", "feedback", "labels", "incidents"):
        schema = schema_of(root, table=table)
        own = (
            set(schema_of(root, table=table).names)
            if table not in {"inferences", "flags"}
            else {"latency_ms", "incident"}
        )
        seen = set()
        for path in (root / table).glob("model=fraud*/*/*.parquet"):
            found = parquet.ParquetFile(path).read()
            for field in found.schema:
                assert field.type == schema.field(field.name).type, (path, field)
                assert field.name in own or found[field.name].null_count < found.num_rows, (path, field)
            seen |= set(found.column_names)
        assert seen == set(schema.names) - {"model", "day"}


def test_a_schema_is_of_all_versions_of_a_model_and_of_no_other(root: Path) -> None:
    assert schema_of(root).field("inputs.amount").type == pa.float64()
    assert schema_of(root, "digits").field("inputs.amount").type == pa.string()
    assert schema_of(root, "digits").field("outputs.label").type == pa.float64()
    assert "inputs.age" in schema_of(root).names  # which only fraud:4 has


def test_names_differ_in_more_than_capitals_and_belong_to_one_field() -> None:
    schema = TableSchema()
    owners = [
        (("inputs", "a"), "number"),
        (("inputs", "a.text"), "text"),
        (("inputs", "a"), "text"),
        (("inputs", "A"), "number"),
        (("inputs", "A"), "text"),
        (("inputs", "a"), "int64"),
        (("alternatives", "m.1", "x"), "number"),
        (("alternatives", "m", "1.x"), "number"),
        (("tags", "b"), "blob"),
    ]
    names = [schema.name(*owner) for owner in owners]
    assert names == [
        "inputs.a",
        "inputs.a.text",
        "inputs.a.text_",
        "inputs.A.number",
        "inputs.A.text__",
        "inputs.a.int64",
        "alternatives.m.1.x",
        "alternatives.m.1.x.number",
        "tags.b.blob",
    ]
    again = TableSchema.from_bytes(schema.to_bytes())
    assert [again.name(*owner) for owner in reversed(owners)] == names[::-1]


def test_a_kill_between_any_two_steps_leaves_the_same_columns(tmp_path: Path) -> None:
    values = [{"x": 1}, {"x": "a"}, {"x": [1.0]}, {"y": True, "x": 2**60}, {"X": "b"}, {"y": "no"}]
    expected: dict[str, bytes] = {}
    deaths, steps = 0, 0
    while deaths == steps:
        steps += 1
        runtime = runtime_of("memory", tmp_path / f"log-{steps}", clock=Clock(), rows=2)
        root, fuse = tmp_path / f"archive-{steps}", Fuse(steps)
        send(runtime, [one(value, number, at=number // 3 * DAY) for number, value in enumerate(values)])
        dying = mortal(runtime, fuse), MortalPlace(open_place(f"file:///{root}"), fuse)
        try:
            drain(loop_of(*dying, max_records=1))
        except Killed:
            deaths += 1
        bury(runtime, "role/archive")
        drain(loop_of(runtime, root, max_records=1))
        assert ids(root) == numbered(6)
        expected = expected or nameless(files(root))
        assert nameless(files(root)) == expected
        assert {"inputs.x", "inputs.x.text", "inputs.x.numbers", "inputs.x.int64"} <= set(
            schema_of(root).names
        )
    assert deaths > 15


def test_no_file_has_a_column_before_the_store_does(tmp_path: Path) -> None:
    runtime, root = runtime_of("memory", tmp_path, clock=Clock(), rows=1), tmp_path / "archive"
    store = runtime.store
    checked = []

    class Watched:
        def __init__(self) -> None:
            inner = open_place(f"file:///{root}")
            self.paths, self.open, self._put = inner.paths, inner.open, inner.put

        def put(self, path: str, data: bytes) -> None:
            if path.startswith("inferences/"):
                names = parquet.read_schema(pa.BufferReader(data)).names
                stored = TableSchema.from_bytes(store.get("archive_schemas", "inferences/fraud") or b"")
                known = {field.name for field in stored.fields()}
                checked.append({name for name in names if name.startswith("inputs.")} <= known)
            self._put(path, data)

    send(runtime, [one({"x": 1}, 0), one({"x": "a"}, 1), one({"z": 1}, 2)])
    loop = loop_of(runtime, Watched(), max_records=1)  # type: ignore[arg-type]
    for _ in range(3):
        drain(loop)
    assert checked == [True] * 3


@pytest.mark.parametrize("kept", ["nothing", "an older copy"])
def test_a_store_made_anew_or_older_takes_up_the_columns_of_the_archive(kept: str, tmp_path: Path) -> None:
    runtime, root = runtime_of("memory", tmp_path, clock=Clock(), rows=1), tmp_path / "archive"
    another = open_store(f"memory://{tmp_path}/another")
    send(runtime, [one({"x": 1}, 0)])
    drain(loop_of(runtime, root))
    if kept == "an older copy":
        older = runtime.store.get("archive_schemas", "inferences/fraud")
        assert older is not None
        another.apply(Batch().put("archive_schemas", "inferences/fraud", older))
    send(runtime, [one({"y": "a"}, 1)])
    bury(runtime, "role/archive")
    drain(loop_of(runtime, root))
    last = one({"y": 2, "x": "b"}, 2, model="fraud:4")
    send(runtime, [last])
    runtime.log.retain(max_bytes=len(last))
    drain(loop_of(replace(runtime, store=another), root))
    newest = next((root / "inferences/model=fraud%3A4").rglob("*.parquet"))
    assert {"inputs.y.number", "inputs.x.text"} <= set(parquet.read_schema(newest).names)
    assert {"inputs.x", "inputs.y", "inputs.y.number", "inputs.x.text"} <= set(schema_of(root).names)


def test_names_made_up_without_end_are_no_columns_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("davy.archive.schemas.COLUMNS", 3)
    runtime, root = runtime_of("memory", tmp_path, clock=Clock(), rows=2), tmp_path / "archive"
    made_up = {f"x{n}": value for n, value in enumerate([1, 2, "c", 2**60 + 1, [1.5], True, b"x"])}
    send(runtime, [one(made_up, 0), one({"x0": 1}, 1)])
    drain(loop_of(runtime, root))
    first, second = parquet.read_table(root / "inferences").sort_by("id").to_pylist()
    apart = {name.removeprefix("inputs."): first[name] for name in first if name.startswith("inputs.")}
    rest = {name.removeprefix("inputs."): value for name, value in json.loads(first["rest"]).items()}
    assert len(apart) == 3
    assert apart | rest == made_up | {"x6": "eA=="}
    assert (second["inputs.x0"], second["rest"]) == (1, None) if "x0" in apart else True


def test_files_of_before_keep_their_columns_and_are_read_beside_new_ones(tmp_path: Path) -> None:
    runtime, root = runtime_of("memory", tmp_path, clock=Clock(), rows=4), tmp_path / "archive"
    at = pa.array([0], pa.timestamp("ns", tz="UTC"))
    own = {
        "id": ["a" * 32],
        "at": at,
        "rate": [1.0],
        "source": [""],
        "latency_ms": pa.array([None], pa.float64()),
    }
    single, double = pa.list_(pa.float32()), pa.list_(pa.float64())
    put_by_hand(
        root,
        "2024-01-01",
        {**own, "inputs.x": [1.0], "inputs.meta": ['["a"]'], "inputs.v": pa.array([[1.0]], single)},
    )
    put_by_hand(
        root,
        "2024-01-02",
        {**own, "id": ["b" * 32], "inputs.c": ["web"], "inputs.v": pa.array([[2.0]], double)},
    )
    values = [{"x": "late", "meta": ["b"]}, {"c": 3.0}, {"v": [5.0], "c": "app"}, {"x": 4}]
    send(runtime, [one(value, number, at=19_900 * DAY) for number, value in enumerate(values)])
    drain(loop_of(runtime, root))
    schema = schema_of(root)
    assert {name: schema.field(name).type for name in ("inputs.x", "inputs.c", "inputs.meta", "inputs.v")} == {
        "inputs.x": pa.float64(), "inputs.c": pa.string(), "inputs.meta": pa.string(), "inputs.v": double
    }  # fmt: skip
    assert {"inputs.x.text", "inputs.c.number"} <= set(schema.names)
    wanted = {
        "inputs.x": [1, 4],
        "inputs.x.text": ["late"],
        "inputs.c": ["app", "web"],
        "inputs.c.number": [3],
    }
    for name, frame in readers(root, schema).items():
        found = {column: sorted(frame[column].dropna()) for column in wanted}
        assert found == wanted, name
        assert sorted(map(list, frame["inputs.v"].dropna())) == [[1.0], [2.0], [5.0]], name


def test_old_files_that_disagree_are_read_once_the_column_is_renamed(tmp_path: Path) -> None:
    runtime, root = runtime_of("memory", tmp_path, clock=Clock(), rows=1), tmp_path / "archive"
    put_by_hand(root, "2024-01-01", {"id": ["a" * 32], "inputs.x": [1.0]})
    put_by_hand(root, "2024-01-02", {"id": ["b" * 32], "inputs.x": ["two"]})
    send(runtime, [one({"x": 3}, 0, at=19_900 * DAY), one({"x": "four"}, 1, at=19_900 * DAY)])
    drain(loop_of(runtime, root))
    schema = schema_of(root)
    with pytest.raises(pa.ArrowInvalid):
        pd.read_parquet(root / "inferences", schema=schema)
    with pytest.raises(pl.exceptions.SchemaError):
        by_polars(root)
    (odd,) = (root / "inferences/model=fraud%3A3/day=2024-01-02").iterdir()
    table = parquet.ParquetFile(odd).read()
    parquet.write_table(table.rename_columns({"inputs.x": "inputs.x.text"}), odd)
    for name, frame in readers(root, schema).items():
        assert sorted(frame["inputs.x"].dropna()) == [1, 3], name
        assert sorted(frame["inputs.x.text"].dropna()) == ["four", "two"], name


def test_a_thousand_models_are_archived_by_what_is_remembered_of_a_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("davy.archive.schemas._MOST", 2)
    runtime, root = runtime_of("memory", tmp_path, clock=Clock(), rows=6), tmp_path / "archive"
    loop = loop_of(runtime, root)
    for turn, value in enumerate([1, "a", 2]):
        send(runtime, [one({"x": value}, 6 * turn + n, model=f"m{n}:1") for n in range(6)])
        drain(loop)
    assert ids(root) == numbered(18)
    assert all("inputs.x.text" in schema_of(root, f"m{n}").names for n in range(6))


def by_polars(root: Path) -> pd.DataFrame:
    scanned = pl.scan_parquet(
        f"{root}/inferences/model=fraud%3A*/**/*.parquet",
        schema=pl.read_parquet_schema(root / "schemas/inferences/fraud.parquet"),
        missing_columns="insert",
        extra_columns="ignore",
        hive_partitioning=True,
        cast_options=pl.ScanCastOptions(float_cast="upcast"),
    )
    return scanned.collect().to_arrow().to_pandas()


def readers(root: Path, schema: Any) -> dict[str, pd.DataFrame]:
    """Read the inferences of a model in each of the ways that the docs show."""
    pattern = f"{root}/inferences/model=fraud%3A*/**/*.parquet"
    return {
        "duckdb": duckdb.sql(f"FROM read_parquet('{pattern}', union_by_name = true)")
        .to_arrow_table()
        .to_pandas(),
        "polars": by_polars(root),
        "pandas": pd.read_parquet(root / "inferences", schema=schema, filters=[("model", "in", ["fraud:3"])]),
        "pyarrow": dataset.dataset(root / "inferences", schema, partitioning="hive").to_table().to_pandas(),
    }


def test_a_damaged_file_of_before_is_named_and_holds_nothing_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runtime, root = runtime_of("memory", tmp_path, clock=Clock(), rows=5), tmp_path / "archive"
    put_by_hand(root, "2024-01-01", {"id": ["a"]})
    (damaged,) = root.rglob("*.parquet")
    damaged.write_bytes(b"PAR1 no more")
    send(runtime, [envelope(0, 5)])
    drain(loop_of(runtime, root))
    assert damaged.name in caplog.text
    damaged.unlink()
    assert ids(root) == numbered(5)


WORDS: Final = {
    "first": [[], None, ["cat"], []],
    "full": [["cat"], [], [], ["dog"]],
    "boxes": [[], [], [0.5], []],
}
"""What a field holds, a day a value."""


@pytest.mark.parametrize("together", [1, 2, 4], ids="{} at once".format)
def test_an_empty_list_is_in_the_column_of_the_field_and_decides_no_column(
    together: int, tmp_path: Path
) -> None:
    clock, root = Clock(), tmp_path / "archive"
    runtime = runtime_of("memory", tmp_path, clock=clock, seconds=60.0)
    loop = loop_of(runtime, root)
    for day in range(4):
        fields = {"x": 1.0, **{name: held[day] for name, held in WORDS.items()}}
        send(runtime, [one(fields, day, "cats:1", at=day * DAY)])
        if (day + 1) % together == 0:
            loop.drain()
            clock.now += 61 * 10**9
            loop.step()
            drain(loop)
            drain(loop)
    loop.close()
    schema = schema_of(root, "cats")
    text, numbers = pa.string(), pa.list_(pa.float64())
    assert {name: schema.field(f"inputs.{name}").type for name in WORDS} == {
        "first": text,
        "full": text,
        "boxes": numbers,
    }
    found = (
        dataset.dataset(root / "inferences", schema, partitioning="hive").to_table().sort_by("at").to_pydict()
    )
    there = {name: values for name, values in found.items() if name.startswith("inputs.") and any(values)}
    assert {name.removeprefix("inputs."): values for name, values in there.items()} == {
        "x": [1.0] * 4,
        "first": [None, None, '["cat"]', "[]"],
        "first.empty": ["[]", None, None, None],
        "full": ['["cat"]', "[]", "[]", '["dog"]'],
        "boxes": [None, None, [0.5], []],
        "boxes.empty": ["[]", "[]", None, None],
    }


def test_a_detector_whose_first_answers_have_no_box_keeps_its_labels_in_one_column(tmp_path: Path) -> None:
    def answer(labels: list[str]) -> dict[str, Any]:
        return {"boxes": {"labels": labels, "scores": [0.5] * len(labels)}}

    runtime, root = runtime_of("memory", tmp_path, rows=2), tmp_path / "archive"
    loop = loop_of(runtime, root)
    for number, labels in enumerate([[], [], [], ["cat", "dog"], [], ["cat"]]):
        send(runtime, [pack([Encoder().encode("eyes:1", id_of(number), BEGIN, {"x": 1.0}, answer(labels))])])
        drain(loop)
    loop.close()
    found = dataset.dataset(root / "inferences", schema_of(root, "eyes"), partitioning="hive").to_table()
    found = found.sort_by("id").to_pydict()
    assert found["outputs.boxes.labels"] == [None, None, "[]", '["cat", "dog"]', "[]", '["cat"]']
    assert found["outputs.boxes.labels.empty"] == ["[]", "[]", *[None] * 4]
    assert found["outputs.boxes.scores"] == [None, None, [], [0.5, 0.5], [], [0.5]]


def test_a_store_made_anew_puts_empty_lists_where_they_were(tmp_path: Path) -> None:
    schema = TableSchema()
    assert schema.home(("x",)) is None
    schema.name(("x",), "number", 7)
    schema.name(("x",), "json", 8)
    schema.name(("x",), "numbers", 3)
    assert schema.home(("x",)) == TableSchema.from_bytes(schema.to_bytes()).home(("x",)) == ("json", 8)
    place = open_place(f"file:///{tmp_path}/archive")
    before, after = (Schemas(open_store("memory://"), place) for _ in range(2))
    before.of("inferences", "m").name(("x",), "json", 8)
    before.tell("inferences", "m", [])
    assert after.of("inferences", "m").home(("x",)) == ("json", 8)


def test_a_column_beside_says_its_field_alike_in_the_schemas_file_and_in_those_of_rows(root: Path) -> None:
    told = {
        field.name: field.metadata[b"davy.field"]
        for field in schema_of(root)
        if b"davy.field" in (field.metadata or {})
    }
    assert told
    for path in sorted((root / "inferences").rglob("*.parquet")):
        for field in parquet.read_schema(path):
            if b"davy.field" in (field.metadata or {}):
                assert told[field.name] == field.metadata[b"davy.field"]
