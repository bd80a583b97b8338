"""Rows of forgotten inferences leave the files that hold them; a file keeps its name as long as a row is left."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pyarrow as pa
from pyarrow import compute, parquet

from davy.archive.columns import BLOB
from davy.archive.places import Place
from davy.archive.tables import SHELVES, Shelf, model_of, to_parquet
from davy.errors import ArchiveError
from davy.event import INFERENCES
from davy.forgetting import Ids, Trace
from davy.forgetting.strip import KIND


def tagged(place: Place, name: str, text: str) -> Iterator[bytes]:
    """Return the ids of the inferences that carry a tag whose value reads `text`; a number also as a whole one."""
    column = f"tags.{name}"
    for path in place.paths(SHELVES[INFERENCES].folder):
        table = _read(place, path, ["id", column])
        if table is not None and column in table.column_names:
            rows = zip(table["id"].to_pylist(), table[column].to_pylist(), strict=True)
            yield from (bytes.fromhex(id) for id, value in rows if text in _readings(value))


def traces(place: Place, ids: Ids) -> Iterator[Trace]:
    """Return what killed processes left, the files with rows of `ids`, and those that cannot be read."""
    yield Trace({}, place.tidy)
    wanted = pa.array(sorted(id.hex() for id in ids), pa.string())
    for topic, shelf in SHELVES.items():
        for path in place.paths(shelf.folder):
            remove = partial(_remove, place, path, shelf, wanted)
            try:
                found = _split(place, path, shelf, wanted)
            except ArchiveError:
                yield Trace({}, remove)  # which says so again
                continue
            if found is not None:
                gone, _ = found
                things = {KIND[topic]: _names(gone, shelf), "archive": frozenset({path})}
                yield Trace(things, remove, _payloads(gone))


def _remove(place: Place, path: str, shelf: Shelf, wanted: Any) -> None:
    found = _split(place, path, shelf, wanted)
    if found is not None:
        _, kept = found
        if kept.num_rows:
            place.put(path, to_parquet(kept, model=model_of(kept)))
        else:
            place.remove(path)


def _split(place: Place, path: str, shelf: Shelf, wanted: Any) -> tuple[Any, Any] | None:
    """Return the rows of a file that are wanted, and the others; None where no row is, or there is no such file."""
    column = _read(place, path, [shelf.inference])
    if column is None:
        return None
    found = compute.is_in(column[shelf.inference], value_set=wanted)
    if not compute.any(found).as_py():
        return None
    table = _read(place, path)
    return table and (table.filter(found), table.filter(compute.invert(found)))


def _read(place: Place, path: str, columns: list[str] | None = None) -> Any:
    """Return a file as a table, of some columns those that it has; None when it is gone."""
    opened = place.open(path)
    if opened is None:
        return None
    try:
        with opened as file:
            return parquet.ParquetFile(file).read(columns=columns)
    except (pa.ArrowException, OSError) as error:
        remedy = f"is damaged ({error}): repair or delete it"
        raise ArchiveError("archive", path, remedy) from error


def _names(rows: Any, shelf: Shelf) -> frozenset[str]:
    """Name rows as the log names what they were made from."""
    if shelf.unique:
        return frozenset(rows["id"].to_pylist())
    times = rows["at"].cast(pa.int64()).to_pylist()
    return frozenset(f"{id}/{at}" for id, at in zip(rows["id"].to_pylist(), times, strict=True))


def _payloads(rows: Any) -> frozenset[str]:
    blobs = (rows[field.name] for field in rows.schema if field.type == BLOB)
    return frozenset(one["hash"] for column in blobs for one in column.drop_null().to_pylist())


def _readings(value: object) -> set[str]:
    if isinstance(value, float) and value.is_integer():  # every number is a double there
        return {str(value), str(int(value))}
    return set() if value is None else {str(value)}
