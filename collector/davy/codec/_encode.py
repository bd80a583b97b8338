"""The caller's side: an inference, or a batch of them, to a chunk of bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from davy.codec._batch import batch_fields, batch_kind, encode_rows
from davy.codec._kinds import BLANKS, UNFIT, Kind, blank, kind_of, named, widen
from davy.codec._layout import Chunk, Layout, exact_paths
from davy.errors import InvalidInference
from davy.event import Array, Path

_NAN: Final = float("nan")
_LAYOUTS: Final = 1024
_FIELDS: Final = 4096
_NOTHING: Final[Mapping[str, Any]] = {}
_UNFIT: Final = (*UNFIT, InvalidInference)
_BOOLEANS: Final = frozenset({bool, np.bool_})
_SYSTEM_RULES: Final = "ids are 16 bytes, times are 64-bit nanoseconds, numbers fit 64 bits"


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

    __slots__ = ("_layouts", "_recent")

    def __init__(self) -> None:
        self._layouts: dict[Any, Layout] = {}
        self._recent: dict[str, Layout] = {}

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
        names: list[Any] = [*inputs, *outputs]
        values = [*inputs.values(), *outputs.values()]
        if embedding is not None or tags or group is not None or seq is not None or alternatives:
            extra = _extra(embedding, tags, group, seq, alternatives)
            names += extra
            values += extra.values()
        layout = self._recent.get(model)
        if layout is None or layout.names != names or layout.inputs != len(inputs):
            layout = self._layouts.get((model, len(inputs), len(outputs), *names))
        if layout is not None:
            try:
                for i in layout.flags:
                    if type(values[i]) not in _BOOLEANS:
                        raise TypeError
                if not layout.others:
                    row = layout.pack_row(id, at, latency_ms, rate, *values)
                    return Chunk(layout, 1, (row,), layout.width)
                parts = [layout.pack_row(id, at, latency_ms, rate, *layout.pick(values))]
                for i, dump in layout.others:
                    parts.append(dump(values[i]))
                return Chunk(layout, 1, parts, layout.size or sum(map(len, parts)))
            except _UNFIT:
                pass  # another kind, or a missing value: the slow path finds out which
        key = (model, len(inputs), len(outputs), *names)
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
        tags: Mapping[str, Any] = _NOTHING,
        group: str | None = None,
        seq: int | None = None,
        alternatives: Mapping[str, Mapping[str, Array]] = _NOTHING,
        latency_ms: float = _NAN,
        rate: float = 1.0,
    ) -> Chunk:
        """Encode `n` inferences made at once: `ids` holds ``16 * n`` bytes, every array has first axis `n`.

        `tags` and `group` hold for all of them; `seq` is that of the first, the others count on from it.

        Raises
        ------
        InvalidInference
            A field has another length, or values that cannot travel.
        """
        count = len(ids) // 16
        if count == 0 or len(ids) % 16:
            raise InvalidInference("ids", len(ids), "give 16 bytes an inference, for at least one")
        fields = batch_fields(count, inputs, outputs, embedding, tags, group, seq, alternatives)
        kinds = tuple([batch_kind(path, array) for path, array in fields.items()])
        layout = self._batch_layout(model, tuple(fields), kinds)
        try:
            return encode_rows(layout, (ids, at, latency_ms, rate), list(fields.values()))
        except UNFIT as error:
            raise InvalidInference("inference", type(error).__name__, f"{_SYSTEM_RULES} ({error})") from error

    def _batch_layout(self, model: str, paths: tuple[Path, ...], kinds: tuple[Kind, ...]) -> Layout:
        plain = {type(part) for path in paths for part in path} == {str}
        key = (model, paths if plain else exact_paths(model, paths), kinds)
        layout = self._layouts.get(key)
        if layout is None:
            exact = exact_paths(model, paths)
            layout = self._remember((model, exact, kinds), Layout(model, exact, kinds))
        return layout

    def _encode_slowly(
        self,
        key: tuple[Any, ...],
        layout: Layout | None,
        values: list[Any],
        system: tuple[bytes, int, float, float],
    ) -> Chunk:
        values = [value.item() if getattr(value, "ndim", None) == 0 else value for value in values]
        if layout is not None and any(value is None for value in values):
            try:
                return _with_missing(layout, values, system)
            except _UNFIT:
                pass  # another kind as well
        model, inputs, outputs, *names = key
        paths = layout.paths if layout else _paths(model, inputs, outputs, names)
        seen = tuple(named(path, kind_of, value) for path, value in zip(paths, values, strict=True))
        kinds = tuple(map(widen, layout.kinds, seen)) if layout else seen
        if layout is None or kinds != layout.kinds:
            names = [path[1] for path in paths[: inputs + outputs]] + list(paths[inputs + outputs :])
            layout = Layout(model, paths, kinds, inputs=inputs, names=names)
            self._remember((model, inputs, outputs, *names), layout)
            self._recent[model] = layout
        try:
            return _with_missing(layout, values, system)
        except UNFIT as error:
            raise InvalidInference("inference", type(error).__name__, f"{_SYSTEM_RULES} ({error})") from error

    def _remember(self, key: Any, layout: Layout) -> Layout:
        if len(layout.paths) > _FIELDS:
            raise InvalidInference("inference", len(layout.paths), f"at most {_FIELDS} fields; use a tensor")
        if len(self._layouts) >= _LAYOUTS:
            self._layouts, self._recent = {}, {}
        self._layouts[key] = layout
        return layout


def _with_missing(layout: Layout, values: list[Any], system: tuple[bytes, int, float, float]) -> Chunk:
    kinds = layout.kinds
    for i in layout.flags:
        if values[i] is not None and type(values[i]) not in _BOOLEANS:
            raise TypeError(f"{'.'.join(layout.paths[i])} is not a boolean")
    scalars = [BLANKS[kinds[i].dtype] if values[i] is None else values[i] for i in layout.scalars]
    parts = [layout.pack_row(*system, *scalars)]
    for i, dump in layout.others:
        parts.append(blank(kinds[i]) if values[i] is None else named(layout.paths[i], dump, values[i]))
    missing = [(0, i) for i, value in enumerate(values) if value is None]
    return Chunk(layout, 1, parts, layout.size or sum(map(len, parts)), missing)


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


def _paths(model: str, inputs: int, outputs: int, names: list[Any]) -> tuple[Path, ...]:
    paths: list[Path] = [("inputs", name) for name in names[:inputs]]
    paths += [("outputs", name) for name in names[inputs : inputs + outputs]]
    return exact_paths(model, paths + names[inputs + outputs :])
