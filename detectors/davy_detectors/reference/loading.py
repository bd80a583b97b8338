"""Reads reference inferences: from NPZ, CSV and Parquet files, and from the log."""

from __future__ import annotations

import time
import zipfile
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from davy.codec import decode
from davy.errors import DecodeError, ReferenceInvalid
from davy.event import INFERENCES, Array, Column
from davy.event import Path as FieldPath
from davy.existing import meant
from davy.fields.times import spans
from davy_detectors.batch import Batch, path_of
from davy_detectors.reference.archived import joined

if TYPE_CHECKING:
    from davy.log import Log

_REMEDY: Final = "name columns as captured: inputs.age, outputs.probs, outputs.label, embedding, tags.country"
_RECENT: Final = 500
"""Records of a partition that are looked at to know what is captured."""
_ARCHIVED: Final = frozenset({"id", "at", "rate", "source", "latency_ms"})

Columns = dict[str, Any]
Unread = dict[str, str]


def read_file(model: str, path: Path) -> Batch:
    """Read inferences from a file, by its suffix: ``.npz``, ``.csv`` or ``.parquet``.

    Columns are named as the fields of an inference (``inputs.age``, ``outputs.probs``, ``embedding``). NPZ holds arrays
    with the inferences along the first axis; Parquet holds tensors as lists, nested for more dimensions. A column that
    cannot be read, or is an index, is left out and named in `Batch.unread`. A file of the archive is read as well.

    Raises
    ------
    ReferenceInvalid
        The file is missing, damaged or of another kind, or nothing in it can be read.
    """
    readers: dict[str, Callable[[Path], tuple[Columns, Unread]]] = {
        ".npz": _read_npz,
        ".csv": _read_csv,
        ".parquet": _read_parquet,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ReferenceInvalid("--file", path.name, f"give one of {', '.join(readers)}")
    if not path.is_file():
        raise ReferenceInvalid("--file", str(path), "there is no such file")
    columns, unread = reader(path)
    _leave_out_uneven(columns, unread)
    if not columns and unread:
        name, reason = next(iter(unread.items()))
        raise ReferenceInvalid(
            ".".join(path_of(name)), path.name, f"{reason}, and no other column can be read"
        )
    if not columns:
        raise ReferenceInvalid("--file", path.name, f"has no columns; {_REMEDY}")
    at = None
    if columns.keys() >= _ARCHIVED:
        at = np.asarray(columns["at"]).astype("M8[ns]").astype(np.int64)
        columns = joined(
            {name: values for name, values in columns.items() if name not in {"id", "at", "source"}}
        )
    return Batch.from_columns(model, columns, at=at, unread=unread)


def read_log(
    log: Log,
    model: str,
    *,
    last: int | None = None,
    since: int | None = None,
    until: int | None = None,
    patience: float = inf,
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
    patience
        Longest time to read, in seconds.

    Raises
    ------
    ReferenceInvalid
        The log holds no such inference, or reading takes longer.
    """
    ends = time.monotonic() + patience
    kept: deque[Batch] = deque()
    count, others = 0, set[str]()
    for (topic, partition), start in log.start(INFERENCES).items():
        for record in log.read(topic, partition, start):
            if time.monotonic() > ends:
                raise ReferenceInvalid(
                    "--from-log", model, "takes long to read: `davy reference fit` takes the time"
                )
            try:
                envelope = decode(record.value)
            except DecodeError:
                continue  # the detect role sets it aside and counts it
            if envelope.model != model:
                others.add(envelope.model)
                continue
            batch = _between(Batch.of(envelope), since, until)
            kept.append(batch)
            count += len(batch)
            while last is not None and count - len(kept[0]) >= last:
                count -= len(kept.popleft())
    if not count:
        said = "the log holds no inferences of this model"
        if kept:
            raise ReferenceInvalid("--from-log", model, f"{said} at that time")
        remedy = f"{said}; {meant(model, others)}`davy models list` names all"
        raise ReferenceInvalid("--from-log", model, remedy)
    found = Batch.concat(list(kept))
    return found if last is None else found.take(slice(max(0, count - last), None))


@dataclass(slots=True)
class Captured:
    """What was captured of a model lately: how many inferences, and how many envelopes had a value of which field."""

    inferences: int = 0
    fields: Counter[FieldPath] = field(default_factory=Counter)


def captured_fields(log: Log) -> dict[str, Captured]:
    """Return what the newest inferences of each model had, by model."""
    found: dict[str, Captured] = {}
    ends = log.end(INFERENCES)
    for (topic, partition), start in log.start(INFERENCES).items():
        first = max(start, ends.get((topic, partition), start) - _RECENT)
        for record in log.read(topic, partition, first):
            try:
                envelope = decode(record.value)
            except DecodeError:
                continue  # the detect role sets it aside and counts it
            captured = found.setdefault(envelope.model, Captured())
            captured.inferences += envelope.count
            captured.fields.update(path for path, column in envelope.items() if _has_values(column))
    return found


def _has_values(column: Column) -> bool:
    """Whether any value is there; of numbers, any that is not NaN."""
    if column.missing is not None and column.missing.all():
        return False
    values = column.values
    if values.dtype.kind == "f":
        return not bool(np.isnan(values[column.present]).all())
    return values.dtype != object or any(value is not None for value in values[column.present])


def _between(batch: Batch, since: int | None, until: int | None) -> Batch:
    inside = np.ones(len(batch), dtype=bool)
    if since is not None:
        inside &= batch.at >= since
    if until is not None:
        inside &= batch.at < until
    return batch if inside.all() else batch.take(inside)


def _leave_out_uneven(columns: Columns, unread: Unread) -> None:
    """Leave out what has another number of rows than most columns."""
    for name, values in list(columns.items()):
        if getattr(values, "ndim", 1) == 0:
            unread[name] = "one value; give an array with the inferences along the first axis"
            del columns[name]
    if not columns:
        return
    most = Counter(map(len, columns.values())).most_common(1)[0][0]
    for name, values in list(columns.items()):
        if len(values) != most:
            unread[name] = f"{len(values)} values; give {most}, as many as the other columns have"
            del columns[name]


def _read_npz(path: Path) -> tuple[Columns, Unread]:
    columns: Columns = {}
    unread: Unread = {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for name in arrays.files:
                try:
                    array = arrays[name]
                except ValueError:  # objects, which only code of the file's author could read
                    unread[name] = "an array of objects; save numbers or text"
                    continue
                _take_array(name, array, columns, unread)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        remedy = f"is not an NPZ file of numbers and text, written by numpy.savez: {error}"
        raise ReferenceInvalid("--file", path.name, remedy) from error
    return columns, unread


def _take_array(name: str, array: Array, columns: Columns, unread: Unread) -> None:
    match array.dtype.kind:
        case "c":
            unread[name] = "complex numbers; save the magnitude, or real and imaginary part"
        case "V" if array.dtype.names is not None:
            for part in array.dtype.names:
                _take_array(f"{name}.{part}", array[part], columns, unread)
        case "V":
            unread[name] = f"values of type {array.dtype}; save numbers or text"
        case "m":
            columns[name] = spans(array)
        case "S":
            columns[name] = np.char.decode(array, "utf-8", "replace")
        case _:
            columns[name] = array


def _read_csv(path: Path) -> tuple[Columns, Unread]:
    import pyarrow as pa

    from davy_detectors.reference.arrow import read_csv

    try:
        return read_csv(path)
    except (OSError, UnicodeError, pa.ArrowException) as error:
        remedy = (
            "is not CSV: a line of names first, comma, semicolon, tab or | between cells, in UTF-8, or UTF-16 with a"
            f" mark: {error}"
        )
        raise ReferenceInvalid("--file", path.name, remedy) from error


def _read_parquet(path: Path) -> tuple[Columns, Unread]:
    import pyarrow as pa

    from davy_detectors.reference.arrow import read_parquet

    try:
        return read_parquet(path)
    except (OSError, pa.ArrowException) as error:
        raise ReferenceInvalid("--file", path.name, f"is not Parquet: {error}") from error
