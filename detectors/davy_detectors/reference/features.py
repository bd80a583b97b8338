"""What is monitored about an inference: named streams of numbers and of categories."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from davy.event import Array, Column
from davy.fields.measures import COMPONENTS, about_of
from davy.fields.reading import categories, clocks, numbers, rows_of, texts, times, vectors
from davy_detectors.batch import Batch, Floats
from davy_detectors.reference import summaries
from davy_detectors.reference.schema import DAY, LABEL, Field, Schema

Kind = Literal["numeric", "categorical"]
CATEGORIES: Final = 30
_TINY: Final = 1e-300


@dataclass(frozen=True, slots=True)
class Feature:
    """One monitored stream of a batch.

    `values` is float64 for a numeric feature, NaN where the inference has no value, infinite where it has one that is
    no finite number; anything hashable for a categorical one, None where there is no value. Shape ``(n,)``. `missing`,
    when given, is true where the inference had no value, whatever stands there.
    """

    kind: Kind
    values: Array
    missing: NDArray[np.bool_] | None = None


def features(batch: Batch, schema: Schema | None = None) -> dict[str, Feature]:
    """Return what is monitored about `batch`, by name.

    Parameters
    ----------
    batch
        Inferences of one model.
    schema
        What the fields of a fitted reference are: live columns are read as that, however they came, and fields that
        the batch lacks give nothing. Without it the batch is itself the reference and decides.

    Notes
    -----
    docs/fields.md has the table of what becomes of which field. Tags, alternatives, groups and embeddings are not
    features; see `Reference` for the embedding's typicality.

    Examples
    --------
    >>> batch = Batch.from_columns("iris:1", {"sepal": [5.1, 4.9], "outputs.probs": [[0.9, 0.1], [0.2, 0.8]]})
    >>> list(features(batch))
    ['inputs.sepal', 'outputs.confidence', 'outputs.entropy', 'outputs.label']
    """
    if schema is None:
        schema = Schema.decide(batch).learn(batch, seed=0)
    found: dict[str, Feature] = {}
    if len(batch) == 0:
        return found
    for name, field in schema.fields.items():
        column = batch.fields.get(field.path)
        if column is None and field.path == LABEL:
            column = _likeliest(batch, schema)
        if column is not None:
            found.update(_STREAMS[field.kind.form](name, field, column, batch))
    if any(path[0] == "outputs" for path in schema.widths):
        found.update(_of_probs(batch, schema))
    return found


def entropy(probs: Floats) -> Floats:
    """Return the Shannon entropy of each row, in nats, shape ``(n,)``."""
    with np.errstate(invalid="ignore"):
        result: Floats = -np.einsum("ij,ij->i", probs, np.log(np.maximum(probs, _TINY)))
    return result


Streams = Iterator[tuple[str, Feature]]


def _number(name: str, _field: Field, column: Column, _batch: Batch) -> Streams:
    yield name, Feature("numeric", numbers(column))


def _category(name: str, field: Field, column: Column, _batch: Batch) -> Streams:
    yield from _lengths(name, field, column)
    yield name, Feature("categorical", categories(column, field.kind.codes))


def _time(name: str, field: Field, column: Column, batch: Batch) -> Streams:
    moments = times(column)
    if field.age == DAY:
        moments = np.floor(batch.at * 1e-9 / DAY) * DAY - moments
    elif field.age:
        moments = np.round((batch.at * 1e-9 - moments) / field.age) * field.age
    yield name, Feature("numeric", moments)


def _clock(name: str, _field: Field, column: Column, _batch: Batch) -> Streams:
    yield name, Feature("numeric", clocks(column))


def _text(name: str, field: Field, column: Column, _batch: Batch) -> Streams:
    yield from _lengths(name, field, column)
    if field.texts is None:
        return
    read = field.texts.features(texts(column, empty=field.path[0] == "outputs"))
    for key, kind in field.texts.streams:
        yield f"{name}.{key}", Feature(kind, read[key])


def _identifier(name: str, field: Field, column: Column, _batch: Batch) -> Streams:
    read = texts(column, empty=field.path[0] == "outputs")
    lengths = (np.nan if text is None else len(text) for text in read)
    yield f"{name}.length", Feature("numeric", np.fromiter(lengths, np.float64, len(read)))


def _vector(name: str, field: Field, column: Column, _batch: Batch) -> Streams:
    width = field.kind.width
    if field.path[0] != "inputs" or width > COMPONENTS:
        for key, summary in summaries.of_vectors(column).items():
            yield f"{name}.{key}", Feature("numeric", summary)
        return
    matrix = vectors(column, width)
    if matrix is None:  # a width is given, so there is one
        return
    rows = np.ascontiguousarray(matrix.T, dtype=np.float64)
    if column.values.dtype == object or column.values[:1].size != width:
        other = np.isnan(rows).all(axis=0) & ~_absent(column)
        rows[:, other] = np.inf
        for place, value in enumerate(rows_of(column) if column.values.dtype == object else ()):
            parts = (about_of(value) or {}).get("parts", ())
            if len(parts) == width:
                rows[:, place] = parts
    for i, component in enumerate(rows):
        yield f"{name}[{i}]", Feature("numeric", component)


def _rows(name: str, field: Field, column: Column, _batch: Batch) -> Streams:
    for key, summary in summaries.of_rows(column, field.kind.width, corners=field.corners).items():
        yield f"{name}{key}", Feature("numeric", summary)


def _summarised(
    summary: Callable[[Column], Mapping[str, Floats]],
) -> Callable[[str, Field, Column, Batch], Streams]:
    def streams(name: str, _field: Field, column: Column, _batch: Batch) -> Streams:
        for key, values in summary(column).items():
            yield f"{name}.{key}", Feature("numeric", values)

    return streams


def _bytes(name: str, _field: Field, column: Column, _batch: Batch) -> Streams:
    yield f"{name}.length", Feature("numeric", summaries.lengths(column))


def _places(name: str, field: Field, column: Column, batch: Batch) -> Streams:
    read = batch.dense(field.path)
    for key, values in summaries.of_places_read(read, column, field.classes).items():
        yield f"{name}.{key}", Feature("numeric", values)


_STREAMS: Final[Mapping[str, Callable[[str, Field, Column, Batch], Streams]]] = {
    "number": _number,
    "category": _category,
    "time": _time,
    "clock": _clock,
    "text": _text,
    "identifier": _identifier,
    "vector": _vector,
    "rows": _rows,
    "ragged": _summarised(summaries.of_ragged),
    "nested": _summarised(summaries.of_nested),
    "image": _summarised(summaries.of_images),
    "tensor": _summarised(summaries.of_vectors),
    "bytes": _bytes,
    "encoded": _summarised(summaries.of_encoded_images),
    "places": _places,
}


def _lengths(name: str, field: Field, column: Column) -> Streams:
    if field.kind.listed:
        yield f"{name}.length", Feature("numeric", summaries.lengths(column))


def _absent(column: Column) -> NDArray[np.bool_]:
    rows = rows_of(column)
    return np.fromiter((row is None for row in rows), bool, len(rows))


def _of_probs(batch: Batch, schema: Schema) -> dict[str, Feature]:
    probs = batch.probs
    if probs is None:
        return {}
    found = {
        "outputs.confidence": Feature("numeric", probs.max(axis=1)),
        "outputs.entropy": Feature("numeric", entropy(probs)),
    }
    if ".".join(LABEL) not in schema.fields:
        label = _likeliest(batch, schema)
        if label is not None:
            names = categories(label, "" if schema.class_names else "number")
            found["outputs.label"] = Feature("categorical", names)
    return found


def _likeliest(batch: Batch, schema: Schema) -> Column | None:
    """Return the likeliest class by name, or by number where the reference knew no names."""
    probs = batch.probs
    if probs is None:
        return None
    codes: Array = np.where(np.isnan(probs), -np.inf, probs).argmax(axis=1)
    names = (batch.class_names or schema.class_names) if _is_named(schema) else ()
    values: Array = codes
    if len(names) == probs.shape[1]:
        values = np.array(names, object)[codes]
    missing = np.asarray(np.isnan(probs).all(axis=1))
    return Column(values, missing if missing.any() else None)


def _is_named(schema: Schema) -> bool:
    return bool(schema.class_names) or ".".join(LABEL) in schema.fields
