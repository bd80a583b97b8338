"""A field means the same whichever way it comes: references through one source, live inferences through another."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from davy.codec import Encoder, decode, pack
from davy.config import DetectSettings
from davy_detectors.aggregates import Counts
from davy_detectors.base import Alarm
from davy_detectors.batch import Batch
from davy_detectors.drift import ScoreDictionaryDetector
from davy_detectors.reference import Reference
from davy_detectors.reference.loading import read_file

MODEL = "m:1"
SETTINGS = (
    DetectSettings()
)  # one false alarm in 1,000,000 inferences; here 36,000 of clean traffic are watched
KNOWN, FRESH, STEP = 3_000, 2_000, 50
BEGIN = 1_760_000_000 * 10**9
WORDS = ["coal", "lamp", "seam", "shaft", "gas", "dust", "ore", "vein", "cage", "rope", "pit", "prop", "damp"]
OTHERS = [
    "wolf",
    "hare",
    "crow",
    "frog",
    "swan",
    "moth",
    "newt",
    "deer",
    "lynx",
    "boar",
    "toad",
    "wren",
    "stag",
]

Rng = np.random.Generator
Draw = Callable[[Rng, bool], Any]
DAY = datetime(2024, 1, 1)  # noqa: DTZ001 - moments without a zone are among the kinds
VIENNA = DAY.replace(tzinfo=timezone(timedelta(hours=2)))


def _gaps(draw: Draw, odd_share: float = 0.1) -> Draw:
    return lambda rng, odd: None if rng.random() < (odd_share if odd else 0.1) else draw(rng, odd)


def _normal(rng: Rng, odd: bool) -> float:
    return float(rng.normal(2.0 * odd))


def _colour(rng: Rng, odd: bool) -> str:
    return str(rng.choice(["red", "green", "true"], p=[0.1, 0.1, 0.8] if odd else [0.8, 0.1, 0.1]))


def _words(rng: Rng, odd: bool) -> list[str]:
    return list(map(str, rng.choice(OTHERS if odd else WORDS, 8)))


def _seconds(rng: Rng, odd: bool) -> timedelta:
    return timedelta(seconds=int(rng.integers(10**6)) + 10**7 * odd)


def _boxes(rng: Rng, odd: bool) -> Any:
    corners = np.sort(rng.random((rng.poisson(1.5), 2, 2)), axis=1)
    return (corners.reshape(-1, 4) * (5.0 if odd else 1.0)).tolist()


KINDS: dict[str, Draw] = {
    "number": _normal,
    "number with gaps": _gaps(_normal),
    "more gaps": _gaps(lambda rng, _: float(rng.normal()), 0.5),
    "whole number": lambda rng, odd: int(rng.integers(0, 100_000 if odd else 1_000)),
    "few": lambda rng, odd: int(rng.choice(5, p=[0.2] * 5 if odd else [0.6, 0.1, 0.1, 0.1, 0.1])),
    "few with gaps": _gaps(lambda rng, odd: int(4 if odd else rng.integers(0, 4))),
    "truth": lambda rng, odd: bool(rng.random() < (0.9 if odd else 0.3)),
    "truth with gaps": _gaps(lambda rng, odd: bool(rng.random() < (0.9 if odd else 0.3))),
    "category": _colour,
    "category with gaps": _gaps(_colour),
    "code": lambda rng, odd: f"00{rng.integers(20) + 40 * odd:03}",
    "long code": lambda rng, odd: str(12345678901234500 + int(rng.integers(20)) + 40 * odd),
    "long tail": lambda rng, odd: f"{'kiosk' if odd else 'shop'}-{rng.zipf(1.6)}",
    "money": lambda rng, odd: Decimal(int(rng.integers(7_000 if odd else 1_000, 10_000))) / 100,
    "date": lambda rng, odd: date(2024, 1, 1) + timedelta(days=int(rng.integers(30)) + 365 * odd),
    "moment": lambda rng, odd: DAY + _seconds(rng, odd),
    "zoned moment": lambda rng, odd: VIENNA + _seconds(rng, odd),
    "time of day": lambda rng, odd: time(int(rng.integers(12)) + 12 * odd, int(rng.integers(60))),
    "span": lambda rng, odd: timedelta(seconds=int(rng.integers(100, 1_000)) * (5 if odd else 1)),
    "uuid": _gaps(lambda rng, _: UUID(int=int(rng.integers(2**60)) << 60), 0.5),
    "free text": lambda rng, odd: " ".join(_words(rng, odd)),
    "text with gaps": _gaps(lambda rng, odd: " ".join(_words(rng, odd))),
    "texts": lambda rng, odd: _words(rng, odd)[: 1 + rng.integers(3)],
    "vector": lambda rng, odd: [_normal(rng, odd) for _ in range(3)],
    "vector with gaps": lambda rng, odd: [_gaps(_normal)(rng, odd) for _ in range(3)],
    "row": lambda rng, odd: [[_normal(rng, odd) for _ in range(3)]],
    "ragged": lambda rng, odd: [_normal(rng, odd) for _ in range(rng.integers(0, 5))],
    "boxes": _boxes,
    "bytes": lambda rng, odd: bytes(int(rng.integers(10, 20) + 20 * odd)),
    "image": lambda rng, odd: (rng.random((6, 6)) + odd).tolist(),
}
UNWRITTEN = {
    "csv": {"bytes"},
    "npz": {"ragged", "boxes", "texts", "bytes", "vector with gaps"},
    "http": {"bytes"},
}
"""What a source has no way to say."""


@cache
def rows(seed: int, count: int, odd: bool) -> dict[str, list[Any]]:
    rng = np.random.default_rng(seed)
    return {kind: [draw(rng, odd) for _ in range(count)] for kind, draw in KINDS.items()}


def csv(columns: dict[str, list[Any]], here: Path) -> Batch:
    frame = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})
    frame.to_csv(here / "r.csv", index=False)
    return read_file(MODEL, here / "r.csv")


def _spelt(value: UUID | None) -> str | None:
    return None if value is None else str(value)


def parquet_file(columns: dict[str, list[Any]], here: Path) -> Batch:
    table = {name: list(map(_spelt, v)) if name == "uuid" else v for name, v in columns.items()}
    parquet.write_table(pa.table({name: pa.array(v) for name, v in table.items()}), here / "r.parquet")
    return read_file(MODEL, here / "r.parquet")


def npz(columns: dict[str, list[Any]], here: Path) -> Batch:
    np.savez(here / "r.npz", **{name: _array(values) for name, values in columns.items()})
    return read_file(MODEL, here / "r.npz")


def _array(values: list[Any]) -> Any:
    present = next(value for value in values if value is not None)
    match present:
        case datetime():
            return np.array(
                [v.astimezone(UTC).replace(tzinfo=None) if v.tzinfo else v for v in values], "M8[us]"
            )
        case date():
            return np.array(values, "M8[D]")
        case timedelta():
            return np.array(values, "m8[us]")
        case str() | UUID() | time():
            return np.array(["" if v is None else str(v) for v in values])
        case Decimal() | float():
            return np.array(values, np.float64)
        case bool() | int() if None in values:
            return np.array(values, np.float64)
    return np.array(values)


def one_by_one(columns: dict[str, list[Any]], _here: Path) -> Batch:
    encoder = Encoder()
    return _sent([encoder.encode(MODEL, _ids(i), BEGIN + i, row, {}) for i, row in enumerate(_rows(columns))])


def together(columns: dict[str, list[Any]], _here: Path) -> Batch:
    arrays = {}
    for name, values in columns.items():
        arrays[name] = np.empty(len(values), object)
        arrays[name][:] = values
    count = len(next(iter(columns.values())))
    ids = b"".join(map(_ids, range(count)))
    return _sent([Encoder().encode_batch(MODEL, ids, BEGIN, arrays, {})])


def http(columns: dict[str, list[Any]], _here: Path) -> Batch:
    """As a client of the gateway spells values: JSON."""
    spelt = {name: json.loads(json.dumps(values, default=_json)) for name, values in columns.items()}
    return one_by_one(spelt, _here)


def _json(value: Any) -> Any:
    match value:
        case timedelta():
            return value.total_seconds()
        case Decimal() | UUID():
            return str(value)
    return value.isoformat()


def _rows(columns: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    return (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))


def _ids(number: int) -> bytes:
    return number.to_bytes(16, "big")


def _sent(chunks: list[Any]) -> Batch:
    batches, start = [], 0
    while start < len(chunks):
        stop = start + 1
        while stop < len(chunks) and stop - start < 200 and chunks[stop].layout is chunks[start].layout:
            stop += 1
        batches.append(Batch.of(decode(pack(chunks[start:stop]))))
        start = stop
    return Batch.concat(batches)


SOURCES = {
    "csv": csv,
    "parquet": parquet_file,
    "npz": npz,
    "one by one": one_by_one,
    "together": together,
    "http": http,
}
LIVE = ("one by one", "together", "http")


@cache
def _through(source: str, seed: int, count: int, odd: bool) -> Batch:
    known = {
        name: values
        for name, values in rows(seed, count, odd).items()
        if name not in UNWRITTEN.get(source, set())
    }
    with TemporaryDirectory() as here:
        return SOURCES[source](known, Path(here))


@cache
def _reference(source: str) -> Reference:
    reference = Reference.fit(MODEL, _through(source, 1, KNOWN, odd=False), settings=SETTINGS)
    assert not reference.unwatched
    return reference


@pytest.mark.parametrize("live", LIVE)
@pytest.mark.parametrize("source", SOURCES)
def test_a_reference_through_one_source_is_quiet_on_another_and_names_the_field_that_changes(
    source: str, live: str
) -> None:
    reference = _reference(source)
    kinds = KINDS.keys() - UNWRITTEN.get(source, set()) - UNWRITTEN.get(live, set())
    owners = [next((kind for kind in kinds if _is_of(stream, kind)), "") for stream in reference.streams]
    test = _tester(reference, owners)
    bins = reference.scored(_through(live, 2, FRESH, odd=False)).bins
    assert not [found for alarm in test(bins) for found in alarm.features]
    changed = reference.scored(_through(live, 3, 400, odd=True)).bins
    for kind in kinds:
        rows_of_kind = [owner == kind for owner in owners]
        mixed = bins[:, :400].copy()
        mixed[rows_of_kind] = changed[rows_of_kind]
        alarms = test(mixed)
        assert alarms, kind
        assert all(_is_of(found.feature, kind) for found in alarms[0].features), (kind, alarms[0])


def _is_of(stream: str, kind: str) -> bool:
    rest = stream.removeprefix(f"inputs.{kind}")
    return rest != stream and rest[:1] in {"", ".", "["}


def _tester(reference: Reference, owners: Sequence[str]) -> Callable[[Any], list[Alarm]]:
    """Return what tests bins of inferences from the beginning; what a source cannot send was never seen."""
    reference = Reference.from_bytes(reference.to_bytes())
    silent = [name for name, owner in zip(reference.streams, owners, strict=True) if not owner]
    reference.unproven = frozenset(silent)
    detector = ScoreDictionaryDetector(reference, SETTINGS)
    width, fresh = max(len(bins.counts) for bins in reference.bins.values()), detector.to_bytes()

    def test(bins: Any) -> list[Alarm]:
        detector.restore(fresh)
        steps = bins.shape[1] // STEP
        return detector.test(
            Counts.of_bins(bins, np.arange(bins.shape[1]) // STEP, steps, width), [STEP] * steps
        )

    return test
