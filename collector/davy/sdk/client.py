"""The client of one process: decides, encodes and queues, on the caller's thread."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from davy.codec import Chunk, Encoder, dump
from davy.config import Settings
from davy.errors import InvalidInference
from davy.event import Array, Feedback
from davy.sdk.fields import Columns, output_fields, record_fields
from davy.sdk.ids import Ids, join, join_many, parse
from davy.sdk.payload import TooLarge, fit, fit_rows, fit_value
from davy.sdk.sampling import Sampler
from davy.sdk.scope import CURRENT, Scope
from davy.sdk.sender import Sender
from davy.sdk.sink import Sink
from davy.sdk.thinning import Thinning

_MODEL: Final = re.compile(r"[^:\s]{1,200}:[^\s]{1,200}")
_MODEL_RULE: Final = "name models 'name:version', without spaces"
_MODELS: Final = 1024
_NOTHING: Final[Mapping[str, Any]] = {}
_NO_SCOPE: Final = Scope()
_NAN: Final = float("nan")


class InvalidModel(InvalidInference):
    """A model's name is not ``name:version``."""


_REASONS: Final = ((InvalidModel, "invalid_model"), (TooLarge, "too_large"), (BaseException, "encode_error"))


class Client:
    """Turns calls into chunks. What goes wrong is counted here and goes on to the guard of the caller.

    Parameters
    ----------
    settings
        What the process started with.
    open_sink
        Opens the sink, on the sender's thread.
    off
        Reason why nothing is captured; empty when all is well.
    random
        Gives numbers in [0, 1) for the jitter of retries.
    """

    def __init__(
        self,
        settings: Settings,
        open_sink: Callable[[], Sink],
        *,
        off: str = "",
        random: Callable[[], float] | None = None,
    ) -> None:
        self._limit = settings.sdk.inline_bytes
        self._rows = settings.sdk.envelope_rows
        self._off = off
        self._sampler = Sampler(settings.sdk.sample_rate)
        self._encoder = Encoder()
        self._models: set[str] = set()
        self._large: set[str] = set()
        self.ids = Ids(self._sampler)
        self.sender = Sender(open_sink, settings.sdk, _source, random or _random)
        self.bulk = self.sender.bulk
        self._thinning = Thinning(self.bulk, self._sampler)

    def capture(
        self, low: int, model: str, inputs: Any, outputs: Any, id: Any, at: int | None, *more: Any
    ) -> str | None:
        """Encode and queue one inference.

        Parameters
        ----------
        low
            The admitted half of its id; -1 when `id` or the scope says.
        model, inputs, outputs, id, at
            As `davy.capture` takes them. For a watched call, `inputs` is a partial that gives inputs, outputs and
            embedding: the arguments are bound and looked at only now.
        more
            latency_ms, embedding, tags, group, seq, alternatives

        Returns
        -------
        str or None
            The id in hexadecimal; None when the inference was sampled out or dropped.
        """
        try:
            if type(model) is not str:
                model = _exact("model", model)
            if self._off:
                self.bulk.drop(self._known(model), self._off)
                return None
            now = time.time_ns()
            raw = join(now, low) if low > 0 else self._given_id(now, id)
            if raw is None:
                return None
            sampler = self._thinning.at(now)
            if sampler is not self._sampler and not sampler.keeps(int.from_bytes(raw[8:], "big")):
                self.bulk.thin(self._known(model), 1)
                return None
            rate = sampler.rate
            chunk = self._encode(raw, now if at is None else at, rate, model, inputs, outputs, *more)
        except BaseException as error:
            self.bulk.drop(self._known(model), _reason(error))
            raise
        self.sender.ensure()
        return raw.hex() if self.bulk.put(chunk, model, 1, chunk.size, now) else None

    def capture_batch(
        self,
        model: str,
        count: int,
        columns: Callable[[], Columns],
        latency_ms: float,
    ) -> None:
        """Encode and queue `count` inferences made at once; `columns` gives their fields when they are wanted."""
        try:
            model = _exact("model", model)
            if self._off:
                self.bulk.drop(self._known(model), self._off, count)
                return
            now, scope = time.time_ns(), CURRENT.get() or _NO_SCOPE
            own = scope.take() if count == 1 else None
            if own is not None:
                ids, lows = own, np.frombuffer(own, ">u8")[1:].astype(np.uint64)
            else:
                lows = self.ids.lows(count)
                ids = join_many(now, lows)
            kept, rate = self._sample(model, lows, now)
            count = int(kept.sum())
            if not count:
                return
            if model not in self._models:
                self._check(model)
            raws = np.frombuffer(ids, "V16")[kept]
            chunks = self._encode_batch(model, raws, now, kept, columns(), scope, latency_ms, rate)
        except BaseException as error:
            self.bulk.drop(self._known(model), _reason(error), count)
            raise
        self.sender.ensure()
        for chunk in chunks:
            self.bulk.put(chunk, model, chunk.count, chunk.size, now)

    def feedback(self, id: Any, truth: Any, kind: str, model: str) -> None:
        """Queue what became known about an inference."""
        lane = self.sender.feedback
        try:
            if self._off or id is None:
                lane.drop("", self._off or "no_id")
                return
            now = time.time_ns()
            found = Feedback(parse(id), truth, now, _exact("kind", kind), _exact("model", model), _source())
            value = dump(found)
            if len(value) > self._limit:
                raise TooLarge("truth", f"{len(value)} bytes", f"at most {self._limit}")
        except BaseException as error:
            lane.drop("", _reason(error))
            raise
        self.sender.ensure()
        lane.put(value, found.model, 1, len(value), now)

    def _given_id(self, now: int, id: Any) -> bytes | None:
        scope = CURRENT.get()
        if id is None and scope is not None:
            id = scope.take()
        if id is None:
            low = self.ids.admitted()
            return join(now, low) if low else None
        raw = parse(id)
        if self._sampler.keeps(int.from_bytes(raw[8:], "big")):
            return raw
        self.bulk.skip()
        return None

    def stats(self) -> dict[str, Any]:
        """Give the accounts."""
        found, rate = self.sender.stats(), self._thinning.at(time.time_ns()).rate
        return {**found, "sampled_out": found["sampled_out"] + self.ids.left_out, "rate": rate}

    def _sample(self, model: str, lows: Array, now: int) -> tuple[NDArray[np.bool_], float]:
        kept, sampler = self._sampler.keeps_each(lows), self._thinning.at(now)
        self.bulk.skip(len(lows) - int(kept.sum()))
        if sampler is not self._sampler:
            fewer = sampler.keeps_each(lows)
            self.bulk.thin(self._known(model), int(kept.sum()) - int(fewer.sum()))
            kept = fewer
        return kept, sampler.rate

    def _encode(
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
    ) -> Chunk:
        if model not in self._models:
            self._check(model)
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
        if model in self._large:
            fields = self._fit(inputs, outputs, embedding, tags, alternatives)
            inputs, outputs, embedding, tags, alternatives = fields
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
            latency_ms=_NAN if latency_ms is None else latency_ms,
            rate=rate,
        )
        if chunk.size <= self._limit or model in self._large:
            return chunk
        if len(self._large) >= _MODELS:
            self._large = set()
        self._large.add(model)  # from now on its fields are looked at before they are copied
        return self._encode(
            raw, at, rate, model, inputs, outputs, latency_ms, embedding, tags, group, seq, alternatives
        )

    def _fit(
        self, inputs: Any, outputs: Any, embedding: Any, tags: Any, alternatives: Any
    ) -> tuple[Any, ...]:
        limit = self._limit
        return (
            fit("inputs", inputs, limit),
            fit("outputs", outputs, limit),
            fit_value("embedding", embedding, limit),
            fit("tags", tags, limit),
            {model: fit(f"alternatives.{model}", found, limit) for model, found in alternatives.items()},
        )

    def _encode_batch(
        self,
        model: str,
        ids: Array,
        now: int,
        kept: Array,
        columns: Columns,
        scope: Scope,
        latency_ms: float,
        rate: float,
    ) -> list[Chunk]:
        inputs = self._fit_rows("inputs", columns.inputs, kept)
        outputs = self._fit_rows("outputs", columns.outputs, kept)
        alternatives = {
            name: self._fit_rows(f"alternatives.{name}", found, kept)
            for name, found in columns.alternatives.items()
        }
        embedding = columns.embedding
        if embedding is not None:
            embedding = _rows("embedding", np.asarray(embedding), kept)
        chunks = []
        for start in range(0, len(ids), self._rows):
            part = slice(start, start + self._rows)
            chunk = self._encoder.encode_batch(
                model,
                ids[part].tobytes(),
                now,
                {name: array[part] for name, array in inputs.items()},
                {name: array[part] for name, array in outputs.items()},
                embedding=None if embedding is None else embedding[part],
                tags=scope.tags,
                group=scope.group,
                seq=None if scope.seq is None else scope.seq + start,
                alternatives={
                    name: {field: array[part] for field, array in found.items()}
                    for name, found in alternatives.items()
                },
                latency_ms=latency_ms,
                rate=rate,
            )
            chunks.append(chunk)
        return chunks

    def _fit_rows(self, section: str, fields: Mapping[str, Array], kept: Array) -> dict[str, Array]:
        return fit_rows(
            section, {name: _rows(name, array, kept) for name, array in fields.items()}, self._limit
        )

    def _check(self, model: str) -> None:
        if not _MODEL.fullmatch(model):
            raise InvalidModel("model", f"{len(model)} characters", _MODEL_RULE)
        if len(self._models) < _MODELS:
            self._models.add(model)

    def _known(self, model: Any) -> str:
        return model if type(model) is str and model in self._models else ""


def _exact(field: str, text: Any) -> str:
    if not isinstance(text, str):
        kind = InvalidModel if field == "model" else InvalidInference
        raise kind(field, type(text).__name__, "give text")
    return str.__str__(text)  # what an app makes of str may hash and compare as it likes


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


def _rows(name: str, array: Array, kept: Array) -> Array:
    if len(array) != len(kept):
        raise InvalidInference(name, array.shape, f"give {len(kept)} rows, one an inference")
    return array if kept.all() else array[kept]


def _reason(error: BaseException) -> str:
    return next(reason for kind, reason in _REASONS if isinstance(error, kind))


def _random() -> float:
    return int.from_bytes(os.urandom(4), "big") / 2**32


def _source() -> str:
    return f"{platform.node()}:{os.getpid()}"
