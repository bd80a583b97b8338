"""Reads reference inferences: from NPZ, CSV and Parquet files, and from the log. Only this file here knows pyarrow."""

from __future__ import annotations

import zipfile
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from davy.codec import decode
from davy.errors import DecodeError, ReferenceInvalid
from davy.event import INFERENCES
from davy_detectors.batch import Batch

if TYPE_CHECKING:
    from davy.log import Log

_REMEDY: Final = "name columns as captured: inputs.age, outputs.probs, outputs.label, embedding, tags.country"


def read_file(model: str, path: Path) -> Batch:
    """Read inferences from a file, by its suffix: ``.npz``, ``.csv`` or ``.parquet``.

    Columns are named as the fields of an inference (``inputs.age``, ``outputs.probs``, ``embedding``). NPZ holds arrays
    with the inferences along the first axis; Parquet holds tensors as lists, nested for more dimensions.

    Raises
    ------
    ReferenceInvalid
        The file is missing, damaged or of another kind, or its columns do not fit together.
    """
    readers: dict[str, Callable[[Path], Mapping[str, Any]]] = {
        ".npz": _read_npz,
        ".csv": _read_csv,
        ".parquet": _read_parquet,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ReferenceInvalid("--file", path.name, f"give one of {', '.join(readers)}")
    if not path.is_file():
        raise ReferenceInvalid("--file", str(path), "there is no such file")
    columns = reader(path)
    for name, values in columns.items():
        if getattr(values, "ndim", 1) == 0:
            raise ReferenceInvalid(
                name, "one value", "give an array with the inferences along the first axis"
            )
    if not columns:
        raise ReferenceInvalid("--file", path.name, f"has no columns; {_REMEDY}")
    return Batch.from_columns(model, columns)


def read_log(
    log: Log, model: str, *, last: int | None = None, since: int | None = None, until: int | None = None
) -> Batch:
    """Read inferences of a model from the log.

    Parameters
    ----------
    log
        The log.
    model
        ``"name:version"``.
    last
        At most so many, the newest.
    since, until
        Event times ``since <= at < until``, nanoseconds since the epoch.

    Raises
    ------
    ReferenceInvalid
        The log holds no such inference.
    """
    kept: deque[Batch] = deque()
    count = 0
    for (topic, partition), start in log.start(INFERENCES).items():
        for record in log.read(topic, partition, start):
            try:
                envelope = decode(record.value)
            except DecodeError:
                continue  # the detect role sets it aside and counts it
            if envelope.model != model:
                continue
            batch = _between(Batch.of(envelope), since, until)
            kept.append(batch)
            count += len(batch)
            while last is not None and count - len(kept[0]) >= last:
                count -= len(kept.popleft())
    if not count:
        raise ReferenceInvalid("--from-log", model, "the log holds no inferences of this model at that time")
    found = Batch.concat(list(kept))
    return found if last is None else found.take(slice(max(0, count - last), None))


def _between(batch: Batch, since: int | None, until: int | None) -> Batch:
    inside = np.ones(len(batch), dtype=bool)
    if since is not None:
        inside &= batch.at >= since
    if until is not None:
        inside &= batch.at < until
    return batch if inside.all() else batch.take(inside)


def _read_npz(path: Path) -> Mapping[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        remedy = f"is not an NPZ file of numbers and text, written by numpy.savez: {error}"
        raise ReferenceInvalid("--file", path.name, remedy) from error


def _read_csv(path: Path) -> Mapping[str, Any]:
    import pyarrow as pa
    from pyarrow import csv

    try:
        return _columns(csv.read_csv(path))
    except (OSError, pa.ArrowException) as error:
        raise ReferenceInvalid("--file", path.name, f"is not CSV with a line of names: {error}") from error


def _read_parquet(path: Path) -> Mapping[str, Any]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return _columns(parquet.read_table(path))
    except (OSError, pa.ArrowException) as error:
        raise ReferenceInvalid("--file", path.name, f"is not Parquet: {error}") from error


def _columns(table: Any) -> dict[str, Any]:
    return {name: _column(name, table.column(name)) for name in table.column_names}


def _column(name: str, column: Any) -> Any:
    """Give one column as an array; tensors and columns with gaps as a list, None where a value is missing."""
    from pyarrow import types

    kind = column.type
    if types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return column.to_pylist()
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
        return column.to_numpy() if not column.null_count else column.to_pylist()
    if types.is_string(kind) or types.is_large_string(kind):
        return column.to_pylist()
    raise ReferenceInvalid(name, str(kind), "give numbers, booleans, text, or lists of numbers")
