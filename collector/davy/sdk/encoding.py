"""From a call to bytes: the scope around it, the app's hook, the rules, then the codec."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields as fields_of
from functools import partial
from typing import Any, Final, TypeAlias

import numpy as np

from davy.codec import Chunk, Encoder
from davy.config import SdkSettings
from davy.errors import InvalidInference
from davy.event import Array, Inference
from davy.sdk.claims import Claim
from davy.sdk.fields import Columns, output_fields, record_fields
from davy.sdk.scope import CURRENT, Scope
from davy.sdk.shaping import Parts, Shaper

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
        self._encoder = Encoder()

    def one(
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
            A value cannot travel.
        HookFailed
            The hook did not do its work.
        """
        if type(inputs) is partial:
            inputs, outputs, embedding = inputs()
        elif type(inputs) is not dict or type(outputs) is not dict:
            inputs, outputs, embedding = _named(inputs, outputs, embedding)
        scope = CURRENT.get()
        if scope is not None:
            group = scope.group if group is None else group
            seq = scope.seq if seq is None else seq
            tags = {**scope.tags, **tags} if tags else scope.tags
        tags, alternatives = tags or _NOTHING, _alternatives(alternatives) if alternatives else _NOTHING
        latency = _NAN if latency_ms is None else latency_ms
        if self._hook is not None or self._shaper.touches(model, tags):
            parts = Parts(inputs, outputs, embedding, tags, group, seq, alternatives)
            seen = parts if self._hook is None else self._ask(raw, at, rate, model, parts, latency_ms)
            return None if seen is None else self._shaped(raw, at, rate, model, seen, latency)
        try:
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
            )
            if chunk.size <= self._limit:
                return chunk, ()
        except InvalidInference:
            if not any(isinstance(value, os.PathLike) for value in inputs.values()):
                raise
        self._shaper.look_at(model)  # from now on its fields are looked at before they are copied
        parts = Parts(inputs, outputs, embedding, tags, group, seq, alternatives)
        return self._shaped(raw, at, rate, model, parts, latency)

    def many(
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
            A field has another number of rows than the batch, or values that cannot travel.
        HookFailed
            The hook did not do its work.
        """
        rows = _Kept(kept)
        parts = Parts(
            rows.of_each(columns.inputs),
            rows.of_each(columns.outputs),
            None if columns.embedding is None else rows.of("embedding", np.asarray(columns.embedding)),
            scope.tags,
            scope.group,
            scope.seq,
            {name: rows.of_each(found) for name, found in columns.alternatives.items()},
        )
        if self._hook is not None:
            return self._asked_of_each(ids, at, rate, model, parts, latency_ms)
        encoded = []
        step = len(ids) if len(ids) < 2 * self._rows else self._rows
        for start in range(0, len(ids), step):
            some = slice(start, start + step)
            part = parts if step == len(ids) else _slice(parts, some, start)
            claims: Sequence[Claim] = ()
            if self._shaper.touches_rows(model, part):
                part, claims = self._shaper.shape_rows(model, part)
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
            )
            encoded.append((chunk, claims))
        return encoded

    def _shaped(
        self, raw: bytes, at: int, rate: float, model: str, parts: Parts, latency_ms: float
    ) -> Encoded:
        shaped, claims = self._shaper.shape(model, parts)
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
        )
        if chunk.size > self._limit and self._shaper.look_at(model):
            return self._shaped(raw, at, rate, model, parts, latency_ms)
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


def _named(inputs: Any, outputs: Any, embedding: Any) -> tuple[Mapping[str, Any], Mapping[str, Any], Any]:
    found = record_fields(inputs)
    if not isinstance(outputs, Mapping):
        outputs, own = output_fields(outputs)
        embedding = own if embedding is None else embedding
    return {"value": inputs} if found is None else found, outputs, embedding


def _alternatives(found: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {
        model: outputs if type(outputs) is dict else output_fields(outputs)[0]
        for model, outputs in found.items()
    }


class _Kept:
    """The rows of a batch that sampling keeps."""

    def __init__(self, kept: Array) -> None:
        self._count = len(kept)
        self._kept = None if kept.all() else kept

    def of_each(self, fields: Mapping[str, Array]) -> dict[str, Array]:
        return {name: self.of(name, array) for name, array in fields.items()}

    def of(self, name: str, array: Array) -> Array:
        if len(array) != self._count:
            raise InvalidInference(name, array.shape, f"give {self._count} rows, one an inference")
        return array if self._kept is None else array[self._kept]


def _slice(parts: Parts, rows: slice | int, start: int) -> Parts:
    """Give some rows of a batch, or one of them as an inference; `seq` counts on from the first."""
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
