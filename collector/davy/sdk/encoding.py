"""From a call to bytes: the scope around it, the app's hook, the rules, then the codec."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields as fields_of
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from davy.codec import Chunk, Encoder, Layout, Recipe, encode_as
from davy.errors import InvalidInference
from davy.event import Array, Inference
from davy.fields.records import FIELDS
from davy.sdk.claims import Claim
from davy.sdk.fields import Columns, output_fields, record_fields
from davy.sdk.naming import Naming
from davy.sdk.payload import is_file
from davy.sdk.scope import CURRENT, Scope
from davy.sdk.shaping import Parts, Shaper

if TYPE_CHECKING:
    from davy.config import SdkSettings

_NOTHING: Final[Mapping[str, Any]] = {}
_NAN: Final = float("nan")
Hook: TypeAlias = Callable[[Inference], Inference | None]
"""What the app gives to see every inference before anything of it is kept."""


class HookFailed(InvalidInference):
    """The app's hook raised, or gave something else than an inference: nothing of it may travel."""


Encoded: TypeAlias = tuple[Chunk, Sequence[Claim]]
"""A chunk and the claims among its fields."""


class Encoding:
    """Encodes inferences on the caller's thread.

    Parameters
    ----------
    settings
        Limits.
    shaper
        The rules.
    hook
        Sees every inference before anything of it is kept, and may change it or leave it out.
    """

    def __init__(self, settings: SdkSettings, shaper: Shaper, hook: Hook | None) -> None:
        self._limit = settings.inline_bytes
        self._rows = settings.envelope_rows
        self._shaper = shaper
        self._hook = hook
        self._asks = hook is not None or shaper.has_rules
        self._encoder = Encoder(shaper.ruled, shaper.denied)
        self.naming = Naming()

    def one(  # noqa: PLR0913 - the parts of an inference
        self,
        raw: bytes,
        at: int,
        rate: float,
        model: str,
        inputs: Any,
        outputs: Any,
        latency_ms: float | None,
        embedding: Any = None,
        tags: Any = None,
        group: Any = None,
        seq: Any = None,
        alternatives: Any = None,
    ) -> Encoded | None:
        """Encode one inference; None when the hook leaves it out.

        Raises
        ------
        InvalidInference
            The inference as a whole is none; a value that cannot travel is left out and counted.
        HookFailed
            The hook did not do its work.
        """
        if type(inputs) is partial:
            inputs, outputs, embedding = inputs()
        elif type(inputs) is not dict or type(outputs) is not dict:
            inputs, outputs, embedding = self._named(model, inputs, outputs, embedding)
        lost = None
        if len(inputs) > FIELDS or len(outputs) > FIELDS:
            lost = dict[str, int]()
            inputs, outputs = (
                self._first(model, "inputs", inputs, lost),
                self._first(model, "outputs", outputs, lost),
            )
        scope = CURRENT.get()
        if scope is not None:
            group = scope.group if group is None else group
            seq = scope.seq if seq is None else seq
            tags = {**scope.tags_now(), **tags} if tags else scope.tags_now()
        tags, alternatives = tags or _NOTHING, self._alternatives(alternatives) if alternatives else _NOTHING
        latency = _NAN if latency_ms is None else latency_ms
        if self._hook is not None or self._shaper.touches(model, tags):
            parts = Parts(inputs, outputs, embedding, tags, group, seq, alternatives)
            seen = parts if self._hook is None else self._ask(raw, at, rate, model, parts, latency_ms)
            return None if seen is None else self._shaped(raw, at, rate, model, seen, latency, lost)
        chunk = self._encoder.encode(
            model,
            raw,
            at,
            inputs,
            outputs,
            embedding=embedding,
            tags=tags,
            group=group,
            seq=seq,
            alternatives=alternatives,
            latency_ms=latency,
            rate=rate,
            left_out=lost,
        )
        if chunk.size <= self._limit and not (chunk.lost and any(map(is_file, inputs.values()))):
            return chunk, ()
        self._look_at(model)
        parts = Parts(inputs, outputs, embedding, tags, group, seq, alternatives)
        return self._shaped(raw, at, rate, model, parts, latency, lost)

    def _look_at(self, model: str) -> bool:
        """Look at the fields of a model before they are copied from now on; false when that was so before."""
        self._encoder.forget(model)
        return self._shaper.look_at(model)

    def _first(
        self, model: str, section: str, fields: Mapping[str, Any], lost: dict[str, int]
    ) -> Mapping[str, Any]:
        """Return as many fields as travel; those beyond are counted and not looked at."""
        if len(fields) <= FIELDS:
            return fields
        lost[self._encoder.loss(model, f"{section}.*", "count")] = len(fields) - FIELDS
        return dict(islice(fields.items(), FIELDS))

    def _named(
        self, model: str, inputs: Any, outputs: Any, embedding: Any
    ) -> tuple[Mapping[str, Any], Mapping[str, Any], Any]:
        found = record_fields(inputs)
        if not isinstance(outputs, Mapping):
            outputs, own = output_fields(outputs, judge=partial(self.naming.of, model, ""))
            embedding = own if embedding is None else embedding
        return {"value": inputs} if found is None else found, outputs, embedding

    def _alternatives(self, found: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
        return {
            model: outputs
            if type(outputs) is dict
            else output_fields(outputs, judge=partial(self.naming.of, model, ""))[0]
            for model, outputs in found.items()
        }

    def loss(self, model: str, name: str, reason: str) -> str:
        """Return what the client report calls a value left out."""
        return self._encoder.loss(model, name, reason)

    def describe(self, model: str, outputs: Mapping[str, Any]) -> None:
        """Say what the outputs of all inferences of a model share from now on."""
        self._encoder.describe(model, outputs)

    def again(
        self, layout: Layout, raw: bytes, at: int, rate: float, values: Sequence[Any], latency_ms: float
    ) -> Chunk | None:
        """Encode one inference whose values have the kinds of `layout`; None when it takes `one` to do it."""
        chunk = encode_as(layout, (raw, at, latency_ms, rate), values)
        return chunk if chunk is not None and chunk.size <= self._limit else None

    def recipe(self, layout: Layout, rate: float, labels: Sequence[int]) -> Recipe | None:
        """Return how snapshots of a layout are encoded; None where one has not the size of one that travels."""
        found = Recipe(layout, rate, labels) if Recipe.makes(layout) else None
        return found if found is not None and found.size <= self._limit else None

    def layout_of(self, model: str, inputs: int, outputs: int, names: list[Any]) -> Layout | None:
        """Return the layout in force for fields of these names; None where hook or rules must see the values first."""
        if self._asks or model in self._shaper.looked_at:
            return None
        tags = [path for path in names[inputs + outputs :] if path[0] == "tags"]
        if not self._encoder.takes_as_they_are(model) or self._shaper.denies(model, tags):
            return None
        return self._encoder.layout_of(model, inputs, outputs, names)

    def many(  # noqa: PLR0913 - the parts of an inference
        self,
        ids: Array,
        at: int,
        rate: float,
        model: str,
        columns: Columns,
        kept: Array,
        scope: Scope,
        latency_ms: float,
    ) -> list[Encoded]:
        """Encode the inferences of a batch that sampling `kept`; `ids` are theirs, shape ``(n,)``.

        Raises
        ------
        InvalidInference
            The batch as a whole is none; what cannot travel is left out and counted.
        HookFailed
            The hook did not do its work.
        """
        lost: dict[str, int] = {}
        parts = self._kept(model, columns, kept, scope, lost)
        if self._hook is not None:
            return self._asked_of_each(ids, at, rate, model, parts, latency_ms)
        encoded, lose = [], partial(self._lose, model, lost)
        step = len(ids) if len(ids) < 2 * self._rows else self._rows
        for start in range(0, len(ids), step):
            some = slice(start, start + step)
            part = parts if step == len(ids) else _slice(parts, some, start)
            claims: Sequence[Claim] = ()
            if self._shaper.touches_rows(model, part):
                part, claims = self._shaper.shape_rows(model, part, lose)
            chunk = self._encoder.encode_batch(
                model,
                ids[some].tobytes(),
                at,
                part.inputs,
                part.outputs,
                embedding=part.embedding,
                tags=part.tags,
                group=part.group,
                seq=part.seq,
                alternatives=part.alternatives,
                latency_ms=latency_ms,
                rate=rate,
                left_out=lost,
            )
            lost.clear()  # told with the first envelope
            encoded.append((chunk, claims))
        return encoded

    def _kept(self, model: str, columns: Columns, kept: Array, scope: Scope, lost: dict[str, int]) -> Parts:
        """Return the rows of a batch that sampling keeps, every column as it travels."""
        count = len(kept)
        rows: Array | slice = slice(None) if kept.all() else kept

        def section(name: str, fields: Mapping[str, Any]) -> dict[str, Array]:
            found = self._encoder.columns(model, name, fields, count, lost, is_file)
            return {name: values[rows] for name, values in found.items()}

        embedding = {} if columns.embedding is None else section("", {"embedding": columns.embedding})
        return Parts(
            section("inputs", columns.inputs),
            section("outputs", columns.outputs),
            embedding.get("embedding"),
            scope.tags_now(),
            scope.group,
            scope.seq,
            {name: section(f"alternatives.{name}", found) for name, found in columns.alternatives.items()},
        )

    def _lose(self, model: str, lost: dict[str, int], name: str, reason: str) -> None:
        key = self._encoder.loss(model, name, reason)
        lost[key] = lost.get(key, 0) + 1

    def _flat(self, model: str, parts: Parts) -> Parts:
        """Return the parts with dotted names, so that rules see the fields that travel."""
        return parts._replace(
            inputs=self._encoder.flatten(model, "inputs", parts.inputs),
            outputs=self._encoder.flatten(model, "outputs", parts.outputs),
            alternatives={
                name: self._encoder.flatten(model, f"alternatives.{name}", fields)
                for name, fields in parts.alternatives.items()
            },
        )

    def _shaped(
        self,
        raw: bytes,
        at: int,
        rate: float,
        model: str,
        parts: Parts,
        latency_ms: float,
        left_out: Mapping[str, int] | None = None,
    ) -> Encoded:
        lost = dict(left_out or {})
        parts = self._flat(model, parts)
        shaped, claims = self._shaper.shape(model, parts, partial(self._lose, model, lost))
        chunk = self._encoder.encode(
            model,
            raw,
            at,
            shaped.inputs,
            shaped.outputs,
            embedding=shaped.embedding,
            tags=shaped.tags,
            group=shaped.group,
            seq=shaped.seq,
            alternatives=shaped.alternatives,
            latency_ms=latency_ms,
            rate=rate,
            left_out=lost,
        )
        if chunk.size > self._limit and self._look_at(model):
            return self._shaped(raw, at, rate, model, parts, latency_ms, left_out)
        return chunk, claims

    def _ask(
        self, raw: bytes, at: int, rate: float, model: str, parts: Parts, latency_ms: float | None
    ) -> Parts | None:
        inputs, outputs, embedding, tags, group, seq, alternatives = parts
        given = Inference(
            raw, at, model, inputs, outputs, embedding, tags, group, seq, alternatives, latency_ms, rate
        )
        try:
            found = None if self._hook is None else self._hook(given)
            if found is None:
                return None
            return Parts(**{name: getattr(found, name) for name in _HOOKED})
        except Exception as error:
            remedy = f"raised {type(error).__name__}; it must give the inference or None"
            raise HookFailed("before_capture", model, remedy) from error

    def _asked_of_each(
        self, ids: Array, at: int, rate: float, model: str, parts: Parts, latency_ms: float
    ) -> list[Encoded]:
        encoded = []
        for row, raw in enumerate(ids):
            alone = _slice(parts, row, row)
            seen = self._ask(raw.tobytes(), at, rate, model, alone, latency_ms)
            if seen is not None:
                encoded.append(self._shaped(raw.tobytes(), at, rate, model, seen, latency_ms))
        return encoded


_HOOKED: Final = tuple(field.name for field in fields_of(Inference) if field.name in Parts._fields)


def _slice(parts: Parts, rows: slice | int, start: int) -> Parts:
    """Return some rows of a batch, or one of them as an inference; `seq` counts on from the first."""
    return parts._replace(
        inputs={name: array[rows] for name, array in parts.inputs.items()},
        outputs={name: array[rows] for name, array in parts.outputs.items()},
        embedding=None if parts.embedding is None else parts.embedding[rows],
        seq=None if parts.seq is None else parts.seq + start,
        alternatives={
            other: {name: array[rows] for name, array in fields.items()}
            for other, fields in parts.alternatives.items()
        },
    )
