"""Reference files: every column is what the app sends, an odd one is left out alone, and a foreign file is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from davy.archive.tables import inference_table
from davy.cli import run_app
from davy.codec import Encoder, decode, pack
from davy.config import DetectSettings
from davy.doctor import examine
from davy.errors import ReferenceInvalid
from davy.event import INFERENCES
from davy.log import Message
from davy.runner import open_runtime
from davy_detectors.batch import Batch
from davy_detectors.reference import Reference
from davy_detectors.reference.loading import read_file

pytestmark = pytest.mark.fast
MODEL = "m:1"
TYPES: dict[str, tuple[Any, Any, Any]] = {
    "decimal": (pa.decimal128(9, 2), Decimal("12.50"), 12.5),
    "wide decimal": (pa.decimal256(50, 2), Decimal("12.50"), 12.5),
    "date": (pa.date32(), date(2024, 1, 31), np.datetime64("2024-01-31")),
    "moment": (pa.timestamp("ns"), datetime(2024, 1, 31, 1), np.datetime64("2024-01-31T01")),  # noqa: DTZ001
    "zoned": (pa.timestamp("ms", "Europe/Vienna"), datetime(2024, 1, 31, tzinfo=UTC), np.datetime64("2024-01-31T00")),
    "time": (pa.time64("us"), time(12, 30), "12:30:00"),
    "duration": (pa.duration("ms"), timedelta(minutes=2), 120.0),
    "dictionary": (pa.dictionary(pa.int8(), pa.string()), "red", "red"),
    "large text": (pa.large_string(), "red", "red"),
    "text view": (pa.string_view(), "red", "red"),
    "bytes": (pa.binary(), b"ab", b"ab"),
    "large bytes": (pa.large_binary(), b"ab", b"ab"),
    "half": (pa.float16(), 0.5, 0.5),
    "uuid": (pa.uuid(), UUID(int=7).bytes, str(UUID(int=7))),
    "texts": (pa.list_(pa.string()), ["a", "b"], ["a", "b"]),
    "map": (pa.map_(pa.string(), pa.int64()), [("a", 1)], [("a", 1)]),
}  # fmt: skip


def row(batch: Batch, name: str, number: int = 0) -> Any:
    column = batch.fields["inputs", name]
    return column.values[number] if column.present[number] else None


@pytest.mark.parametrize("name", TYPES)
def test_parquet_of_every_type_is_read_and_its_null_is_missing(name: str, tmp_path: Path) -> None:
    kind, value, expected = TYPES[name]
    array = pa.array([value, None, value], pa.binary(16) if name == "uuid" else kind)
    array = pa.ExtensionArray.from_storage(pa.uuid(), array) if name == "uuid" else array
    parquet.write_table(pa.table({"x": array, "y": [1, 2, 3]}), tmp_path / "r.parquet")
    batch = read_file(MODEL, tmp_path / "r.parquet")
    found = row(batch, "x")
    assert found.tolist() == expected if isinstance(found, np.ndarray) else found == expected
    missing = row(batch, "x", 1)
    assert missing is None or missing != missing
    assert not batch.unread


def test_structures_become_a_column_a_part_and_columns_of_nulls_are_missing(tmp_path: Path) -> None:
    table = pa.table({"user": [{"age": 4, "at": {"x": 1.5}}] * 2 + [None], "none": pa.nulls(3)})
    parquet.write_table(table, tmp_path / "r.parquet")
    batch = read_file(MODEL, tmp_path / "r.parquet")
    assert (row(batch, "user.age"), row(batch, "user.at.x"), row(batch, "user.age", 2)) == (4, 1.5, None)
    assert not batch.fields["inputs", "none"].present.any()


def test_an_index_is_no_field(tmp_path: Path) -> None:
    frame = pd.DataFrame({"age": [1.0, 2.0, 3.0]}, index=[3, 5, 9])
    frame.to_parquet(tmp_path / "a.parquet")
    frame.rename_axis("customer").to_parquet(tmp_path / "b.parquet")
    frame.to_csv(tmp_path / "c.csv")
    pd.read_csv(tmp_path / "c.csv").to_csv(tmp_path / "d.csv", index=False)
    for name in ("a.parquet", "b.parquet", "c.csv", "d.csv"):
        batch = read_file(MODEL, tmp_path / name)
        assert list(batch.fields) == [("inputs", "age")], name
        assert [reason.startswith("an index") for reason in batch.unread.values()] == [True]


def test_a_csv_column_is_what_the_app_sends(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(
        "age,zip,card,member,opened,note,gap,signal,wait\n"
        '40,01234,1234567890123456,true,2024-01-31,"a, b",,"[0.5, null]",0:10:00\n'
        "NA,99999,6543210987654321,False,2024-02-01 10:00:00+01:00,NA,,[1.5 2.5],1 days 00:00:00\n"
    )
    batch = read_file(MODEL, tmp_path / "r.csv")
    first = [row(batch, name) for name in ("age", "zip", "card", "member", "opened", "note", "gap")]
    assert first == [40, "01234", "1234567890123456", True, "2024-01-31", "a, b", None]
    second = [row(batch, name, 1) for name in ("age", "zip", "note")]
    assert second == [None, "99999", "NA"]
    assert batch.fields["inputs", "signal"].values[1].tolist() == [1.5, 2.5]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_csv_is_read_whatever_is_between_its_cells_and_in_whatever_encoding_it_says(
    delimiter: str, encoding: str, tmp_path: Path
) -> None:
    lines = [["inputs.age", "city", '"a, b; c"'], ["40", "Köln", '"x;\ny"'], ["41.5", "", '"z,|\tz"']]
    text = "".join(delimiter.join(cells) + "\r\n" for cells in lines)
    mark = "\ufeff" if encoding == "utf-16-le" else ""
    (tmp_path / "r.csv").write_bytes((mark + text).encode(encoding))
    batch = read_file(MODEL, tmp_path / "r.csv")
    assert [row(batch, name) for name in ("age", "city", "a, b; c")] == [40, "Köln", "x;\ny"]
    assert [row(batch, name, 1) for name in ("age", "city")] == [41.5, None]


def test_numbers_between_semicolons_may_have_a_decimal_comma(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("price;note\n-1,5;a,5\n20;b\nNA;c\n")
    batch = read_file(MODEL, tmp_path / "r.csv")
    assert batch.fields["inputs", "price"].values[:2].tolist() == [-1.5, 20.0]
    assert row(batch, "note") == "a,5"


def test_a_csv_in_another_encoding_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    for content in ("city\nKöln\n".encode("latin-1"), b"\xff\xfea\x00\n\x00\x00\xd8\x00\x00"):
        (tmp_path / "r.csv").write_bytes(content)
        with pytest.raises(ReferenceInvalid, match="UTF-8, or UTF-16"):
            read_file(MODEL, tmp_path / "r.csv")


@pytest.mark.parametrize(
    "pair", [("yes", "no"), ("Yes", "No"), ("YES", "NO"), ("Y", "N"), ("t", "f"), ("T", "F")]
)
def test_a_truth_value_from_an_app_is_what_a_file_spells_as_yes_and_no(
    pair: tuple[str, str], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    cells = ["" if rng.random() < 0.1 else pair[rng.random() < 0.3] for _ in range(1_000)]
    (tmp_path / "r.csv").write_text("x,n\n" + "".join(f"{cell},{i}\n" for i, cell in enumerate(cells)))
    spelt = Batch.from_columns(MODEL, {"x": np.array([cell or None for cell in cells], object)})
    meant = Batch.from_columns(
        MODEL, {"x": np.array([cell == pair[0] if cell else None for cell in cells], object)}
    )
    for known in (read_file(MODEL, tmp_path / "r.csv"), spelt, meant):
        reference = Reference.fit(MODEL, known, settings=DetectSettings())
        bins = reference.bins["inputs.x"]
        place = reference.streams.index("inputs.x")
        assert bins.categories == ("true", "false")  # type: ignore[union-attr]
        for live in (spelt, meant):
            assert np.bincount(reference.scored(live).bins[place], minlength=5)[3:].tolist() == [
                0,
                cells.count(""),
            ]


def test_one_odd_column_is_left_out_and_named(tmp_path: Path) -> None:
    odd = {
        "complex": np.ones(3, complex),
        "objects": np.array([{}, [], 1], object),
        "short": np.ones(2),
        "single": np.float64(1.0),
    }
    np.savez(tmp_path / "r.npz", age=np.ones(3), **odd)  # type: ignore[arg-type]
    batch = read_file(MODEL, tmp_path / "r.npz")
    assert list(batch.fields) == [("inputs", "age")]
    assert batch.unread.keys() == odd.keys()
    np.savez(tmp_path / "odd.npz", complex=np.ones(3, complex))
    with pytest.raises(ReferenceInvalid, match="complex"):
        read_file(MODEL, tmp_path / "odd.npz")


@pytest.fixture
def davy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAVY_URL", f"sqlite:///{tmp_path}/davy")

    def call(*arguments: str) -> Any:
        code = run_app(arguments)
        shown = capsys.readouterr()
        return json.loads(shown.out) if code == 0 else shown.err

    return call


def capture(count: int, **columns: Any) -> None:
    encoder = Encoder()
    ids = b"".join(i.to_bytes(16, "big") for i in range(count))
    chunk = encoder.encode_batch(
        MODEL, ids, 1_700_000_000 * 10**9, columns, {"value": np.arange(count) * 0.5}
    )
    with open_runtime() as runtime:
        producer = runtime.log.producer()
        producer.append([Message(INFERENCES, MODEL.encode(), pack([chunk]))])
        producer.close()


def test_a_file_is_compared_with_what_was_captured(davy: Callable[..., Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    capture(300, age=rng.normal(size=300), colour=np.array(["r", "g"] * 150, object))
    frame = pd.DataFrame({"age": rng.normal(size=400), "churned": 1})
    frame.to_csv(tmp_path / "r.csv", index=False)
    frame.rename(columns=str.upper).to_csv(tmp_path / "foreign.csv", index=False)
    refused = davy("reference", "fit", "--model", MODEL, "--file", "foreign.csv")
    assert "inputs.AGE, inputs.CHURNED" in refused
    assert "inputs.age, inputs.colour, outputs.value" in refused
    assert "--ignore" in davy("reference", "fit", "--model", MODEL, "--file", "r.csv", "--ignore", "agee")
    davy("reference", "fit", "--model", MODEL, "--file", "r.csv", "--json")
    shown = davy("reference", "show", "--model", MODEL, "--json")
    assert shown["watched"] == ["inputs.age"]
    assert list(shown["unwatched"]) == ["inputs.churned"]
    assert "never captured" in shown["unwatched"]["inputs.churned"]
    with open_runtime() as runtime:
        found = {check.what: check.found for check in examine(runtime) if "watched by" in check.what}
    assert "inputs.colour" in found[f"captured of {MODEL}, watched by nothing"]


def test_ignoring_every_field_is_refused_because_nothing_is_left_to_watch(
    davy: Callable[..., Any],
) -> None:
    capture(300, age=np.random.default_rng(0).normal(size=300))
    refused = davy("reference", "fit", "--model", MODEL, "--from-log", "--ignore", "*")
    assert "nothing is left to watch" in refused
    assert "ignored, as asked" in refused


def test_what_is_in_the_reference_and_never_seen_live_is_said_by_doctor(
    davy: Callable[..., Any], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    pd.DataFrame({"age": rng.normal(size=400), "churned": 1}).to_parquet(tmp_path / "r.parquet")
    davy("reference", "fit", "--model", MODEL, "--file", "r.parquet", "--json")
    capture(300, age=rng.normal(size=300))
    with open_runtime() as runtime:
        checks = {check.what: check.found for check in examine(runtime)}
    assert "inputs.churned" in checks[f"in the reference of {MODEL}, never seen live"]


def test_fields_are_said_in_the_settings_too(davy: Callable[..., Any], tmp_path: Path) -> None:
    capture(300, zip=np.arange(300), user_id=np.arange(300))
    (tmp_path / "davy.toml").write_text('[detect.fields]\n"m:*/zip" = "categorical"\n"*_id" = "ignore"\n')
    davy("reference", "fit", "--model", MODEL, "--from-log", "--json")
    shown = davy("reference", "show", "--model", MODEL, "--json")
    assert shown["unwatched"] == {"inputs.user_id": "ignored, as asked"}
    davy("reference", "fit", "--model", MODEL, "--from-log", "--numeric", "user*", "--json")
    assert "inputs.user_id" in davy("reference", "show", "--model", MODEL, "--json")["watched"]


def test_a_file_of_the_archive_is_a_reference_with_its_event_times(tmp_path: Path) -> None:
    encoder, at = Encoder(), 1_700_000_000 * 10**9
    probs = np.tile([0.9, 0.1], (300, 1))
    ids = b"".join(i.to_bytes(16, "big") for i in range(300))
    chunk = encoder.encode_batch(
        MODEL, ids, at, {"age": np.arange(300.0), "note": ["a", None] * 150}, {"probs": probs}
    )
    parquet.write_table(inference_table([decode(pack([chunk]))]), tmp_path / "r.parquet")
    batch = read_file(MODEL, tmp_path / "r.parquet")
    assert batch.at.tolist() == [at] * 300
    assert set(batch.fields) == {("inputs", "age"), ("inputs", "note"), ("outputs", "probs")}
    assert batch.probs is not None
    assert batch.probs.shape == (300, 2)


def test_values_of_several_kinds_are_one_field_of_a_file_of_the_archive(tmp_path: Path) -> None:
    values = [1.5, "a", [1.0, 2.0], 2**60 + 1, None, [3.0]]
    chunks = [Encoder().encode(MODEL, bytes([n] * 16), n, {"x": x, "y": n}, {}) for n, x in enumerate(values)]
    parquet.write_table(inference_table([decode(pack([chunk])) for chunk in chunks]), tmp_path / "r.parquet")
    batch = read_file(MODEL, tmp_path / "r.parquet")
    assert set(batch.fields) == {("inputs", "x"), ("inputs", "y")}
    read = [x.tolist() if isinstance(x, np.ndarray) else x for x in batch.fields["inputs", "x"].values]
    assert read == values


def test_two_options_that_say_different_things_of_a_name_are_refused(
    davy: Callable[..., Any],
) -> None:
    options = ("--model", MODEL, "--from-log")
    said = davy("reference", "fit", *options, "--ignore", "age", "--numeric", "age")
    assert "--numeric" in said
    assert "age" in said
    assert "--ignore" in said
    assert "Traceback" not in said
