"""What the columns of a table are called and hold, by model, for good: a schema gains columns and never loses one.

The first kind of value that a field has takes the field's own name as its column; each further kind has a column of its
own beside it. Names are in the store before a file uses them, so whoever writes, in whatever order, says the same. All
versions of a model share a schema, and the archive has a copy of it that readers, and another store, take up.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, chain, repeat
from typing import Any, Final, Self
from urllib.parse import unquote

import pyarrow as pa
from pyarrow import parquet

from davy.archive.columns import BESIDE, HOLDS_EMPTY, KINDS, Home
from davy.archive.places import FilePlace, file_name
from davy.codec import dump_any, load_any
from davy.event import Path
from davy.store import Batch, Collection, Store, declare

FIELD: Final = b"davy.field"
"""Metadata of a column that has another name than its field: the field's."""
KIND: Final = b"davy.kind"
FOLDER: Final = "schemas"
COLUMNS: Final = 10_000
"""Columns of a schema, so that an app which makes up names does not make up columns without end."""
_REST: Final = ("rest",)
_PATH: Final = b"davy.path"
"""Metadata of every column of a schema's file: the field's names as a JSON list, for one may have dots in it."""
_SINCE: Final = b"davy.since"
_ALWAYS: Final = -(2**63)
"""The day since which a column takes empty lists that files of before had."""
_MOST: Final = 1000
"""Schemas in memory."""
_logger = logging.getLogger("davy.archive")


