"""Kinds of single values: numbers, truth values, texts, bytes, moments, spans, and gaps among them."""

# ruff: noqa: E501 - a kind is easier to read on few lines
from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from email.utils import formatdate
from enum import Enum, IntEnum
from fractions import Fraction
from typing import Any
from uuid import UUID

import numpy as np

from .kinds import (
    CATEGORY,
    COLOURS,
    IMAGE,
    NEVER,
    NUMBER,
    OTHER,
    TEXT,
    WORDS,
    Draw,
    Kind,
    Rng,
    flipped,
    gapped,
    mapped,
    picked,
    reals,
    seconds_ago,
    sentences,
    upside_down,
    wholes,
)

FP64, INT64, BOOL, STR, RAW = "FP64", "INT64", "BOOL", "TEXT", "BYTES"


class Colour(Enum):
    RED, GREEN, BLUE, BLACK, WHITE = COLOURS


class Grade(IntEnum):
    GOOD, FAIR, POOR = 1, 2, 3


def _numbers() -> list[Kind]:
    group = "Numbers"
    found = [
        Kind(group, "float", "itself", FP64, NUMBER, reals(), reals(80)),
        Kind(group, "int, of many values", "itself", INT64, NUMBER, wholes(1_000), upside_down(1_000)),
        Kind(group, "int, of at most 20 values", "itself", INT64, CATEGORY, wholes(6), upside_down(6)),
        Kind(group, "int beyond 2⁵³", "itself", INT64, NUMBER, _large(2**53), _large(2**54)),
        Kind(group, "int beyond 64 bits", "float", FP64, NUMBER, _large(2**70), _large(2**71)),
        Kind(group, "int and float mixed", "itself", FP64, NUMBER, _mixed(0), _mixed(40)),
        Kind(group, "bool", "itself", BOOL, CATEGORY, picked([True, False]), flipped([True, False])),
        Kind(group, "numpy.bool_", "bool", BOOL, CATEGORY, mapped(picked([True, False]), np.bool_),
             mapped(flipped([True, False]), np.bool_)),
    ]  # fmt: skip
    for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"):
        kind = getattr(np, name)
        found.append(
            Kind(
                group,
                f"numpy.{name}",
                "int",
                INT64,
                NUMBER,
                mapped(wholes(120), kind),
                mapped(upside_down(120), kind),
            )
        )
    for name in ("float16", "float32", "float64", "longdouble"):
        kind = getattr(np, name)
        found.append(
            Kind(
                group, f"numpy.{name}", "float", FP64, NUMBER, mapped(reals(), kind), mapped(reals(80), kind)
            )
        )
    narrow = {"needs": "ml_dtypes", "arrow": _floats, "numpy": _floats}
    found += [
        Kind(
            group, f"ml_dtypes.{name}", "float", FP64, NUMBER, _narrow(name, 50), _narrow(name, 90), **narrow
        )
        for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2")
    ]
    money = mapped(reals(), lambda value: Decimal(f"{value:.2f}"))
    more = mapped(reals(80), lambda value: Decimal(f"{value:.2f}"))
    third = mapped(wholes(1_000), lambda value: Fraction(value, 3))
    return [
        *found,
        Kind(group, "decimal.Decimal", "float", FP64, NUMBER, money, more),
        Kind(group, "fractions.Fraction", "float", FP64, NUMBER, third,
             mapped(third, lambda value: value + 300), arrow=_floats, numpy=_floats),
        Kind(group, "a number that never changes", "itself", FP64, NUMBER, _always(2.5), _always(3.5)),
        Kind(group, "±inf among floats", "itself; for bins it is not finite", FP64, NUMBER,
             gapped(reals(), float("inf")), gapped(reals(), float("-inf"), 0.5)),
    ]  # fmt: skip


