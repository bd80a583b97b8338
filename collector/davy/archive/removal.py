"""Rows of forgotten inferences leave the files that hold them; a file keeps its name as long as a row is left.

A row that tells of many inferences loses the ids of those. What is counted are files: what a row was made from is the
log's to count, once, whatever a later run still finds here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pyarrow as pa
from pyarrow import compute, parquet

from davy.archive.columns import BLOB
from davy.archive.places import FilePlace
from davy.archive.schemas import FIELD
from davy.archive.tables import SHELVES, Shelf, model_of, to_parquet
from davy.errors import ArchiveError
from davy.event import INFERENCES
from davy.forgetting import Ids, Trace


def tagged(place: FilePlace, name: str, text: str) -> Iterator[bytes]:
    """Return the ids of the inferences that carry a tag whose value reads `text`; a number also as a whole one."""
    field = f"tags.{name}"
    for path in place.paths(SHELVES[INFERENCES].folder):
        table = _read(place, path, lambda schema: ["id", *_columns_of(schema, field)])
        for column in table.column_names[1:] if table is not None else ():
            rows = zip(table["id"].to_pylist(), table[column].to_pylist(), strict=True)
            yield from (bytes.fromhex(id) for id, value in rows if text in _readings(value))


def traces(place: FilePlace, ids: Ids) -> Iterator[Trace]:
    """Return what killed processes left, the files with rows of `ids`, and those that cannot be read."""
    yield Trace({}, place.tidy)
    wanted = pa.array(sorted(id.hex() for id in ids), pa.string())
    for shelf in SHELVES.values():
        for path in place.paths(shelf.folder):
            remove = partial(_remove, place, path, shelf, wanted)
            try:
                found = _split(place, path, shelf, wanted)
            except ArchiveError:
                yield Trace({}, remove)  # which says so again
                continue
            if found is not None:
                gone, _ = found
                yield Trace({"archive": frozenset({path})}, remove, _payloads(gone))


def _remove(place: FilePlace, path: str, shelf: Shelf, wanted: Any) -> None:
    found = _split(place, path, shelf, wanted)
    if found is not None:
        _, kept = found
        if kept.num_rows:
            place.put(path, to_parquet(kept, model=model_of(kept)))
        else:
            place.remove(path)


def _split(place: FilePlace, path: str, shelf: Shelf, wanted: Any) -> tuple[Any, Any] | None:
    """Return the rows of a file that tell of what is wanted, and what is kept; None where none does or no file is."""
    column = _read(place, path, lambda _: [shelf.inference])
    if column is None:
        return None
    found = _tells(column[shelf.inference], wanted)
    if not compute.any(found).as_py():
        return None
    table = _read(place, path)
    if table is None:
        return None
    gone = table.filter(found)
    return gone, _without(table, shelf, wanted) if shelf.lists else table.filter(compute.invert(found))


def _tells(column: Any, wanted: Any) -> Any:
    """Return which rows hold a wanted id, or a list with one."""
    if not pa.types.is_list(column.type):
        return compute.is_in(column, value_set=wanted)
    rows = compute.list_parent_indices(column).filter(
        compute.is_in(compute.list_flatten(column), value_set=wanted)
    )
    return compute.is_in(pa.array(range(len(column)), rows.type), value_set=rows.combine_chunks())


def _without(table: Any, shelf: Shelf, wanted: Any) -> Any:
    """Return a table with the wanted ids taken out of its lists."""
    place, gone = table.schema.get_field_index(shelf.inference), set(wanted.to_pylist())
    rows = [row and [id for id in row if id not in gone] for row in table[shelf.inference].to_pylist()]
    field = table.schema.field(place)
    return table.set_column(place, field, pa.array(rows, field.type))


def _columns_of(schema: Any, name: str) -> list[str]:
    """Return the columns of a field, one a kind."""
    told = ((field.name, (field.metadata or {}).get(FIELD, field.name.encode()).decode()) for field in schema)
    return [column for column, field in told if field == name]


def _read(place: FilePlace, path: str, columns: Callable[[Any], list[str]] | None = None) -> Any:
    """Return a file as a table, of the columns that are chosen from its schema; None when it is gone."""
    opened = place.open(path)
    if opened is None:
        return None
    try:
        with opened as file:
            found = parquet.ParquetFile(file)
            return found.read(columns=columns and columns(found.schema_arrow))
    except (pa.ArrowException, OSError) as error:
        remedy = f"is damaged ({error}): repair or delete it"
        raise ArchiveError("archive", path, remedy) from error


def _payloads(rows: Any) -> frozenset[str]:
    blobs = (rows[field.name] for field in rows.schema if field.type == BLOB)
    return frozenset(one["hash"] for column in blobs for one in column.drop_null().to_pylist())


def _readings(value: object) -> set[str]:
    if isinstance(value, float) and value.is_integer():  # every number is a double there
        return {str(value), str(int(value))}
    return set() if value is None else {str(value)}
