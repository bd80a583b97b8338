"""Kinds of values that libraries make: columns of pandas, polars, pyarrow, xarray, SciPy; tensors; images of Pillow."""

# ruff: noqa: E501 - a kind is easier to read on few lines
from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from .kinds import (
    COLOURS,
    IMAGE,
    NEVER,
    NOW,
    NUMBER,
    VECTOR,
    Draw,
    Kind,
    Rng,
    flipped,
    gapped,
    mapped,
    picked,
    pixels,
    reals,
    seconds_ago,
    upside_down,
    vectors,
    wholes,
)

FP64, INT64, BOOL, STR = "FP64", "INT64", "BOOL", "TEXT"
PAIR = (".left", ".right")


def _pandas() -> list[Kind]:
    group = "pandas"
    late, early = mapped(seconds_ago(30), _stamp), mapped(seconds_ago(30), lambda at: _stamp(at - 20_000_000))
    iso = "ISO 8601 text; how long before the inference, for bins"

    def column(
        name: str, kept: str, draws: tuple[Draw, Draw], becomes: str = "itself", gap: Any = None, **more: Any
    ) -> Kind:
        normal, changed = draws
        watched = more.pop("watched", NUMBER)
        draws = (gapped(normal, gap), gapped(changed, gap)) if more.pop("gaps", True) else draws
        return Kind(group, name, becomes, kept, watched, *draws, needs="pandas", **more)

    def typed(dtype: str) -> dict[str, Any]:
        return {"column": lambda values: _series(values, dtype)}

    few, many = (picked(COLOURS), flipped(COLOURS)), (wholes(1_000), upside_down(1_000))
    truth = (picked([True, False]), flipped([True, False]))
    numbers = (reals(), reals(80))
    moments = {"arrow": _arrow, "numpy": _stamps}
    return [
        column("Int64", INT64, many, **typed("Int64")),
        column("Float64", FP64, numbers, **typed("Float64")),
        column("boolean", BOOL, truth, **typed("boolean")),
        column("string", STR, few, **typed("string")),
        column("category of texts", STR, few, **typed("category")),
        column("category of ints", INT64, (wholes(6), upside_down(6)), **typed("category")),
        column("object with NaN", STR, few, "itself; NaN is missing", **typed("object")),
        column("int64[pyarrow]", INT64, many, **typed("int64[pyarrow]")),
        column("double[pyarrow]", FP64, numbers, **typed("double[pyarrow]")),
        column("bool[pyarrow]", BOOL, truth, **typed("bool[pyarrow]")),
        column("string[pyarrow]", STR, few, **typed("string[pyarrow]")),
        column("timestamp[us][pyarrow]", STR, (late, early), iso, **typed("timestamp[us][pyarrow]"), **moments),
        column("datetime64[ns]", STR, (late, early), iso, **typed("datetime64[ns]"), **moments),
        column("datetime64[ns, Europe/Vienna]", STR,
               (mapped(late, _zoned), mapped(early, _zoned)), iso, **typed("datetime64[ns, Europe/Vienna]"), **moments),
        column("Timedelta", FP64, (mapped(reals(), _timedelta), mapped(reals(80), _timedelta)), "seconds",
               column=lambda values: _series(values, "timedelta64[ns]"), arrow=_arrow, numpy=_timedeltas),
        column("Period", STR, (mapped(late, _period), mapped(early, _period)), iso, gaps=False,
               column=lambda values: _series(values, None), arrow=NEVER, numpy=_stamps_of_periods),
        column("Interval", "FP64 FP64", (mapped(reals(), _interval), mapped(reals(90), _interval)),
               "`.left` and `.right`", gaps=False, watched=PAIR, column=lambda values: _series(values, None), csv=True,
               arrow=lambda values: [{"left": v.left, "right": v.right} for v in values]),
        column("NA among Int64 of few values", INT64, (wholes(6), upside_down(6)), "missing", gap=_na, **typed("Int64"),
               arrow=_arrow),
        column("NaT among Timestamps", STR, (late, early), "missing", gap=_nat, column=lambda values: _series(values, None),
               **moments),
        column("row of a frame", "FP64 TEXT", _rows(), "a field a label", gaps=False, watched=(".age", ".city"),
               arrow=lambda values: [dict(value) for value in values]),
    ]  # fmt: skip