def _missing() -> list[Kind]:
    group = "Missing"
    nan = float("nan")
    return [
        Kind(group, "None among floats", "missing", FP64, NUMBER, gapped(reals()), gapped(reals(), share=0.5)),
        Kind(group, "NaN among floats", "NaN; for bins it is missing", FP64, NUMBER, gapped(reals(), nan),
             gapped(reals(), nan, 0.5)),
        Kind(group, "None among ints of many values", "missing", INT64, NUMBER, gapped(wholes(1_000)),
             gapped(upside_down(1_000))),
        Kind(group, "None among ints of few values", "missing", INT64, CATEGORY, gapped(wholes(6)),
             gapped(upside_down(6))),
        Kind(group, "None among booleans", "missing", BOOL, CATEGORY, gapped(picked([True, False])),
             gapped(flipped([True, False]))),
        Kind(group, "None among texts", "missing", STR, CATEGORY, gapped(picked(COLOURS)), gapped(flipped(COLOURS))),
        Kind(group, "NaN among texts", "NaN; for bins it is missing", "MSGPACK", CATEGORY, gapped(picked(COLOURS), nan),
             gapped(picked(COLOURS), nan, 0.5)),
        Kind(group, "empty text among texts", "itself; for bins it is missing", STR, CATEGORY,
             gapped(picked(COLOURS), ""), gapped(picked(COLOURS), "", 0.5)),
        Kind(group, "always None, then a value", "missing", "NULL", CATEGORY, _always(None), _always("red")),
        Kind(group, "one value, then gaps", "itself", STR, CATEGORY, _always("red"), gapped(_always("red"), None, 0.5)),
    ]  # fmt: skip


def _texts() -> list[Kind]:
    group = "Text and bytes"
    agents = ("Grüße", "日本", "привет", "🙂🙂", "naïve")
    numbered = mapped(picked(range(5)), lambda value: f"{value:05d}")
    long_codes = [f"49{place:018d}" for place in range(5)]
    return [
        Kind(group, "str, often the same", "itself", STR, CATEGORY, picked(COLOURS), flipped(COLOURS)),
        Kind(group, "str, hardly ever the same", "itself", STR, TEXT, sentences(WORDS), sentences(OTHER)),
        Kind(group, "str beyond ASCII", "itself", STR, CATEGORY, picked(agents), flipped(agents)),
        Kind(group, "str that spells a code (00123)", "itself", STR, CATEGORY, numbered,
             mapped(numbered, lambda value: value[::-1])),
        Kind(group, "str of 16 and more digits", "itself", STR, CATEGORY, picked(long_codes), flipped(long_codes)),
        Kind(group, "str that spells numbers", "itself; a number for bins", STR, NUMBER, mapped(reals(), str),
             mapped(reals(80), str)),
        Kind(group, "str that spells truth (true, True, TRUE)", "itself; true or false for bins", STR, CATEGORY,
             picked(["True", "False"]), flipped(["TRUE", "FALSE"])),
        Kind(group, "str that spells truth (yes, no; Y, N; t, f)", "itself; true or false for bins", STR, CATEGORY,
             picked(["yes", "no"]), flipped(["Y", "N"])),
        Kind(group, "str and int mixed", "itself", "MSGPACK", CATEGORY, picked(["a", 1, "b", 2]),
             flipped(["a", 1, "b", 2]), arrow=NEVER, numpy=NEVER),
        Kind(group, "enum.Enum", "its value", STR, CATEGORY, picked(list(Colour)), flipped(list(Colour))),
        Kind(group, "enum.IntEnum", "its value", INT64, CATEGORY, picked(list(Grade)), flipped(list(Grade))),
        Kind(group, "uuid.UUID", "text", STR, (".length",), _uuids, gapped(_uuids, None, 0.5)),
        Kind(group, "bytes", "itself", RAW, (".length",), _raw(20), _raw(60), json=NEVER, csv=False, numpy=NEVER),
        Kind(group, "bytearray, memoryview", "bytes", RAW, (".length",), mapped(_raw(20), bytearray),
             mapped(_raw(60), bytearray), json=NEVER, csv=False, numpy=NEVER, arrow=_bytes),
        Kind(group, "an encoded image", "bytes; a payload where one goes", RAW, (".length", *IMAGE), _png(8), _png(32),
             json=NEVER, csv=False, numpy=NEVER),
    ]  # fmt: skip


