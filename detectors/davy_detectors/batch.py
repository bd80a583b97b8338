"""Columns of inferences of one model, as numpy arrays: what every detector computes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from davy.errors import ReferenceInvalid
from davy.event import Array, Column, Envelope, Path
from davy.fields.fitting import is_dense
from davy.fields.places import of_dense
from davy.fields.reading import array_of, vectors
from davy.outputs import find

Floats = NDArray[np.float64]

_SECTIONS: Final = ("inputs", "outputs", "tags")
_WHOLE: Final = ("embedding", "group", "seq")
_OF_CLASSES: Final = ("probs", "logits")
_ABSENT: Final = Column(np.empty(0))


class Batch:
    """Inferences of one model, by column; a read-only value.

    Attributes
    ----------
    model
        ``"name:version"``.
    ids
        Shape ``(n,)``, dtype ``V16``.
    at
        Event times, nanoseconds since the epoch, shape ``(n,)``, int64.
    latency_ms
        Shape ``(n,)``, float64, NaN where not measured.
    rate
        Sampling rate in force, shape ``(n,)``, float64.
    fields
        Every captured field by its path.
    unread
        Why a column of a file was left out, by name.

    Examples
    --------
    >>> batch = Batch.from_columns("iris:1", {"sepal": [5.1, 4.9], "outputs.probs": [[0.9, 0.1], [0.2, 0.8]]})
    >>> len(batch), batch.probs.argmax(axis=1).tolist()
    (2, [0, 1])
    """

    def __init__(
        self,
        model: str,
        *,
        ids: Array,
        at: NDArray[np.int64],
        latency_ms: Floats,
        rate: Floats,
        fields: Mapping[Path, Column],
        unread: Mapping[str, str] | None = None,
    ) -> None:
        self.model = model
        self.ids = ids
        self.at = at
        self.latency_ms = latency_ms
        self.rate = rate
        self.fields = fields
        self.unread = unread or {}
        self._is_logits = False
        self._dense: dict[Path, list[Mapping[str, Any] | None]] = {}

    @classmethod
    def of(cls, envelope: Envelope) -> Self:
        """Make a batch of an envelope; nothing is copied."""
        return cls(
            envelope.model,
            ids=envelope.ids,
            at=envelope.at,
            latency_ms=envelope.latency_ms,
            rate=envelope.rate,
            fields=dict(envelope),
        )

    @classmethod
    def concat(cls, batches: Sequence[Batch]) -> Self:
        """Join batches of one model, in order; a field that some of them lack is missing there.

        A field that changes its shape or its kind between batches becomes an array of objects.
        """
        first = batches[0]
        sizes = [len(batch) for batch in batches]
        paths = dict.fromkeys(path for batch in batches for path in batch.fields)
        return cls(
            first.model,
            ids=np.concatenate([batch.ids for batch in batches]),
            at=np.concatenate([batch.at for batch in batches]),
            latency_ms=np.concatenate([batch.latency_ms for batch in batches]),
            rate=np.concatenate([batch.rate for batch in batches]),
            fields={path: _join([b.fields.get(path, _ABSENT) for b in batches], sizes) for path in paths},
        )

    @classmethod
    def from_columns(
        cls,
        model: str,
        columns: Mapping[str, Any],
        *,
        ids: Array | None = None,
        at: NDArray[np.int64] | None = None,
        unread: Mapping[str, str] | None = None,
    ) -> Self:
        """Make a batch of named columns, as a reference file holds them.

        Parameters
        ----------
        model
            ``"name:version"``.
        columns
            Arrays with the inferences along the first axis, by name: ``inputs.age``, ``outputs.probs``,
            ``embedding``, ``outputs.label``, ``tags.country``, ``alternatives.<model>.probs``. A name without
            a known section is an input. ``None`` in an object array means missing.
        ids, at
            Numbered from zero and time zero by default.
        unread
            Why columns of the file were left out, by name.

        Raises
        ------
        ReferenceInvalid
            There is no column, or columns differ in length.
        """
        arrays = {path_of(name): _as_column(values) for name, values in columns.items()}
        count = len(next(iter(arrays.values())).values) if arrays else 0
        if not arrays:
            raise ReferenceInvalid("columns", [], "give at least one column")
        for path, column in arrays.items():
            if len(column.values) != count:
                raise ReferenceInvalid(
                    ".".join(path),
                    len(column.values),
                    f"give {count} values, as many as the other columns have",
                )
        latency = arrays.pop(("latency_ms",), None)
        rate = arrays.pop(("rate",), None)
        return cls(
            model,
            ids=_numbered(count) if ids is None else ids,
            at=np.zeros(count, np.int64) if at is None else at,
            latency_ms=np.full(count, np.nan) if latency is None else latency.values.astype(np.float64),
            rate=np.ones(count) if rate is None else rate.values.astype(np.float64),
            fields=arrays,
            unread=unread,
        )

    def take(self, rows: Sequence[int] | NDArray[Any] | slice) -> Batch:
        """Return a batch of only these rows (numbers, a boolean mask or a slice), in this order."""
        index = rows if isinstance(rows, slice) else np.asarray(rows)
        if not isinstance(index, slice) and index.dtype != bool:
            index = index.astype(np.intp)
        return Batch(
            self.model,
            ids=self.ids[index],
            at=self.at[index],
            latency_ms=self.latency_ms[index],
            rate=self.rate[index],
            fields={path: _pick(column, index) for path, column in self.fields.items()},
            unread=self.unread,
        )

    def replaced(self, fields: Mapping[Path, Column]) -> Batch:
        """Return the same inferences with some fields replaced."""
        return Batch(
            self.model,
            ids=self.ids,
            at=self.at,
            latency_ms=self.latency_ms,
            rate=self.rate,
            fields={**self.fields, **fields},
            unread=self.unread,
        )

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def probs(self) -> Floats | None:
        """Class probabilities, shape ``(n, classes)``, NaN in rows that have none.

        Those of the output that is called so, as `davy.outputs.find` knows, else the softmax of the logits; None when
        the model gives neither.
        """
        found = self._matrix(*self.of_classes) if self.of_classes else None
        if found is None:
            return None
        return softmax(found) if self._is_logits else found.astype(np.float64, copy=False)

    @cached_property
    def of_classes(self) -> Path:
        """Where the probabilities or logits of classes sit; empty where there are none.

        Of one column nothing can be told of classes: that is a number like any other, as a cross-encoder or a reward
        model answers. What the model calls by a name of its own must be arrays of one shape.
        """
        names = [path[1] for path in self.fields if path[0] == "outputs" and len(path) == 2]
        for meaning in _OF_CLASSES:
            name = find(names, meaning)
            own = name not in _OF_CLASSES
            if name and not (own and self.fields["outputs", name].values.dtype == object):
                matrix = self._matrix("outputs", name)
                if matrix is not None and matrix.shape[1] > 1:
                    self._is_logits = meaning == "logits"
                    return "outputs", name
        return ()

    def dense(self, path: Path) -> list[Mapping[str, Any] | None]:
        """Return what is said of the dense answers of a field, one an inference; None where there is none.

        See `davy.fields.places.of_places`; worked out once, for features and scorers.
        """
        found = self._dense.get(path)
        if found is None:
            found = self._dense[path] = of_dense(path, self.fields[path])
        return found

    @cached_property
    def sureness(self) -> Mapping[str, Floats] | None:
        """How sure the model was over all places of its dense answers: confidence, entropy and margin, shape ``(n,)``.

        Of the first output that is scores of classes at many places; NaN in rows that have none, None when there is no
        such output.
        """
        for path, column in self.fields.items():
            if path[0] == "outputs" and is_dense(path, column):
                read = self.dense(path)
                if any(each is not None and "entropy" in each for each in read):
                    return {
                        name: np.array([np.nan if each is None else each.get(name, np.nan) for each in read])
                        for name in ("confidence", "entropy", "margin")
                    }
        return None

    @cached_property
    def embedding(self) -> NDArray[np.floating[Any]] | None:
        """Embeddings, shape ``(n, dimensions)``, NaN in rows that have none; None when there are none."""
        return self._matrix("embedding")

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """What the columns of the probabilities are called; empty where nobody said."""
        column = self.fields.get(("outputs", "class_names"))
        if column is None or not column.present.any():
            return ()
        names = column.values[int(column.present.argmax())]
        return tuple(map(str, names)) if isinstance(names, (list, tuple, np.ndarray)) else ()

    @cached_property
    def label(self) -> Array | None:
        """Predicted labels, shape ``(n,)``: ``outputs.label``, else the likeliest class; None when neither is there.

        The likeliest class is given by name where names are known, else by number.
        """
        column = self.fields.get(("outputs", "label"))
        if column is not None and column.values.ndim == 1:
            return column.values
        if self.probs is None:
            return None
        likeliest: Array = np.where(np.isnan(self.probs), -np.inf, self.probs).argmax(axis=1)
        if len(self.class_names) == self.probs.shape[1]:
            likeliest = np.array(self.class_names, object)[likeliest]
        return likeliest

    def _matrix(self, *path: str) -> NDArray[np.floating[Any]] | None:
        column = self.fields.get(path)
        return None if column is None else vectors(column)


def softmax(logits: NDArray[np.floating[Any]]) -> Floats:
    """Return the probabilities of logits, row by row; NaN or infinite rows stay NaN."""
    logits = logits.astype(np.float64, copy=False)
    finite = np.isfinite(logits).all(axis=1, keepdims=True)
    safe = np.where(finite, logits, 0.0)
    exponent = np.exp(safe - safe.max(axis=1, keepdims=True))
    result: Floats = np.where(finite, exponent / exponent.sum(axis=1, keepdims=True), np.nan)
    return result


def path_of(name: str) -> Path:
    """Read a column name of a reference file.

    Examples
    --------
    >>> path_of("outputs.probs"), path_of("age"), path_of("alternatives.digits:1.5.probs")
    (('outputs', 'probs'), ('inputs', 'age'), ('alternatives', 'digits:1.5', 'probs'))
    """
    section, _, rest = name.partition(".")
    if name in _WHOLE or name in {"latency_ms", "rate"}:
        return (name,)
    if rest and section in _SECTIONS:
        return (section, rest)
    if section == "alternatives" and "." in rest:
        other, _, key = rest.rpartition(".")
        return (section, other, key)
    return ("inputs", name)


def _numbered(count: int) -> Array:
    ids = np.zeros((count, 2), ">u8")
    ids[:, 1] = np.arange(count)
    return ids.view("V16")[:, 0]


def _as_column(values: Any) -> Column:
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        return Column(values)
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        missing = np.isnat(values)
        return Column(values, missing if missing.any() else None)
    rows = list(values)
    missing = np.fromiter((row is None for row in rows), bool, len(rows))
    column = Column(_stack([row for row in rows if row is not None], missing), missing)
    return column if missing.any() else Column(column.values)


def _stack(present: list[Any], missing: NDArray[np.bool_]) -> Array:
    """Spread values over the rows that are not missing: one array when all agree in shape and kind, else objects."""
    items = [_item(value) for value in present]
    shapes = {None if isinstance(v, (str, bytes, list, tuple)) else np.shape(v) for v in items}
    if len(shapes) == 1 and None not in shapes and all(np.asarray(v).dtype.kind in "biuf" for v in items):
        stacked = np.stack([np.asarray(v) for v in items])
        filled: Array = np.zeros((len(missing), *stacked.shape[1:]), stacked.dtype)
        filled[~missing] = stacked
        return filled
    objects = np.empty(len(missing), dtype=object)
    for row, value in zip(np.flatnonzero(~missing), items, strict=True):
        objects[row] = value.item() if isinstance(value, np.generic) else value
    return objects


def _item(value: Any) -> Any:
    """Return a list of numbers as an array, any other value as it is."""
    found = array_of(value) if isinstance(value, (list, tuple)) else None
    return value if found is None else found


def _pick(column: Column, index: Any) -> Column:
    missing = None if column.missing is None else column.missing[index]
    return Column(lambda: column.values[index], missing)


def _join(columns: Sequence[Column], sizes: Sequence[int]) -> Column:
    lazy: Callable[[], Array] = partial(_join_values, columns, sizes)
    if all(column.missing is None and column is not _ABSENT for column in columns):
        return Column(partial(_join_whole, columns, lazy))
    missing = np.concatenate(
        [
            np.ones(size, bool) if column is _ABSENT else ~column.present
            for column, size in zip(columns, sizes, strict=True)
        ]
    )
    return Column(lazy, missing if missing.any() else None)


def _join_whole(columns: Sequence[Column], otherwise: Callable[[], Array]) -> Array:
    """Join columns in which nothing is missing: in one go when they agree, as envelopes of one app do."""
    found = [column.values for column in columns]
    kinds = {(values.dtype, values.shape[1:]) for values in found}
    return np.concatenate(found) if len(kinds) == 1 and found[0].dtype != object else otherwise()


def _join_values(columns: Sequence[Column], sizes: Sequence[int]) -> Array:
    full = [column.values for column in columns if column is not _ABSENT and column.present.any()]
    if not full:
        return np.empty(sum(sizes), dtype=object)
    regular = all(values.dtype != object and values.shape[1:] == full[0].shape[1:] for values in full)
    shape = full[0].shape[1:] if regular else ()
    dtype = np.result_type(*full) if regular else np.dtype(object)
    joined: Array = np.zeros((sum(sizes), *shape), dtype)
    if not regular:
        joined[:] = None
    start = 0
    for column, size in zip(columns, sizes, strict=True):
        if column is not _ABSENT and column.present.any():
            _write(joined, start, column.values)
        start += size
    return joined


def _write(joined: Array, start: int, values: Array) -> None:
    stop = start + len(values)
    if joined.dtype == object and values.ndim > 1:
        for row, value in enumerate(values, start=start):
            joined[row] = value
    elif joined.dtype == object and values.dtype != object:
        joined[start:stop] = values.tolist()
    else:
        joined[start:stop] = values
