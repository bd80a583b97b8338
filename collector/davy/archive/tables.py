"""Log records of a topic to Arrow tables and Parquet files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any, Final
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from davy.archive.columns import arrow_columns, as_text, hex_array, text_array
from davy.codec import decode, load
from davy.event import FEEDBACK, FLAGS, INFERENCES, Envelope, Feedback, Flag

_DAY: Final = 86_400 * 10**9
_TIME: Final = pa.timestamp("ns", tz="UTC")
_DRAWS: Final = pa.list_(pa.struct({"arm": pa.string(), "probability": pa.float64(), "score": pa.float64()}))
_MODEL: Final = b"davy.model"
_NAME_BYTES: Final = 200
_NO_MODEL: Final = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, slots=True)
class Shelf:
    """How records of one topic are kept.

    `load` reads one record and raises DecodeError; what it gives has a `model`. `table` makes one table of many of
    them, of one model, with at least the columns ``id`` and ``at``. `unique` says that an id stands for one row, and
    `inference` names the column with the id of the inference that a row is of.
    """

    folder: str
    load: Callable[[bytes], Any]
    table: Callable[[Sequence[Any]], Any]
    unique: bool = True
    inference: str = "id"


def load_envelope(data: bytes) -> Envelope:
    """Read an envelope and look at every byte of it. Raises DecodeError on damage."""
    envelope = decode(data)
    for column in envelope.values():
        _ = column.values
    return envelope


def inference_table(envelopes: Sequence[Envelope]) -> Any:
    """Make a table of every inference: ``id``, ``at``, a column or more a field, and the columns of Davy's own."""
    counts = [envelope.count for envelope in envelopes]
    columns: dict[str, Any] = {
        "id": hex_array(np.concatenate([envelope.ids for envelope in envelopes])),
        "at": pa.array(np.concatenate([envelope.at for envelope in envelopes]), _TIME),
    }
    notes: dict[str, Mapping[str, str]] = {}
    for path in dict.fromkeys(chain.from_iterable(envelopes)):
        parts = [envelope.get(path) for envelope in envelopes]
        for suffix, array, note in arrow_columns(parts, counts, whole=path == ("seq",)):
            name = f"{'.'.join(path)}{suffix}"
            while name in columns:  # ("a.b", "c") beside ("a", "b.c")
                name += "_"
            columns[name], notes[name] = array, note
    latency = np.concatenate([envelope.latency_ms for envelope in envelopes])
    columns["latency_ms"] = pa.array(latency, mask=np.isnan(latency))
    columns["rate"] = pa.array(np.concatenate([envelope.rate for envelope in envelopes]))
    places = np.repeat(np.arange(len(envelopes), dtype=np.int32), counts)
    columns["source"] = text_array([envelope.source for envelope in envelopes]).take(pa.array(places))
    fields = [pa.field(name, array.type, metadata=notes.get(name)) for name, array in columns.items()]
    return pa.Table.from_arrays(list(columns.values()), schema=pa.schema(fields))


def feedback_table(events: Sequence[Feedback]) -> Any:
    """Make a table of feedback; `truth` as text, and as a number where it is one."""
    return pa.table(
        {
            "id": [event.id.hex() for event in events],
            "at": pa.array([event.at for event in events], _TIME),
            "kind": text_array([event.kind for event in events]),
            "truth": text_array([None if event.truth is None else as_text(event.truth) for event in events]),
            "truth_number": pa.array([_number(event.truth) for event in events], pa.float64()),
            "source": text_array([event.source for event in events]),
        }
    )


def flag_table(flags: Sequence[Flag]) -> Any:
    """Make a table of flags: scores by column, and the draws; the inference itself is found by `inference_id`."""
    names = dict.fromkeys(chain.from_iterable(flag.scores for flag in flags))
    scores = {
        f"scores.{name}": pa.array([flag.scores.get(name) for flag in flags], pa.float64()) for name in names
    }
    return pa.table(
        {
            "id": text_array([flag.id for flag in flags]),
            "at": pa.array([flag.at for flag in flags], _TIME),
            "inference_id": [flag.inference_id.hex() for flag in flags],
            **scores,
            "draws": pa.array([[asdict(draw) for draw in flag.draws] for flag in flags], _DRAWS),
            "incident": text_array([flag.incident for flag in flags]),
        }
    )


SHELVES: Final[Mapping[str, Shelf]] = {
    INFERENCES: Shelf("inferences", load_envelope, inference_table),
    FEEDBACK: Shelf("feedback", lambda data: load(Feedback, data), feedback_table, unique=False),
    FLAGS: Shelf("flags", lambda data: load(Flag, data), flag_table, inference="inference_id"),
}


def once(table: Any) -> Any:
    """Keep the first row of every id."""
    codes = table["id"].combine_chunks().dictionary_encode().indices.to_numpy()
    first = np.unique(codes, return_index=True)[1]
    return table if len(first) == len(codes) else table.take(pa.array(first))


def by_day(table: Any) -> Iterator[tuple[str, Any]]:
    """Split a table by the day of ``at``, UTC."""
    days = table["at"].cast(pa.int64()).to_numpy() // _DAY
    different = np.unique(days)
    for day in different:
        part = table if len(different) == 1 else table.filter(pa.array(days == day))
        yield str(np.datetime64(int(day), "D")), part


def folder_of(model: str) -> str:
    """Name a model's folder: readers of Hive-style folders decode it to the model's own name.

    Examples
    --------
    >>> folder_of("fraud:3")
    'model=fraud%3A3'
    """
    name = quote(model, safe="")
    if len(name) > _NAME_BYTES:  # file systems take 255 bytes
        from hashlib import blake2b

        digest = blake2b(model.encode(), digest_size=8).hexdigest()
        name = f"{name[:_NAME_BYTES].rpartition('%')[0] or name[:_NAME_BYTES]}~{digest}"
    return f"model={name or _NO_MODEL}"


def to_parquet(table: Any, *, model: str) -> bytes:
    """Return the bytes of a Parquet file; equal tables give equal bytes."""
    sink = pa.BufferOutputStream()
    metadata = {**(table.schema.metadata or {}), _MODEL: model}
    parquet.write_table(table.replace_schema_metadata(metadata), sink, compression="zstd")
    return bytes(sink.getvalue())


def model_of(table: Any) -> str:
    """Return the model that `to_parquet` was told of a table that was read from its file."""
    return str(table.schema.metadata[_MODEL].decode())


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (bool, int, float)) else None
