"""The caller's side: an inference, or a batch of them, to a chunk of bytes."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from davy.codec._kinds import SCALARS, Kind, blank, dumper, kind_of, widen
from davy.errors import InvalidInference
from davy.event import Array, Path

SYSTEM: Final = np.dtype([("id", "V16"), ("at", "<i8"), ("latency_ms", "<f8"), ("rate", "<f8")])
_SYSTEM_CODES: Final = "16sqdd"
_NAN: Final = float("nan")
_LAYOUTS: Final = 1024
_FIELDS: Final = 4096
_NOTHING: Final[Mapping[str, Any]] = {}
_UNFIT: Final = (struct.error, AttributeError, TypeError, ValueError, OverflowError)
_BLANKS: Final[Mapping[str, Any]] = {"BOOL": False, "INT64": 0, "FP64": _NAN}


class Layout:
    """The fields of an envelope and how each is kept; made by `Encoder`."""

    __slots__ = ("flags", "kinds", "model", "others", "pack_row", "paths", "scalars", "width")

    def __init__(self, model: str, paths: tuple[Path, ...], kinds: tuple[Kind, ...]) -> None:
        self.model = model
        self.paths = paths
        self.kinds = kinds
        self.scalars = [i for i, kind in enumerate(kinds) if kind.scalar]
        self.flags = [i for i in self.scalars if kinds[i].dtype == "BOOL"]
        self.others = [(i, dumper(kind)) for i, kind in enumerate(kinds) if not kind.scalar]
        codes = "".join(SCALARS[kinds[i].dtype] for i in self.scalars)
        row = struct.Struct(f"<{_SYSTEM_CODES}{codes}")
        self.pack_row = row.pack
        self.width = row.size


class Chunk:
    """One or more encoded inferences: immutable, so the caller's arrays may change right after.

    `parts` are the fixed-width records (system columns and scalars) and then one part for every other field.
    `sizes` gives, for a batch, the byte length of every value of a field of variable size. `missing` lists
    (row, field). `size` is the number of bytes held: what a queue's byte bound counts.
    """

    __slots__ = ("count", "layout", "missing", "parts", "size", "sizes")

    def __init__(
        self,
        layout: Layout,
        count: int,
        parts: list[bytes],
        missing: Sequence[tuple[int, int]] = (),
        sizes: Mapping[int, Sequence[int]] = _NOTHING,  # type: ignore[assignment]
    ) -> None:
        self.layout = layout
        self.count = count
        self.parts = parts
        self.missing = missing
        self.sizes = sizes
        self.size = sum(map(len, parts))


class Encoder:
    """Encodes on the caller's thread; remembers one layout per model and set of field names.

    Safe to share between threads: the memory is a dict whose entries are replaced whole, and two threads that
    widen at once only cost an extra envelope.

    Examples
    --------
    >>> from davy.codec import decode, pack
    >>> chunk = Encoder().encode("iris:1", bytes(16), 7, {"sepal": 5.1}, {"label": "setosa"})
    >>> decode(pack([chunk])).inference(0).outputs
    {'label': 'setosa'}
    """

    __slots__ = ("_layouts",)

    def __init__(self) -> None:
        self._layouts: dict[Any, Layout] = {}

    def encode(
        self,
        model: str,
        id: bytes,
        at: int,
        inputs: Mapping[str, Any],
        outputs: Mapping[str, Any],
        *,
        embedding: Any = None,
        tags: Mapping[str, Any] = _NOTHING,
        group: str | None = None,
        seq: int | None = None,
        alternatives: Mapping[str, Mapping[str, Any]] = _NOTHING,
        latency_ms: float = _NAN,
        rate: float = 1.0,
    ) -> Chunk:
        """Encode one inference.

        Raises
        ------
        InvalidInference
            Names the field that cannot travel, what it holds and what would.
        """
        values = [*inputs.values(), *outputs.values()]
        key: Any = (model, tuple(inputs), tuple(outputs))
        if embedding is not None or tags or group is not None or seq is not None or alternatives:
            extra = _extra(embedding, tags, group, seq, alternatives)
            values.extend(extra.values())
            key = (*key, tuple(extra))
        layout = self._layouts.get(key)
        if layout is not None:
            try:
                if layout.flags and not all(type(values[i]) is bool for i in layout.flags):
                    raise TypeError
                if not layout.others:
                    return Chunk(layout, 1, [layout.pack_row(id, at, latency_ms, rate, *values)])
                fixed = layout.pack_row(id, at, latency_ms, rate, *[values[i] for i in layout.scalars])
                return Chunk(layout, 1, [fixed, *[dump(values[i]) for i, dump in layout.others]])
            except _UNFIT:
                pass  # another kind, or a missing value: the slow path finds out which
        return self._encode_slowly(key, layout, values, (id, at, latency_ms, rate))

    def encode_batch(
        self,
        model: str,
        ids: bytes,
        at: int,
        inputs: Mapping[str, Array],
        outputs: Mapping[str, Array],
        *,
        embedding: Array | None = None,
        latency_ms: float = _NAN,
        rate: float = 1.0,
    ) -> Chunk:
        """Encode `n` inferences made at once: `ids` holds ``16 * n`` bytes, every array has first axis `n`.

        Raises
        ------
        InvalidInference
            A field has another length, or values that cannot travel.
        """
        count = len(ids) // 16
        if count == 0 or len(ids) % 16:
            raise InvalidInference("ids", len(ids), "give 16 bytes an inference, for at least one")
        fields: dict[Path, Array] = {("inputs", name): np.asarray(v) for name, v in inputs.items()}
        fields |= {("outputs", name): np.asarray(v) for name, v in outputs.items()}
        if embedding is not None:
            fields["embedding",] = np.asarray(embedding)
        for path, array in fields.items():
            if array.ndim == 0 or len(array) != count:
                raise InvalidInference(".".join(path), array.shape, f"give {count} rows, one an inference")
        paths = tuple(fields)
        kinds = tuple(_batch_kind(path, array) for path, array in fields.items())
        key = (model, paths, kinds)
        layout = self._layouts.get(key) or self._remember(key, Layout(model, paths, kinds))
        return _batch(layout, (ids, at, latency_ms, rate), list(fields.values()))

    def _encode_slowly(
        self,
        key: Any,
        layout: Layout | None,
        values: list[Any],
        system: tuple[bytes, int, float, float],
    ) -> Chunk:
        paths = layout.paths if layout else _paths(key)
        seen = tuple(_named(path, kind_of, value) for path, value in zip(paths, values, strict=True))
        kinds = tuple(map(widen, layout.kinds, seen)) if layout else seen
        if layout is None or kinds != layout.kinds:
            layout = self._remember(key, Layout(key[0], paths, kinds))
        scalars = [_BLANKS[kinds[i].dtype] if values[i] is None else values[i] for i in layout.scalars]
        try:
            parts = [layout.pack_row(*system, *scalars)]
        except _UNFIT as error:
            remedy = f"ids are 16 bytes, times are 64-bit nanoseconds, numbers fit 64 bits ({error})"
            raise InvalidInference("inference", type(error).__name__, remedy) from error
        for i, dump in layout.others:
            parts.append(blank(kinds[i]) if values[i] is None else _named(paths[i], dump, values[i]))
        missing = [(0, i) for i, value in enumerate(values) if value is None]
        return Chunk(layout, 1, parts, missing)

    def _remember(self, key: Any, layout: Layout) -> Layout:
        if len(layout.paths) > _FIELDS:
            raise InvalidInference("inference", len(layout.paths), f"at most {_FIELDS} fields; use a tensor")
        if len(self._layouts) >= _LAYOUTS:
            self._layouts = {}
        self._layouts[key] = layout
        return layout


def _extra(
    embedding: Any,
    tags: Mapping[str, Any],
    group: str | None,
    seq: int | None,
    alternatives: Mapping[str, Mapping[str, Any]],
) -> dict[Path, Any]:
    extra: dict[Path, Any] = {} if embedding is None else {("embedding",): embedding}
    extra |= {("tags", name): value for name, value in tags.items()}
    if group is not None:
        extra["group",] = str(group)
    if seq is not None:
        extra["seq",] = int(seq)
    for model, outputs in alternatives.items():
        extra |= {("alternatives", model, name): value for name, value in outputs.items()}
    return extra


def _paths(key: Any) -> tuple[Path, ...]:
    _, inputs, outputs, *extra = key
    paths = [("inputs", name) for name in inputs] + [("outputs", name) for name in outputs]
    paths += extra[0] if extra else []
    for path in paths:
        if not all(isinstance(part, str) for part in path):
            raise InvalidInference("field name", path, "names are text")
    return tuple(paths)


def _named(path: Path, function: Any, value: Any) -> Any:
    try:
        return function(value)
    except (*_UNFIT, InvalidInference, RecursionError) as error:
        remedy = error.remedy if isinstance(error, InvalidInference) else f"cannot be read: {error}"
        raise InvalidInference(".".join(path), type(value).__name__, remedy) from error


def _batch_kind(path: Path, array: Array) -> Kind:
    if array.dtype.kind in "OUS" and array.ndim == 1:
        kind = kind_of(array[0])
        for value in array[1:]:
            kind = widen(kind, kind_of(value))
        return kind
    if array.ndim == 1:
        return _named(path, kind_of, array[0])  # type: ignore[no-any-return]
    kind = _named(path, kind_of, array[0])
    if not kind.tensor:
        raise InvalidInference(".".join(path), str(array.dtype), "give an array of numbers or booleans")
    return kind  # type: ignore[no-any-return]


def _batch(layout: Layout, system: tuple[bytes, int, float, float], arrays: list[Array]) -> Chunk:
    ids, at, latency_ms, rate = system
    count = len(ids) // 16
    codes = [(str(i), np.dtype(f"<{SCALARS[layout.kinds[i].dtype]}")) for i in layout.scalars]
    records = np.empty(count, np.dtype([*SYSTEM.descr, *codes]))
    records["id"] = np.frombuffer(ids, "V16")
    records["at"], records["latency_ms"], records["rate"] = at, latency_ms, rate
    missing: list[tuple[int, int]] = []
    for i in layout.scalars:
        absent = np.equal(arrays[i], None) if arrays[i].dtype == object else np.zeros(count, bool)
        missing += [(int(row), i) for row in np.flatnonzero(absent)]
        records[str(i)] = np.where(absent, _BLANKS[layout.kinds[i].dtype], arrays[i])
    parts, sizes = [records.tobytes()], {}
    for i, dump in layout.others:
        kind, array = layout.kinds[i], arrays[i]
        if kind.width is not None:
            parts.append(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
            continue
        rows = [blank(kind) if v is None else _named(layout.paths[i], dump, v) for v in array]
        missing += [(row, i) for row, v in enumerate(array) if v is None]
        parts.append(b"".join(rows))
        sizes[i] = [len(row) for row in rows]
    return Chunk(layout, count, parts, missing, sizes)
