"""The caller's side: an inference, or a batch of them, to a chunk of bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeAlias

import numpy as np

from davy.codec._batch import batch_fields, batch_kind, encode_rows
from davy.codec._kinds import ANY, BLANKS, FLOATS, UNFIT, Kind, blank, exact, holds, kind_of, named, widen
from davy.codec._layout import Chunk, Layout, exact_paths
from davy.codec._settle import CLASS_NAMES, Settler, is_native, same_names
from davy.errors import InvalidInference
from davy.event import Array, Path
from davy.fields import plain
from davy.fields.listed import records_of
from davy.fields.records import FIELDS
from davy.fields.secrets import has_names, is_number

Asks: TypeAlias = Callable[[str, Path], bool]
"""Told a model and the path of a field."""
_NAN: Final = float("nan")
_LAYOUTS: Final = 1024
_NOTHING: Final[Mapping[Any, Any]] = {}
_UNFIT: Final = (*UNFIT, InvalidInference)
_BOOLEANS: Final = frozenset({bool, np.bool_})
_SEQUENCES: Final = frozenset({list, tuple})
_NAMES: Final = ("outputs", CLASS_NAMES)
_BY_CLASS: Final = frozenset({("outputs", "probs"), ("outputs", "logits")})
"""Answers that have a number for each class."""
_SYSTEM_RULES: Final = "ids are 16 bytes, times are 64-bit nanoseconds, numbers fit 64 bits"


class Encoder:
    """Encodes on the caller's thread; remembers one layout per model and set of field names.

    `ruled` says whether a rule of the app's is about a field of a model: what it becomes keeps its name then. `denied`
    says whether its name sounds like a secret: then only numbers travel.

    Safe to share between threads: the memory is a dict whose entries are replaced whole, and two threads that
    widen at once only cost an extra envelope.

    Examples
    --------
    >>> from davy.codec import decode, pack
    >>> chunk = Encoder().encode("iris:1", bytes(16), 7, {"sepal": 5.1}, {"label": "setosa"})
    >>> decode(pack([chunk])).inference(0).outputs
    {'label': 'setosa'}
    """

    __slots__ = ("_denied", "_layouts", "_recent", "_ruled", "_settlers")

    def __init__(
        self, ruled: Asks = lambda _model, _path: False, denied: Asks = lambda _model, _path: False
    ) -> None:
        self._ruled = ruled
        self._denied = denied
        self._layouts: dict[Any, Layout] = {}
        self._recent: dict[str, Layout] = {}
        self._settlers: dict[str, Settler] = {}

    def describe(self, model: str, outputs: Mapping[str, Any]) -> None:
        """Say what the outputs of all inferences of a model share from now on: ``class_names``."""
        if self._settler(model).describe(outputs):
            for layout in list(self._layouts.values()):
                layout.stale = True  # who holds one asks again
            self._layouts, self._recent = {}, {}

    def takes_as_they_are(self, model: str) -> bool:
        """Return whether the values of a model need not be settled before they are encoded."""
        settler = self._settlers.get(model)
        return settler is None or not settler.rough

    def flatten(self, model: str, section: str, fields: Mapping[Any, Any]) -> dict[str, Any]:
        """Return fields of an inference with dotted names instead of mappings and records among them."""
        found = self._settler(model).flatten(section, fields)
        self._renew(model)
        return found

    def columns(
        self,
        model: str,
        section: str,
        fields: Mapping[Any, Any],
        count: int,
        lost: dict[str, int],
        keep: Callable[[Any], bool],
    ) -> dict[str, Array]:
        """Return columns of a batch as they travel, but for values that `keep` says to keep as they are."""
        found = self._settler(model).columns(section, fields, count, lost, keep)
        self._renew(model)
        return found

    def _renew(self, model: str) -> None:
        """Say what all outputs share from now on, when some of them brought it."""
        renewed = self._settler(model).renewed
        if renewed:
            self.describe(model, renewed)

    def loss(self, model: str, name: str, reason: str) -> str:
        """Return what the client report calls a value left out."""
        return self._settler(model).loss(name, reason)

    def encode(  # noqa: PLR0913 - the parts of an inference
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
        left_out: Mapping[str, int] | None = None,
    ) -> Chunk:
        """Encode one inference.

        A value that cannot travel is missing, and counted in the chunk's `lost` together with what the caller has
        `left_out` before.

        Raises
        ------
        InvalidInference
            The id, the time, the latency or the rate is none.
        """
        if len(inputs) > FIELDS or len(outputs) > FIELDS:
            left_out = dict(left_out or {})
            inputs = self._settler(model).first("inputs", inputs, left_out)
            outputs = self._settler(model).first("outputs", outputs, left_out)
        settler, lost = self._settlers.get(model), None
        if settler is not None and settler.rough:
            inputs, outputs, embedding, tags, alternatives, lost = settler.settle(
                inputs, outputs, embedding, tags, alternatives
            )
            self._renew(model)
        if left_out:
            lost = {
                **(lost or {}),
                **{key: count + (lost or {}).get(key, 0) for key, count in left_out.items()},
            }
        names: list[Any] = [*inputs, *outputs]
        values = [*inputs.values(), *outputs.values()]
        if embedding is not None or tags or group is not None or seq is not None or alternatives:
            extra = _extra(embedding, tags, group, seq, alternatives)
            names += extra
            values += extra.values()
        key, system = (model, len(inputs), len(outputs), *names), (id, at, latency_ms, rate)
        layout = self.layout_of(model, len(inputs), len(outputs), names)
        if layout is not None:
            chunk = encode_as(layout, system, values, lost)
            if chunk is not None:
                return chunk
        if settler is not None and settler.rough:
            return self._encode_slowly(key, layout, values, system, lost)
        vary = layout is None and self._settler(model).varies(inputs=inputs, outputs=outputs)
        if (
            not vary
            and self._travels(inputs, outputs, [*values, *tags.values()])
            and not self._may_tell(model, inputs, outputs, alternatives)
        ):
            with suppress(InvalidInference):  # of the items of a list, say, some do not travel
                return self._encode_slowly(key, layout, values, system, lost)
        self._settler(model).rough = True
        self.forget(model)
        return self.encode(
            model, id, at, inputs, outputs, embedding=embedding, tags=tags, group=group, seq=seq,
            alternatives=alternatives, latency_ms=latency_ms, rate=rate, left_out=left_out,
        )  # fmt: skip

    def layout_of(self, model: str, inputs: int, outputs: int, names: list[Any]) -> Layout | None:
        """Return the layout in force for so many inputs and outputs of these names; None when they are new.

        What an inference has beside them stands behind them as its path: ``("embedding",)``.
        """
        layout = self._recent.get(model)
        if layout is None or layout.names != names or layout.inputs != inputs:
            return self._layouts.get((model, inputs, outputs, *names))
        return layout

    def encode_batch(  # noqa: PLR0913 - the parts of an inference
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
        left_out: Mapping[str, int] | None = None,
    ) -> Chunk:
        """Encode `n` inferences made at once: `ids` holds ``16 * n`` bytes, every array has first axis `n`.

        `tags` and `group` hold for all of them; `seq` is that of the first, the others count on from it. Values that
        cannot travel, and columns of another length, are missing and counted as `encode` does.

        Raises
        ------
        InvalidInference
            These are no ids, times, latencies or rates.
        """
        count = len(ids) // 16
        if count == 0 or len(ids) % 16:
            raise InvalidInference("ids", len(ids), "give 16 bytes an inference, for at least one")
        names = outputs.get(CLASS_NAMES)
        if names is not None and (shared := same_names(names, count)):
            self.describe(model, {CLASS_NAMES: shared})
            outputs = {name: values for name, values in outputs.items() if name != CLASS_NAMES}
        lost = dict(left_out or {})
        fields = batch_fields(
            count, inputs, outputs, embedding, tags, group, seq, alternatives, self._settler(model), lost
        )
        self._renew(model)
        kinds = tuple([batch_kind(path, array) for path, array in fields.items()])
        layout = self._batch_layout(model, tuple(fields), kinds, lost)
        try:
            return encode_rows(layout, (ids, at, latency_ms, rate), list(fields.values()), lost or None)
        except UNFIT as error:
            raise InvalidInference("inference", type(error).__name__, f"{_SYSTEM_RULES} ({error})") from error

    def _batch_layout(
        self, model: str, paths: tuple[Path, ...], kinds: tuple[Kind, ...], lost: dict[str, int]
    ) -> Layout:
        plain = {type(part) for path in paths for part in path} == {str}
        key = (model, paths if plain else exact_paths(model, paths), kinds)
        layout = self._layouts.get(key)
        if layout is None:
            exact = exact_paths(model, paths)
            made = Layout(model, exact, kinds, shared=self._shared(model, exact, kinds, lost))
            layout = self._remember((model, exact, kinds), made)
        return layout

    def _encode_slowly(
        self,
        key: tuple[Any, ...],
        layout: Layout | None,
        values: list[Any],
        system: tuple[bytes, int, float, float],
        lost: Mapping[str, int] | None,
    ) -> Chunk:
        if layout is not None and any(value is None for value in values):
            try:
                return _with_missing(layout, values, system, lost)
            except _UNFIT:
                pass  # another kind as well
        model, inputs, outputs, *names = key
        paths = layout.paths if layout else _paths(model, inputs, outputs, names)
        values = [named(path, plain, value) for path, value in zip(paths, values, strict=True)]
        seen = tuple(named(path, kind_of, value) for path, value in zip(paths, values, strict=True))
        kinds = tuple(map(widen, layout.kinds, seen)) if layout else seen
        kinds = tuple(kind if holds(kind, value) else ANY for kind, value in zip(kinds, values, strict=True))
        if layout is None or kinds != layout.kinds:
            names = [path[1] for path in paths[: inputs + outputs]] + list(paths[inputs + outputs :])
            if layout is not None:
                layout.stale = True
            lost = dict(lost or {})
            shared = self._shared(model, paths, kinds, lost)
            layout = Layout(model, paths, kinds, inputs=inputs, names=names, shared=shared)
            self._remember((model, inputs, outputs, *names), layout)
            self._recent[model] = layout
        try:
            return _with_missing(layout, values, system, lost or None)
        except UNFIT as error:
            raise InvalidInference("inference", type(error).__name__, f"{_SYSTEM_RULES} ({error})") from error

    def _settler(self, model: str) -> Settler:
        found = self._settlers.get(model)
        if found is None:
            if len(self._settlers) >= _LAYOUTS:
                self._settlers = {}
            found = self._settlers[model] = Settler(partial(self._ruled, model), partial(self._denied, model))
        return found

    def _shared(
        self, model: str, paths: Sequence[Path], kinds: Sequence[Kind], lost: dict[str, int]
    ) -> Mapping[Path, Any]:
        """Return what inferences of a layout share; class names only where there are as many as probabilities."""
        settler = self._settlers.get(model)
        if settler is None:
            return _NOTHING
        names = settler.shared.get(_NAMES)
        classes = next(
            (_classes(kind) for path, kind in zip(paths, kinds, strict=True) if path in _BY_CLASS), 0
        )
        if names is None or not classes or classes == len(names):
            return settler.shared
        lost[settler.loss(".".join(_NAMES), "names")] = 1
        return {path: value for path, value in settler.shared.items() if path != _NAMES}

    @staticmethod
    def _travels(inputs: Mapping[str, Any], outputs: Mapping[str, Any], values: Sequence[Any]) -> bool:
        """Whether nothing need be settled, by the names and the types of the values."""
        few = len(inputs) + len(outputs) <= FIELDS
        return (
            few
            and CLASS_NAMES not in outputs
            and all(map(is_native, values))
            and _plainly_named(inputs, outputs)
            and not any(records_of(value) for value in values[len(inputs) :] if type(value) in _SEQUENCES)
        )

    def _may_tell(
        self,
        model: str,
        inputs: Mapping[str, Any],
        outputs: Mapping[str, Any],
        alternatives: Mapping[str, Mapping[str, Any]],
    ) -> bool:
        """Whether a field, or something in a list, may be a secret by its name: then values are looked at."""
        sections: list[tuple[Path, Mapping[str, Any]]] = [(("inputs",), inputs), (("outputs",), outputs)]
        sections += [(("alternatives", other), found) for other, found in alternatives.items()]
        return any(
            has_names(value) or (not is_number(value) and self._denied(model, (*path, name)))
            for path, fields in sections
            for name, value in fields.items()
        )

    def forget(self, model: str) -> None:
        """Forget the layouts of a model whose values travelled as they were: from now on they are looked at."""
        kept = {}
        for key, layout in list(self._layouts.items()):
            if layout.model == model:
                layout.stale = True  # who holds one asks again
            else:
                kept[key] = layout
        self._layouts = kept
        self._recent.pop(model, None)

    def _remember(self, key: Any, layout: Layout) -> Layout:
        if len(self._layouts) >= _LAYOUTS:
            self._layouts, self._recent = {}, {}
        self._layouts[key] = layout
        return layout


def encode_as(
    layout: Layout,
    system: tuple[bytes, int, float, float],
    values: Sequence[Any],
    lost: Mapping[str, int] | None = None,
) -> Chunk | None:
    """Encode one inference whose values, in the order of `layout`, have its kinds; None when they do not."""
    if layout.stale:
        return None
    try:
        for i in layout.flags:
            if type(values[i]) not in _BOOLEANS:
                return None
        if layout.doubles:
            numbers = layout.pick_doubles(values)
            if not FLOATS.issuperset(map(type, numbers)) and not exact(numbers):
                return None  # an integer that a float would round
        if lost is None and not all(_is_one(layout, i, values[i]) for i in layout.objects):
            return None  # a mapping or a record becomes fields of its own, and so do records in a list of an answer
        if not layout.others:
            return Chunk(layout, 1, (layout.pack_row(*system, *values),), layout.width, (), None, lost)
        parts = [
            layout.pack_row(*system, *layout.pick(values)) if layout.scalars else layout.pack_row(*system)
        ]
        for i, dump in layout.others:
            parts.append(dump(values[i]))
        return Chunk(layout, 1, parts, layout.size or sum(map(len, parts)), (), None, lost)
    except _UNFIT:
        return None  # another kind, or a missing value: the slow path finds out which


def _classes(kind: Kind) -> int:
    """Return for how many classes a vector has numbers; 0 for anything else, and for vectors of several lengths."""
    sizes = [size for size in kind.shape or () if size != 1]
    return sizes[0] if kind.tensor and len(sizes) == 1 else 0


def _is_one(layout: Layout, place: int, value: Any) -> bool:
    if type(value) in _SEQUENCES:
        return not has_names(value) and (place < layout.inputs or records_of(value) is None)
    return is_native(value)


def _plainly_named(*sections: Mapping[Any, Any]) -> bool:
    return all(isinstance(name, str) and name.isascii() for fields in sections for name in fields)


def _with_missing(
    layout: Layout, values: list[Any], system: tuple[bytes, int, float, float], lost: Mapping[str, int] | None
) -> Chunk:
    kinds = layout.kinds
    for i in layout.flags:
        if values[i] is not None and type(values[i]) not in _BOOLEANS:
            raise TypeError(f"{'.'.join(layout.paths[i])} is not a boolean")
    if not all(holds(kinds[i], values[i]) for i in layout.doubles):
        raise TypeError("an integer that a float would round")
    scalars = [BLANKS[kinds[i].dtype] if values[i] is None else values[i] for i in layout.scalars]
    parts = [layout.pack_row(*system, *scalars)]
    for i, dump in layout.others:
        parts.append(blank(kinds[i]) if values[i] is None else named(layout.paths[i], dump, values[i]))
    missing = [(0, i) for i, value in enumerate(values) if value is None]
    return Chunk(layout, 1, parts, layout.size or sum(map(len, parts)), missing, None, lost)


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
