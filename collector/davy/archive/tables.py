"""Log records of a topic to Arrow tables and Parquet files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any, Final

import numpy as np
import pyarrow as pa
from pyarrow import compute, parquet

from davy.archive.columns import LISTS, SHAPE, as_text, field_columns, folded, hex_array, text_array
from davy.archive.places import file_name
from davy.archive.schemas import FIELD, KIND, TableSchema, named, note
from davy.codec import decode, load
from davy.event import ALERTS, FEEDBACK, FLAGS, INFERENCES, LABELS, Alert, Envelope, Feedback, Flag, Label

_DAY: Final = 86_400 * 10**9
_TIME: Final = pa.timestamp("ns", tz="UTC")
_MODEL: Final = b"davy.model"
_SEEN: Final = 4096
_VALUES: Final = 2**22
_DRAWS: Final = pa.list_(pa.struct({"arm": pa.string(), "probability": pa.float64(), "score": pa.float64()}))
_EVIDENCE: Final = pa.struct(
    {
        "feature": pa.string(),
        "change": pa.string(),
        "reference": pa.float64(),
        "current": pa.float64(),
        "log_evidence": pa.float64(),
    }
)


@dataclass(frozen=True, slots=True)
class Shelf:
    """How records of one topic are kept.

    Attributes
    ----------
    folder
        Where the files lie; the name of the table.
    load
        Reads one record and raises DecodeError; what it gives has a `model`.
    table
        Makes one table of many of them, of one model, with names from its schema.
    own
        The columns that every file has, ``id`` and ``at`` among them; others have names from the schema.
    key
        The columns that say which row it is; what comes again is left out. Empty where it is kept.
    inference
        The column with the id of the inference that a row is of, or with a list of ids of which it tells.
    """

    folder: str
    load: Callable[[bytes], Any]
    table: Callable[[Sequence[Any], TableSchema], Any]
    own: Any
    key: Sequence[str] = ("id",)
    inference: str = "id"

    @property
    def lists(self) -> bool:
        """Whether a row tells of many inferences, and outlives them."""
        return bool(pa.types.is_list(self.own.field(self.inference).type))


_INFERENCES: Final = pa.schema(
    {
        "id": pa.string(),
        "at": _TIME,
        "latency_ms": pa.float64(),
        "rate": pa.float64(),
        "source": pa.string(),
    }
)
_FEEDBACK: Final = pa.schema(
    {
        "id": pa.string(),
        "at": _TIME,
        "kind": pa.string(),
        "truth": pa.string(),
        "truth_number": pa.float64(),
        "source": pa.string(),
    }
)
_FLAGS: Final = pa.schema(
    {"id": pa.string(), "at": _TIME, "inference_id": pa.string(), "draws": _DRAWS, "incident": pa.string()}
)
_LABELS: Final = pa.schema(
    {
        "id": pa.string(),
        "at": _TIME,
        "inference_id": pa.string(),
        "candidate": pa.string(),
        "revision": pa.int64(),
        "answer": pa.string(),
        "answer_number": pa.float64(),
        "verdict": pa.string(),
        "state": pa.string(),
        "annotator": pa.string(),
        "seconds": pa.float64(),
        "annotation": pa.string(),
        "note": pa.string(),
    }
)
_INCIDENTS: Final = pa.schema(
    {
        "id": pa.string(),
        "at": _TIME,
        "state": pa.string(),
        "cause": pa.string(),
        "onset_at": _TIME,
        "onset_event": pa.int64(),
        "raised_event": pa.int64(),
        "statistic": pa.float64(),
        "threshold": pa.float64(),
        "features": pa.list_(_EVIDENCE),
        "samples": pa.list_(pa.string()),
    }
)


def load_envelope(data: bytes) -> Envelope:
    """Read an envelope and look at every byte of it. Raises DecodeError on damage."""
    envelope = decode(data)
    for column in envelope.values():
        _ = column.values
    return envelope


def inference_table(envelopes: Sequence[Envelope], schema: TableSchema | None = None) -> Any:
    """Make a table of every inference: Davy's own columns, and one or more a field, named by the schema."""
    schema = TableSchema() if schema is None else schema
    counts = [envelope.count for envelope in envelopes]
    columns: dict[str, Any] = {
        "id": hex_array(np.concatenate([envelope.ids for envelope in envelopes])),
        "at": pa.array(np.concatenate([envelope.at for envelope in envelopes]), _TIME),
    }
    notes: dict[str, Mapping[bytes, str]] = {}
    beyond: list[tuple[str, Any]] = []
    days = np.concatenate([envelope.at for envelope in envelopes]) // _DAY
    for path in dict.fromkeys(chain.from_iterable(envelopes)):
        parts = [envelope.get(path) for envelope in envelopes]
        home = schema.home(path)
        for kind, array, said in field_columns(parts, counts, days, whole=path == ("seq",), home=home):
            name = schema.name(path, kind, int(days[array.is_valid()].min()))
            if name is None:
                beyond.append((named(path, kind), array))
            else:
                columns[name], notes[name] = array, {**note(name, path, kind), **said}
    if beyond:
        columns[schema.rest()] = _rest(beyond, sum(counts))
    latency = np.concatenate([envelope.latency_ms for envelope in envelopes])
    columns["latency_ms"] = pa.array(latency, mask=np.isnan(latency))
    columns["rate"] = pa.array(np.concatenate([envelope.rate for envelope in envelopes]))
    places = np.repeat(np.arange(len(envelopes), dtype=np.int32), counts)
    columns["source"] = text_array([envelope.source for envelope in envelopes]).take(pa.array(places))
    fields = [pa.field(name, array.type, metadata=notes.get(name)) for name, array in columns.items()]
    return pa.Table.from_arrays(list(columns.values()), schema=pa.schema(fields))