def _tables() -> list[Kind]:
    polars, arrow = "polars", "pyarrow"
    money = (mapped(reals(), _money), mapped(reals(80), _money))
    days = (mapped(seconds_ago(30), _day), mapped(seconds_ago(30), lambda at: _day(at - 20_000_000)))
    stamps = (mapped(seconds_ago(30), _utc), mapped(seconds_ago(30), lambda at: _utc(at - 20_000_000)))
    iso = "ISO 8601 text; how long before the inference, for bins"

    def both(library: str, make: Callable[[str], Callable[[Sequence[Any]], Any]]) -> list[Kind]:
        def column(
            name: str, kept: str, draws: tuple[Draw, Draw], becomes: str = "itself", **more: Any
        ) -> Kind:
            return Kind(
                library,
                name,
                becomes,
                kept,
                NUMBER,
                *map(gapped, draws),
                column=make(name),
                needs=library,
                **more,
            )

        names = _NAMES[library]
        return [
            column(names[0], INT64, (wholes(1_000), upside_down(1_000))),
            column(names[1], FP64, (reals(), reals(80))),
            column(names[2], BOOL, (picked([True, False]), flipped([True, False]))),
            column(names[3], STR, (picked(COLOURS), flipped(COLOURS))),
            column(names[4], STR, (picked(COLOURS), flipped(COLOURS))),
            column(names[5], FP64, money, "float"),
            column(names[6], STR, days, iso, numpy=_stamps),
            column(names[7], STR, stamps, iso, numpy=_stamps),
        ]  # fmt: skip

    return [*both(polars, _polars), *both(arrow, _pyarrow)]


def _arrays() -> list[Kind]:
    listed = {"numpy": _floats, "arrow": _lists}
    rows = (mapped(vectors(), _sparse), mapped(vectors(1.5), _sparse))
    group = "Other libraries"
    return [
        Kind(group, "scipy.sparse row", "an array", "FP64[1, 4]", VECTOR, *rows, column=_stack, needs="scipy", **listed),
        Kind(group, "numpy structured row", "a field a name", "FP64 INT64", (".age", ".rooms"), _structured(50),
             _structured(90), column=np.array, arrow=_structs, numpy=np.array),
        Kind(group, "xarray.DataArray", "an array", "FP64[4]", VECTOR, mapped(vectors(), _xarray), mapped(vectors(1.5), _xarray),
             needs="xarray", **listed),
        Kind(group, "torch.Tensor", "an array", "FP32[4]", VECTOR, mapped(vectors(), _torch("float32")),
             mapped(vectors(1.5), _torch("float32")), needs="torch", **listed),
        Kind(group, "torch.Tensor of bfloat16", "float32", "FP32[4]", VECTOR, mapped(vectors(), _torch("bfloat16")),
             mapped(vectors(1.5), _torch("bfloat16")), needs="torch", **listed),
        Kind(group, "jax.Array", "an array", "FP32[4]", VECTOR, mapped(vectors(), _jax), mapped(vectors(1.5), _jax),
             needs="jax", **listed),
        Kind(group, "tensorflow.Tensor", "an array", "FP64[4]", VECTOR, mapped(vectors(), _tensorflow),
             mapped(vectors(1.5), _tensorflow), needs="tensorflow", **listed),
        Kind(group, "vector of ml_dtypes.bfloat16", "float32", "FP32[4]", VECTOR, mapped(vectors(), _bfloat16),
             mapped(vectors(1.5), _bfloat16), needs="ml_dtypes", **listed),
    ]  # fmt: skip


def _pictures() -> list[Kind]:
    found = []
    shapes = {"L": "UINT8[8, 8]", "RGB": "UINT8[8, 8, 3]", "RGBA": "UINT8[8, 8, 4]", "P": "UINT8[8, 8, 3]",
              "1": "BOOL[8, 8]", "LA": "UINT8[8, 8, 2]", "CMYK": "UINT8[8, 8, 3]", "YCbCr": "UINT8[8, 8, 3]",
              "HSV": "UINT8[8, 8, 3]", "I": "INT32[8, 8]", "F": "FP32[8, 8]", "I;16": "UINT16[8, 8]"}  # fmt: skip
    for mode, kept in shapes.items():
        make = _picture(mode)
        found.append(
            Kind("Images of Pillow", f"mode {mode}", "its pixels", kept, IMAGE, mapped(pixels(90), make),
                 mapped(pixels(170), make), csv=False, numpy=_pixels, arrow=_lists, needs="PIL")
        )  # fmt: skip
    return found


_NAMES = {
    "polars": ("Int64", "Float64", "Boolean", "String", "Categorical", "Decimal", "Date", "Datetime"),
    "pyarrow": (
        "int64",
        "double",
        "bool",
        "string",
        "dictionary",
        "decimal128",
        "date32",
        "timestamp[us, UTC]",
    ),
}


def _series(values: Sequence[Any], dtype: str | None) -> Any:
    import pandas as pd

    return pd.Series(list(values), dtype=dtype)  # type: ignore[call-overload]


def _polars(name: str) -> Callable[[Sequence[Any]], Any]:
    def column(values: Sequence[Any]) -> Any:
        import polars as pl

        kind = pl.Decimal(20, 2) if name == "Decimal" else getattr(pl, name)
        return pl.Series(values, dtype=pl.Datetime("us", "UTC") if name == "Datetime" else kind)

    return column