def _moments() -> list[Kind]:
    group = "Time"
    zone = timezone(timedelta(hours=2))
    late, early = seconds_ago(30), mapped(seconds_ago(30), lambda value: value - 20_000_000)

    def both(make: Any) -> tuple[Draw, Draw]:
        return mapped(late, make), mapped(early, make)

    iso = "ISO 8601 text; how long before the inference, for bins"
    stamps = {"numpy": _stamps}
    minutes = mapped(wholes(600), lambda value: time(value // 60, value % 60))
    return [
        Kind(group, "datetime.date", iso, STR, NUMBER, *both(lambda at: _naive(at).date()), **stamps),
        Kind(group, "datetime without zone", iso, STR, NUMBER, *both(_naive), **stamps),
        Kind(group, "datetime in UTC", iso, STR, NUMBER, *both(lambda at: datetime.fromtimestamp(at, UTC)), **stamps),
        Kind(group, "datetime in another zone", iso, STR, NUMBER,
             *both(lambda at: datetime.fromtimestamp(at, zone)), **stamps),
        Kind(group, "datetime of 1970 to 2100", iso, STR, NUMBER, mapped(wholes(4_000_000_000), _naive),
             mapped(upside_down(4_000_000_000), _naive), **stamps),
        Kind(group, "numpy.datetime64[D]", iso, STR, NUMBER,
             *both(lambda at: np.datetime64(at, "s").astype("M8[D]")), arrow=_stamps, **stamps),
        Kind(group, "numpy.datetime64[ns]", iso, STR, NUMBER,
             *both(lambda at: np.datetime64(at, "s").astype("M8[ns]")), arrow=_stamps, **stamps),
        Kind(group, "text of ISO 8601", "itself", STR, NUMBER,
             *both(lambda at: _naive(at).isoformat(timespec="milliseconds") + "Z")),
        Kind(group, "text as headers of HTTP spell moments", "itself", STR, NUMBER,
             *both(lambda at: formatdate(int(at), usegmt=True))),
        Kind(group, "None among datetimes", "missing", STR, NUMBER, gapped(mapped(late, _naive)),
             gapped(mapped(early, _naive)), **stamps),
        Kind(group, "datetime.time", "ISO 8601 text", STR, NUMBER, minutes,
             mapped(wholes(600), lambda value: time(13 + value // 60, value % 60))),
        Kind(group, "datetime.timedelta", "seconds", FP64, NUMBER, mapped(reals(), lambda value: timedelta(seconds=value)),
             mapped(reals(80), lambda value: timedelta(seconds=value)), numpy=_spans),
        Kind(group, "numpy.timedelta64", "seconds", FP64, NUMBER, mapped(reals(), _milliseconds),
             mapped(reals(80), _milliseconds), numpy=np.array, arrow=np.array),
    ]  # fmt: skip


def _always(value: Any) -> Draw:
    return lambda _rng, count: [value] * count


def _large(size: int) -> Draw:
    return lambda rng, count: [size + int(value) * (size // 1_000) for value in rng.integers(0, 100, count)]


def _mixed(more: int) -> Draw:
    def drawn(rng: Rng, count: int) -> list[Any]:
        return [
            int(value) if place % 2 else value for place, value in enumerate(reals(50 + more)(rng, count))
        ]

    return drawn


def _narrow(name: str, mean: float) -> Draw:
    def drawn(rng: Rng, count: int) -> list[Any]:
        import ml_dtypes

        return list(rng.normal(mean, 20, count).astype(getattr(ml_dtypes, name)))

    return drawn


def _floats(values: Sequence[Any]) -> Any:
    return np.array([float(value) for value in values])


def _bytes(values: Sequence[Any]) -> Any:
    return [bytes(value) for value in values]


def _uuids(rng: Rng, count: int) -> list[Any]:
    return [UUID(bytes=rng.bytes(16), version=4) for _ in range(count)]


def _raw(size: int) -> Draw:
    return lambda rng, count: [rng.bytes(int(length)) for length in rng.integers(size, size + 20, count)]


def _png(size: int) -> Draw:
    def drawn(rng: Rng, count: int) -> list[bytes]:
        from PIL import Image

        found = []
        for _ in range(count):
            data = io.BytesIO()
            Image.fromarray(rng.integers(0, 255, (size, size), np.uint8)).save(data, "PNG")
            found.append(data.getvalue())
        return found

    return drawn


def _naive(at: int) -> datetime:
    return datetime.fromtimestamp(at, UTC).replace(tzinfo=None)


def _stamps(values: Sequence[Any]) -> Any:
    plain = [
        value.astimezone(UTC).replace(tzinfo=None) if getattr(value, "tzinfo", None) else value
        for value in values
    ]
    return np.array(plain, "M8[ns]")


def _spans(values: Sequence[Any]) -> Any:
    return np.array(values, "m8[us]")


def _milliseconds(value: float) -> np.timedelta64:
    return np.timedelta64(int(value * 1_000), "ms")


SCALARS = [*_numbers(), *_missing(), *_texts(), *_moments()]