def feedback_table(events: Sequence[Feedback], schema: TableSchema) -> Any:
    """Make a table of feedback; `truth` as text, and as a number where it is one."""
    del schema
    return _rows(
        _FEEDBACK,
        id=[event.id.hex() for event in events],
        at=[event.at for event in events],
        kind=text_array([event.kind for event in events]),
        truth=_texts([event.truth for event in events]),
        truth_number=[_number(event.truth) for event in events],
        source=text_array([event.source for event in events]),
    )


def flag_table(flags: Sequence[Flag], schema: TableSchema) -> Any:
    """Make a table of flags: scores by column, and the draws; the inference itself is found by `inference_id`."""
    table = _rows(
        _FLAGS,
        id=text_array([flag.id for flag in flags]),
        at=[flag.at for flag in flags],
        inference_id=[flag.inference_id.hex() for flag in flags],
        draws=[[asdict(draw) for draw in flag.draws] for flag in flags],
        incident=text_array([flag.incident for flag in flags]),
    )
    for name in dict.fromkeys(chain.from_iterable(flag.scores for flag in flags)):
        scores = pa.array([flag.scores.get(name) for flag in flags], pa.float64())
        path = ("scores", name)
        column = schema.name(path, "number") or named(path, "number")
        field = pa.field(column, scores.type, metadata=note(column, path, "number"))
        table = table.append_column(field, scores)
    return table


def label_table(labels: Sequence[Label], schema: TableSchema) -> Any:
    """Make a table of answers, each revision a row; `answer` as text, and as a number where it is one."""
    del schema
    return _rows(
        _LABELS,
        id=text_array([f"{label.candidate}/{label.revision}" for label in labels]),
        at=[label.at for label in labels],
        inference_id=[label.inference_id.hex() for label in labels],
        candidate=text_array([label.candidate for label in labels]),
        revision=[label.revision for label in labels],
        answer=_texts([label.answer for label in labels]),
        answer_number=[_number(label.answer) for label in labels],
        verdict=text_array([label.verdict for label in labels]),
        state=text_array([label.state for label in labels]),
        annotator=text_array([label.annotator for label in labels]),
        seconds=[label.seconds for label in labels],
        annotation=text_array([label.annotation for label in labels]),
        note=text_array([label.note for label in labels]),
    )


def incident_table(alerts: Sequence[Alert], schema: TableSchema) -> Any:
    """Make a table of what was told of incidents: a row when one opened, went on or ended."""
    del schema
    return _rows(
        _INCIDENTS,
        id=text_array([alert.id for alert in alerts]),
        at=[alert.at for alert in alerts],
        state=text_array([alert.state for alert in alerts]),
        cause=text_array([alert.cause for alert in alerts]),
        onset_at=[alert.onset_at for alert in alerts],
        onset_event=[alert.onset_event for alert in alerts],
        raised_event=[alert.raised_event for alert in alerts],
        statistic=[alert.statistic for alert in alerts],
        threshold=[alert.threshold for alert in alerts],
        features=[[asdict(one) for one in alert.features] for alert in alerts],
        samples=[[sample.hex() for sample in alert.samples] for alert in alerts],
    )


SHELVES: Final[Mapping[str, Shelf]] = {
    INFERENCES: Shelf("inferences", load_envelope, inference_table, _INFERENCES),
    FEEDBACK: Shelf("feedback", lambda data: load(Feedback, data), feedback_table, _FEEDBACK, key=()),
    FLAGS: Shelf("flags", lambda data: load(Flag, data), flag_table, _FLAGS, inference="inference_id"),
    LABELS: Shelf("labels", lambda data: load(Label, data), label_table, _LABELS, inference="inference_id"),
    ALERTS: Shelf(
        "incidents",
        lambda data: load(Alert, data),
        incident_table,
        _INCIDENTS,
        key=("id", "state", "at"),
        inference="samples",
    ),
}