def _pyarrow(name: str) -> Callable[[Sequence[Any]], Any]:
    def column(values: Sequence[Any]) -> Any:
        import pyarrow as pa

        found = pa.array(values)
        return found.dictionary_encode() if name == "dictionary" else found

    return column


def _stamp(at: int) -> Any:
    import pandas as pd

    return pd.Timestamp(at, unit="s")


def _zoned(stamp: Any) -> Any:
    return stamp.tz_localize("UTC").tz_convert("Europe/Vienna")


def _timedelta(value: float) -> Any:
    import pandas as pd

    return pd.Timedelta(timedelta(milliseconds=round(value * 1_000)))


def _period(stamp: Any) -> Any:
    return stamp.to_period("D")


def _interval(value: float) -> Any:
    import pandas as pd

    return pd.Interval(value, value + 2.0)


def _na() -> Any:
    import pandas as pd

    return pd.NA


def _nat() -> Any:
    import pandas as pd

    return pd.NaT


def _rows() -> tuple[Draw, Draw]:
    def drawn(mean: float) -> Draw:
        def rows(rng: Rng, count: int) -> list[Any]:
            import pandas as pd

            pairs = zip(reals(mean)(rng, count), picked(COLOURS)(rng, count), strict=True)
            return [pd.Series({"age": age, "city": city}) for age, city in pairs]

        return rows

    return drawn(50), drawn(90)


def _arrow(values: Sequence[Any]) -> Any:
    import pyarrow as pa

    return pa.array(values, from_pandas=True)


def _stamps(values: Sequence[Any]) -> Any:
    import pandas as pd

    found = pd.Series([None if value is None else pd.Timestamp(value) for value in values])
    if getattr(found.dt, "tz", None) is not None:
        found = found.dt.tz_convert("UTC").dt.tz_localize(None)
    return found.to_numpy("M8[ns]")


def _stamps_of_periods(values: Sequence[Any]) -> Any:
    return np.array([value.start_time for value in values], "M8[ns]")


def _timedeltas(values: Sequence[Any]) -> Any:
    return _series(values, "timedelta64[ns]").to_numpy()


def _money(value: float) -> Decimal:
    return Decimal(f"{value:.2f}")


def _day(at: int) -> date:
    return _utc(at).date()


def _utc(at: int) -> datetime:
    return datetime.fromtimestamp(min(at, NOW), UTC)


def _sparse(value: Any) -> Any:
    from scipy import sparse

    return sparse.csr_matrix(value)


def _stack(values: Sequence[Any]) -> Any:
    from scipy import sparse

    return sparse.vstack(list(values)).tocsr()


def _structured(mean: float) -> Draw:
    def drawn(rng: Rng, count: int) -> list[Any]:
        found = np.zeros(count, [("age", "f8"), ("rooms", "i4")])
        found["age"], found["rooms"] = rng.normal(mean, 8.0, count), wholes(6)(rng, count)
        return list(found)

    return drawn


def _structs(values: Sequence[Any]) -> Any:
    return [{"age": float(value["age"]), "rooms": int(value["rooms"])} for value in values]


def _xarray(value: Any) -> Any:
    import xarray

    return xarray.DataArray(value)


def _torch(dtype: str) -> Callable[[Any], Any]:
    def tensor(value: Any) -> Any:
        import torch

        return torch.tensor(value, dtype=getattr(torch, dtype))

    return tensor


def _jax(value: Any) -> Any:
    import jax.numpy

    return jax.numpy.asarray(value)


def _tensorflow(value: Any) -> Any:
    import tensorflow as tf

    return tf.constant(value)


def _bfloat16(value: Any) -> Any:
    import ml_dtypes

    return value.astype(ml_dtypes.bfloat16)


def _picture(mode: str) -> Callable[[Any], Any]:
    def make(value: Any) -> Any:
        from PIL import Image

        image = Image.fromarray(value)
        if mode == "I;16":
            return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 200)
        return (
            image.convert("RGB").convert("L").convert(mode)
            if mode in {"I", "F", "LA"}
            else image.convert(mode)
        )

    return make


def _pixels(values: Sequence[Any]) -> Any:
    from davy.fields import plain

    return np.array([plain(value) for value in values])


def _floats(values: Sequence[Any]) -> Any:
    from davy.fields import plain

    return np.array([np.asarray(plain(value)).ravel() for value in values], np.float64)


def _lists(values: Sequence[Any]) -> Any:
    from davy.fields import plain

    arrays = [np.asarray(plain(value)) for value in values]
    return [(array.astype(np.float64) if array.dtype.kind == "f" else array).tolist() for array in arrays]


LIBRARIES = [*_pandas(), *_tables(), *_arrays(), *_pictures()]