class TableSchema:
    """The columns of one table of one model.

    Examples
    --------
    >>> schema = TableSchema()
    >>> schema.name(("inputs", "amount"), "number"), schema.name(("inputs", "amount"), "text")
    ('inputs.amount', 'inputs.amount.text')
    >>> schema.name(("inputs", "amount"), "number")
    'inputs.amount'
    """

    def __init__(self) -> None:
        self._columns: dict[str, tuple[Path, str]] = {}
        self._homes: dict[Path, Home] = {}
        self._names: dict[tuple[Path, str], str] = {}
        self._taken: dict[str, str] = {}

    def __len__(self) -> int:
        """How many columns have an owner: what grows."""
        return len(self._names)

    def name(self, path: Path, kind: str, day: int = _ALWAYS) -> str | None:
        """Return the column of a field's values of one kind, new where it has none; None where there are too many.

        No two columns differ in capitals only, for DuckDB and Spark would not tell them apart. `day` is the first one
        that has such a value, in days since the epoch.
        """
        owner = path, kind
        if owner not in self._names and len(self) >= COLUMNS and path != _REST:
            return None
        if owner not in self._names:
            base = ".".join(path)
            beside = accumulate(chain([f"{base}.{kind}"], repeat("_")))
            names = beside if kind in BESIDE else chain([base], beside)
            name = next(name for name in names if self._is_free(name, kind))
            self._own(name, path, kind, day)
        return self._names[owner]

    def rest(self) -> str:
        """Return the column of values that have none of their own."""
        return self.name(_REST, "json") or ""

    def home(self, path: Path) -> Home | None:
        """Return the kind whose column takes a field's empty lists, and since which day; None where there is none yet.

        It is the first one that a list can be written in, for good.
        """
        if path not in self._homes:
            owner, kind = self._columns.get(".".join(path), (path, ""))
            return (kind, _ALWAYS) if not owner and kind in HOLDS_EMPTY else None
        return self._homes[path]

    def adopt(self, name: str, path: Path, kind: str, day: int = _ALWAYS) -> None:
        """Take in a column that files have; without a path it is for whichever field first has values of this type."""
        if name.casefold() not in self._taken and (path, kind) not in self._names:
            self._own(name, path, kind, day)

    def fields(self) -> Iterator[Any]:
        """Return the fields of Arrow, in the order in which they came."""
        for name, (path, kind) in self._columns.items():
            if path:
                said = {
                    **note(name, path, kind),
                    KIND: kind,
                    _PATH: json.dumps(path),
                    _SINCE: str(self._since(path, kind)),
                }
                yield pa.field(name, KINDS[kind], metadata=said)

    def to_bytes(self) -> bytes:
        """Return what `from_bytes` reads."""
        return dump_any(
            [
                [name, list(path), kind, self._since(path, kind)]
                for name, (path, kind) in self._columns.items()
            ]
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` gave."""
        schema = cls()
        for name, path, kind, *day in load_any(data):
            schema._own(name, tuple(path), kind, *day)
        return schema

    def _own(self, name: str, path: Path, kind: str, day: int = _ALWAYS) -> None:
        """Assign a column to a field; without a path, to none yet."""
        self._columns[name] = path, kind
        self._taken[name.casefold()] = name
        if path:
            self._names[path, kind] = name
            if kind in HOLDS_EMPTY:
                self._homes.setdefault(path, (kind, day))

    def _since(self, path: Path, kind: str) -> int:
        home = self._homes.get(path)
        return home[1] if home and home[0] == kind else _ALWAYS

    def _is_free(self, name: str, kind: str) -> bool:
        taken = self._taken.get(name.casefold())
        if taken is None:
            return True
        path, there = self._columns[taken]
        return not path and taken == name and KINDS[there] == KINDS[kind]


SCHEMAS: Final[Collection[TableSchema]] = declare(
    Collection("archive_schemas", TableSchema, "archive", TableSchema.to_bytes, TableSchema.from_bytes)
)
"""Which columns fields have, by table and model."""


class Schemas:
    """The schemas of an archive: read from the store, else from what the archive holds.

    Parameters
    ----------
    store
        Where they are; whoever applies `grow`'s batch has the lease of the role.
    place
        Where the files are.
    """

    def __init__(self, store: Store, place: FilePlace) -> None:
        self._store, self._place = store, place
        self._known: dict[tuple[str, str], TableSchema] = {}
        self._stored: dict[tuple[str, str], int] = {}
        self._told: dict[tuple[str, str], int] = {}
        self._empty: set[tuple[str, str]] = set()
        self._files: dict[str, Mapping[str, list[str]]] = {}
        self._batch: Batch | None = None

    def forget(self) -> None:
        """Forget what was read: the store may say something else."""
        self._known, self._stored, self._told, self._empty, self._files = {}, {}, {}, set(), {}

    def of(self, table: str, name: str) -> TableSchema:
        """Return the schema of a table of a model, which may grow until `grow`."""
        key = table, name
        if key not in self._known:
            schema = SCHEMAS.get(self._store, "/".join(key)) or TableSchema()
            self._known[key], self._stored[key] = schema, len(schema)
            if key not in self._told:
                self._take_in(schema, table, name)
        return self._known[key]

    def grow(self, batch: Batch) -> bool:
        """Put what the store lacks into a batch; return whether files have to wait until this batch is committed.

        A batch that is not committed is followed by `forget`.
        """
        for key, schema in self._known.items():
            if len(schema) > self._stored[key]:
                SCHEMAS.put(batch, "/".join(key), schema)
                self._stored[key] = len(schema)
                self._batch = batch
        if self._batch is batch:
            return True
        if len(self._known) > _MOST:
            self._known, self._stored = {}, {}
        return False

    def tell(self, table: str, name: str, own: Any) -> None:
        """Write the schema's file, which has no rows, where readers find it: Davy's `own` columns and all others."""
        key, schema = (table, name), self.of(table, name)
        if self._told.get(key) != len(schema):
            self._write(table, name, [*own, *schema.fields()])
            self._told[key] = len(schema)

    def tell_of_none(self, table: str, name: str, own: Any) -> None:
        """Write the schema's file of a table that may have no rows yet, unless there is one: readers ask for it."""
        key = table, name
        if key not in self._told and key not in self._empty:
            file = self._place.open(_path(table, name))
            if file is None:
                self._write(table, name, list(own))
            else:
                file.close()
            self._empty.add(key)

    def _write(self, table: str, name: str, columns: Sequence[Any]) -> None:
        every = [*columns, pa.field("model", pa.string()), pa.field("day", pa.date32())]
        sink = pa.BufferOutputStream()
        parquet.write_table(pa.schema(every).empty_table(), sink)
        self._place.put(_path(table, name), bytes(sink.getvalue()))

    def _take_in(self, schema: TableSchema, table: str, name: str) -> None:
        """Add what the archive says: its copy of the schema, or the columns of files of before schemas."""
        for field in self._read(_path(table, name)) or ():
            said = field.metadata or {}
            if _PATH in said:
                day = int(said.get(_SINCE, _ALWAYS))
                schema.adopt(field.name, tuple(json.loads(said[_PATH])), said[KIND].decode(), day)
        if not schema:
            for path in self._first_files(table).get(name, ()):
                for field in self._read(path) or ():
                    kind = _kind_of(field)
                    if kind is not None:
                        schema.adopt(field.name, (), kind)

    def _first_files(self, table: str) -> Mapping[str, list[str]]:
        """Return one file a day of each model, the oldest day first."""
        if table not in self._files:
            first: dict[tuple[str, str], str] = {}
            for path in self._place.paths(table):
                _, model, day, _ = path.split("/")
                first.setdefault((day, model), path)
            found: dict[str, list[str]] = {}
            for (_, model), path in sorted(first.items()):
                found.setdefault(unquote(model.removeprefix("model=")).partition(":")[0], []).append(path)
            self._files[table] = found
        return self._files[table]

    def _read(self, path: str) -> Any:
        """Return the schema of a file; None where there is none, or none that can be read."""
        opened = self._place.open(path)
        if opened is None:
            return None
        try:
            with opened as file:
                return parquet.read_schema(file)
        except pa.ArrowException as error:
            _logger.warning("archive: %s: %s", path, error)
            return None


def note(name: str, path: Path, kind: str) -> Mapping[bytes, str]:
    """Return what the metadata of a column says, so that its field is found again."""
    field = ".".join(path)
    return {} if name == field else {FIELD: field, KIND: kind}


def named(path: Path, kind: str) -> str:
    """Name a value among the rest."""
    field = ".".join(path)
    return f"{field}.{kind}" if kind in {"shape", "blob", "empty"} else field


def _path(table: str, name: str) -> str:
    return f"{FOLDER}/{table}/{file_name(name)}.parquet"


def _kind_of(field: Any) -> str | None:
    """Return a kind of the type that a column of before schemas has; lists of single precision are numbers too."""
    if pa.types.is_list(field.type) and pa.types.is_floating(field.type.value_type):
        return "numbers"
    return next((kind for kind, type in KINDS.items() if type == field.type), None)