def once(table: Any, key: Sequence[str]) -> Any:
    """Keep the first of the rows that have the same key."""
    if not key:
        return table
    codes = np.zeros(table.num_rows, np.int64)
    for name in key:
        codes = codes * table.num_rows + table[name].combine_chunks().dictionary_encode().indices.to_numpy()
    first = np.unique(codes, return_index=True)[1]
    return table if len(first) == len(codes) else table.take(pa.array(first))


def by_day(table: Any, own: Any = _INFERENCES) -> Iterator[tuple[str, Any]]:
    """Split a table by the day of ``at``, UTC; a day has the columns that it would have alone."""
    days = table["at"].cast(pa.int64()).to_numpy() // _DAY
    different = np.unique(days)
    for day in different:
        part = table if len(different) == 1 else _alone(table.filter(pa.array(days == day)), own)
        yield str(np.datetime64(int(day), "D")), part


def folder_of(model: str) -> str:
    """Name a model's folder: readers of Hive-style folders decode it to the model's own name.

    Examples
    --------
    >>> folder_of("fraud:3")
    'model=fraud%3A3'
    """
    return f"model={file_name(model)}"


def to_parquet(table: Any, *, model: str) -> bytes:
    """Return the bytes of a Parquet file; equal tables give equal bytes.

    Doubles that hardly repeat are written byte stream by byte stream, so that those which were of single precision take
    no more room than before; all else is written as a dictionary.
    """
    sink = pa.BufferOutputStream()
    metadata = {**(table.schema.metadata or {}), _MODEL: model}
    leaves = [leaf for field in table.schema for leaf in _leaves(field.name, field.type)]
    streams = {leaf for name in table.column_names for leaf in _streams(name, table[name])}
    parquet.write_table(
        table.replace_schema_metadata(metadata),
        sink,
        compression="zstd",
        use_dictionary=[leaf for leaf in leaves if leaf not in streams],
        use_byte_stream_split=sorted(streams),
        row_group_size=_group(table),
    )
    return bytes(sink.getvalue())


def model_of(table: Any) -> str:
    """Return the model that `to_parquet` was told of a table that was read from its file."""
    return str(table.schema.metadata[_MODEL].decode())


def _leaves(name: str, type: Any) -> Iterator[str]:
    """Yield the names that Parquet gives to the parts of a column."""
    if pa.types.is_list(type):
        yield from _leaves(f"{name}.list.element", type.value_type)
    elif pa.types.is_struct(type):
        for part in type:
            yield from _leaves(f"{name}.{part.name}", part.type)
    else:
        yield name


def _group(table: Any) -> int:
    """Return how many rows are written at once, so that the writer's own memory stays a part of the table's."""
    lists = [column for column in table.columns if pa.types.is_list(column.type)]
    lengths = (compute.sum(compute.list_value_length(column)).as_py() for column in lists)
    longest, rows = int(max([1, *filter(None, lengths)])), int(table.num_rows)
    return max(1, _VALUES * rows // longest)


def _streams(name: str, column: Any) -> Iterator[str]:
    """Yield the part of a column that holds doubles most of which are different, by its first values."""
    if column.type == pa.float64():
        seen = column.slice(0, _SEEN)
    elif column.type == pa.list_(pa.float64()):
        seen = compute.list_flatten(column.slice(0, _SEEN // 64)).slice(0, _SEEN)
    else:
        return
    if 2 * compute.count_distinct(seen).as_py() > len(seen) - seen.null_count:
        yield from _leaves(name, column.type)


def _alone(table: Any, own: Any) -> Any:
    """Return a part of a table without what it owes to the other parts: columns of nulls, and shapes that differ."""
    empty = [field.name for field in table.schema if table[field.name].null_count == table.num_rows]
    table = table.drop_columns([name for name in empty if name not in own.names])
    shapes = {}
    for field in table.schema:
        said = field.metadata or {}
        shape = folded(table[field.name]) if said.get(KIND) == b"shape" else None
        if shape is not None:
            shapes[said[FIELD].decode()] = shape
            table = table.drop_columns(field.name)
    fields = []
    for field in table.schema:
        said = field.metadata or {}
        shape = shapes.get(said.get(FIELD, field.name.encode()).decode())
        lists = shape is not None and field.type in LISTS
        fields.append(field.with_metadata({**said, SHAPE: shape}) if lists else field)
    return table.cast(pa.schema(fields, table.schema.metadata))


def _rows(schema: Any, **columns: Any) -> Any:
    return pa.table(columns, schema=schema)


def _rest(columns: Sequence[tuple[str, Any]], count: int) -> Any:
    """Return the values of columns, row by row, as JSON; of two with one name the later is the more exact."""
    rows: list[dict[str, Any]] = [{} for _ in range(count)]
    for name, array in columns:
        for row, value in zip(rows, array.to_pylist(), strict=True):
            if value is not None:
                row[name] = value
    return text_array([as_text(row) if row else None for row in rows])


def _texts(values: Sequence[Any]) -> Any:
    return text_array([None if value is None else as_text(value) for value in values])


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (bool, int, float)) else None
