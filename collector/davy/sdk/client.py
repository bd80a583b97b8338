"""The client of one process: decides, encodes and queues, on the caller's thread."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from davy.codec import Chunk, Layout, Recipe, Snapshot, dump, without
from davy.errors import InvalidInference
from davy.event import MODEL_NAME, MODEL_RULE, Array, Feedback
from davy.fields import Unfit, plain
from davy.fields.losses import INCOMPLETE, NO_INPUTS, REMEDIES, are_lost, read_loss
from davy.sdk.claims import held
from davy.sdk.encoding import Encoded, Encoding, Hook, HookFailed
from davy.sdk.fields import Columns
from davy.sdk.guard import warn
from davy.sdk.ids import Ids, join, join_many, parse
from davy.sdk.payload import PayloadTooLarge
from davy.sdk.pseudonyms import pseudonym
from davy.sdk.report import LeftOut
from davy.sdk.sampling import Sampler
from davy.sdk.scope import CURRENT, Scope
from davy.sdk.sender import Sender
from davy.sdk.shaping import Shaper
from davy.sdk.shortcut import Shortcut
from davy.sdk.sink import Sink
from davy.sdk.thinning import Thinning

if TYPE_CHECKING:
    from davy.config import Settings

_MODEL: Final = re.compile(MODEL_NAME)
_MODELS: Final = 1024
_MADE: Final = 8_192
"""Ids of which the model is remembered, so that feedback need not name it; twice as many at most, some 2 MB."""
_NO_SCOPE: Final = Scope()
_TEXT: Final[set[type]] = {str}
_NOT_ADDED: Final[tuple[Any, list[Any]]] = ((), [])


class InvalidModel(InvalidInference):
    """A model's name is not ``name:version``."""


_REASONS: Final = (
    (InvalidModel, "invalid_model"),
    (PayloadTooLarge, "too_large"),
    (HookFailed, "scrub_error"),
    (BaseException, "encode_error"),
)
_WITHHELD: Final = "before_capture"
_THINNED: Final = (
    "more is captured than is sent, so a random part of it travels, with its rate: raise sdk.queue_items and "
    "sdk.queue_bytes above what a batch holds, lower sdk.sample_rate, or see that the log or gateway takes what is sent"
)


class Client:
    """Turns calls into chunks. What goes wrong is counted here and goes on to the guard of the caller.

    Parameters
    ----------
    settings
        What the process started with.
    open_sink
        Opens the sink, on the sender's thread.
    payloads
        Whether the sink has somewhere to put payloads.
    before_capture
        The app's hook: sees every inference first, and may change it or leave it out.
    off
        Reason why nothing is captured; empty when all is well.
    random
        Gives numbers in [0, 1) for the jitter of retries.

    Raises
    ------
    SettingError
        A rule for fields asks for what cannot be.
    """

    def __init__(
        self,
        settings: Settings,
        open_sink: Callable[[], Sink],
        *,
        payloads: bool = False,
        before_capture: Hook | None = None,
        off: str = "",
        random: Callable[[], float] | None = None,
    ) -> None:
        self._limit = settings.sdk.inline_bytes
        self._salt = settings.sdk.salt
        self._off = off
        self._hooked = before_capture is not None
        self._sampler = Sampler(settings.sdk.sample_rate)
        shaper = Shaper(settings.sdk, payloads=payloads)
        self._encoding = Encoding(settings.sdk, shaper, before_capture)
        self._models: set[str] = set()
        self._made: dict[bytes, str] = {}
        self._made_before: dict[bytes, str] = {}
        self._left_out = LeftOut()
        self._misread = LeftOut()
        self.naming = self._encoding.naming
        self.ids = Ids(self._sampler)
        self.sender = Sender(open_sink, settings.sdk, _source, random or _random)
        self.bulk = self.sender.bulk
        shaper.room = lambda: self.bulk.room
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
            raw = join(now, low) if low > 0 else self._given_id(now, model, id)
            if raw is None:
                return None
            sampler = self._thinning.at(now)
            if sampler is not self._sampler and not sampler.keeps(int.from_bytes(raw[8:], "big")):
                self._thin(model, 1)
                return None
            if model not in self._models:
                self._check(model)
            if at is None:
                at = now if low > 0 else _moment(now)  # a drawn id means that there is no scope
            encoded = self._encoding.one(raw, at, sampler.rate, model, inputs, outputs, *more)
            if encoded is None:
                self.bulk.drop(model, _WITHHELD)
                return None
        except BaseException as error:
            self.lose(model, error)
            raise
        self.sender.ensure()
        chunk, claims = encoded
        if chunk.lost:
            self._tell(model, chunk.lost)
            self._without_inputs(model, [chunk])
        size = chunk.size + held(claims) if claims else chunk.size
        self._remember(raw, model)
        return raw.hex() if self.bulk.put(chunk, model, 1, size, now, claims) else None

    def capture_again(
        self, short: Shortcut, values: Sequence[Any], latency_ms: float, scope: Scope | None
    ) -> bool:
        """Queue one inference of a watched call by its short way, in the scope around it.

        False when that takes `capture`: nothing is counted then, and no id is used up.
        """
        now, sampler = time.time_ns(), self._sampler
        if self._thinning.at(now) is not sampler:
            return False
        at, given = now, None
        if scope is None:
            layout = short.layout()
        else:
            added, more = scope.fields()
            layout, values = short.layout(added), [*values, *more]
            if scope.at is not None:
                at = scope.at
        if layout is None:
            return False
        if scope is not None:
            given = scope.take(layout.model)
        if given is None:
            low = self.ids.admitted()
            if low == 0:
                return True  # sampled out
            raw = join(now, low)
        elif sampler.keeps(int.from_bytes(given[8:], "big")):
            raw = given
            self._remember(raw, layout.model)
        else:
            self.bulk.skip()
            return True
        try:
            chunk = self._encoding.again(layout, raw, at, sampler.rate, values, latency_ms)
        except BaseException as error:
            self.lose(layout.model, error)
            raise
        if chunk is None:
            if scope is not None and given is not None:
                scope.put_back(layout.model, given)
            else:
                self.ids.put_back(low)
            return False
        self.sender.ensure()
        self.bulk.put(chunk, layout.model, 1, chunk.size, now)
        return True

    def capture_copy(
        self,
        short: Shortcut,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        result: Any,
        latency_ms: float,
        scope: Scope | None,
    ) -> bool:
        """Do as `capture_again` for a call whose values `short` only copies: they are encoded when they are sent."""
        sampler, thinning, bulk = self._sampler, self._thinning, self.bulk
        rows, most = thinning.mark
        if thinning.sampler is not sampler or bulk.rows > rows or bulk.size > most:
            return False  # as `Thinning.at` does, without its cost
        added, more = _NOT_ADDED if scope is None else scope.fields()
        recipe = short.recipes.get(added) or short.recipe(added)
        if recipe is None or recipe.layout.stale:
            return False
        if more and {*map(type, more)} != _TEXT:
            return False
        values = short.copies(args, kwargs, result)
        if values is None:
            return False
        at = now = time.time_ns()
        size, model, given = recipe.size, recipe.layout.model, None
        if scope is not None:
            at = now if scope.at is None else scope.at
            if more:
                values = (*values, *more)
                size += sum(map(len, more))
            given = scope.take(model)
        if given is None:
            given = self.ids.at(now)
            if given is None:
                return True  # sampled out
        elif sampler.rate < 1.0 and not sampler.keeps(int.from_bytes(given[8:], "big")):
            bulk.skip()
            return True
        if self.sender.runs_in != os.getpid():
            self.sender.ensure()
        bulk.put(Snapshot(recipe, given, at, latency_ms, values), model, 1, size, now)
        return True

    def recipe(self, layout: Layout, labels: Sequence[int]) -> Recipe | None:
        """Return how snapshots of a layout are encoded; None when `capture_copy` cannot do for them."""
        return self._encoding.recipe(layout, self._sampler.rate, labels)

    def layout_of(self, model: str, inputs: int, outputs: int, names: list[Any]) -> Layout | None:
        """Return the layout in force for fields of these names; None when `capture_again` cannot do for them."""
        return self._encoding.layout_of(model, inputs, outputs, names)

    def capture_batch(
        self,
        model: str,
        count: int,
        columns: Callable[[], Columns],
        latency_ms: float,
        at: int | None = None,
    ) -> None:
        """Encode and queue `count` inferences made at once; `columns` gives their fields when they are wanted."""
        try:
            model = _exact("model", model)
            if self._off:
                self.bulk.drop(self._known(model), self._off, count)
                return
            now, scope = time.time_ns(), CURRENT.get() or _NO_SCOPE
            own = scope.take(model) if count == 1 else None
            if own is not None:
                ids, lows = own, np.frombuffer(own, ">u8")[1:].astype(np.uint64)
                self._remember(own, model)
            else:
                lows = self.ids.lows(count)
                ids = join_many(now, lows)
            if model not in self._models:
                self._check(model)
            kept, sampler = self._sample(model, lows, now)
            count = int(kept.sum())
            if not count:
                return
            at, found = _moment(now) if at is None else at, columns()

            def encode(kept: NDArray[np.bool_], rate: float) -> list[Encoded]:
                raws = np.frombuffer(ids, "V16")[kept]
                return self._encoding.many(raws, at, rate, model, found, kept, scope, latency_ms)

            encoded, left = self._fitted(lows, kept, sampler, encode)
            self._thin(model, count - left)
            count = left
            if withheld := count - sum(chunk.count for chunk, _ in encoded):
                self.bulk.drop(model, _WITHHELD, withheld)
        except BaseException as error:
            self.lose(model, error, count)
            raise
        self.sender.ensure()
        for chunk, claims in encoded:
            if chunk.lost:
                self._tell(model, chunk.lost)
            self.bulk.put(chunk, model, chunk.count, chunk.size + held(claims), now, claims)
        self._without_inputs(model, [chunk for chunk, _ in encoded])

    def describe(self, model: str, outputs: Mapping[str, Any]) -> None:
        """Say what the outputs of all inferences of a model share from now on: ``class_names``."""
        self._encoding.describe(model, outputs)

    def misread(self, model: str, reason: str, count: int = 1) -> None:
        """Count calls of which something, or all, was not understood, and say so."""
        self.bulk.note(model, reason, count)
        self._misread.add(f"{model}: {reason}", count)
        warn(reason, f"a call of {model} was {INCOMPLETE[reason]}", model)

    def _without_inputs(self, model: str, chunks: Sequence[Chunk]) -> None:
        """Count inferences all of whose inputs were left out; of a batch the first chunk tells what was."""
        if any(chunk.lost and are_lost("inputs", chunk.lost) for chunk in chunks):
            count = sum(without(chunk, "inputs") for chunk in chunks)
            if count:
                self.misread(model, NO_INPUTS, count)

    def leave_out(self, model: str, name: str, reason: str, count: int) -> None:
        """Count values that an integration leaves out of what it reads, `count` rows of them."""
        lost = {self._encoding.loss(model, name, reason): count}
        self.sender.owe(model, lost)
        self._tell(model, lost)

    def _tell(self, model: str, lost: Mapping[str, int]) -> None:
        """Count values that were left out, and say so: the envelope tells the log, this the app."""
        for text, count in lost.items():
            name, reason = read_loss(text) or ("", text)
            self._left_out.add(f"{model} {name}: {reason}", count)
            remedy = REMEDIES.get(reason, reason)
            warn(text, f"{name} of {model} is left out, in whole or in part: {remedy}", model)

    def lose(self, model: Any, error: BaseException, count: int = 1) -> None:
        """Count what an error kept from being queued."""
        self.bulk.drop(self._known(model), _reason(error), count)

    def pseudonym(self, value: Any) -> str:
        """Return the pseudonym of a value, made with the salt of the settings."""
        return pseudonym(value, self._salt)

    def feedback(self, id: Any, truth: Any, kind: str, model: str) -> None:
        """Queue what became known about an inference."""
        lane = self.sender.feedback
        try:
            if self._off or id is None:
                lane.drop("", self._off or "no_id")
                return
            now = time.time_ns()
            raw, model = parse(id), _exact("model", model)
            model = model or self._made.get(raw, "") or self._made_before.get(raw, "")
            found = Feedback(raw, plain(truth), now, _exact("kind", kind), model, _source())
            value = dump(found)
            if len(value) > self._limit:
                raise PayloadTooLarge("truth", f"{len(value)} bytes", f"at most {self._limit}")
        except BaseException as error:
            lane.drop("", _reason(error))
            raise
        self.sender.ensure()
        lane.put(value, found.model, 1, len(value), now)

    def _remember(self, id: bytes, model: str) -> None:
        """Remember whose an id is; nobody's once two models have it."""
        made = self._made
        made[id] = model if made.get(id, model) == model else ""
        if len(made) > _MADE:
            self._made_before, self._made = made, {}

    def _given_id(self, now: int, model: str, id: Any) -> bytes | None:
        scope = CURRENT.get()
        if id is None and scope is not None:
            id = scope.take(model)
        if id is None:
            return self.ids.at(now)
        raw = parse(id)
        if self._sampler.keeps(int.from_bytes(raw[8:], "big")):
            return raw
        self.bulk.skip()
        return None

    def stats(self) -> dict[str, Any]:
        """Return the accounts."""
        found, rate = self.sender.stats(), self._thinning.at(time.time_ns()).rate
        return {
            **found,
            "sampled_out": found["sampled_out"] + self.ids.left_out,
            "rate": rate,
            "left_out": self._left_out.counts(),
            "misread": self._misread.counts(),
        }

    def _sample(self, model: str, lows: Array, now: int) -> tuple[NDArray[np.bool_], Sampler]:
        """Return which of a batch are kept, and by which sampler."""
        kept, sampler = self._sampler.keeps_each(lows), self._thinning.at(now)
        count = int(kept.sum())
        self.bulk.skip(len(lows) - count)
        if sampler is not self._sampler:
            kept = self._thinned(model, lows, kept, sampler)
            count = int(kept.sum())
        fewer = self._thinning.for_batch(sampler, count) if count > 1 else sampler
        return (kept, sampler) if fewer is sampler else (self._thinned(model, lows, kept, fewer), fewer)

    def _fitted(
        self,
        lows: Array,
        kept: NDArray[np.bool_],
        sampler: Sampler,
        encode: Callable[[NDArray[np.bool_], float], list[Encoded]],
    ) -> tuple[list[Encoded], int]:
        """Encode those of a batch that are kept, or as many as the queue has bytes for; return their number, too."""
        while True:
            count = int(kept.sum())
            encoded = encode(kept, sampler.rate) if count else []
            size = sum(chunk.size + held(claims) for chunk, claims in encoded)
            fewer = self._thinning.for_batch(sampler, count, size) if count > 1 else sampler
            if fewer is sampler:
                return encoded, count
            if self._hooked:  # it is asked once about an inference: a random part of what it saw is queued
                order = np.random.default_rng().permutation(len(encoded))
                return [encoded[place] for place in order], count
            kept, sampler = fewer.keeps_each(lows), fewer

    def _thinned(
        self, model: str, lows: Array, kept: NDArray[np.bool_], sampler: Sampler
    ) -> NDArray[np.bool_]:
        """Return which of those kept so far are kept by a sampler of a lower rate; the others are counted."""
        fewer = sampler.keeps_each(lows)
        self._thin(model, int(kept.sum()) - int(fewer.sum()))
        return fewer

    def _thin(self, model: str, count: int) -> None:
        """Count inferences that are left out because of overload, and say so."""
        if count:
            self.bulk.note(self._known(model), "thinned", count)
            warn("thinned", _THINNED)

    def _check(self, model: str) -> None:
        if not _MODEL.fullmatch(model):
            raise InvalidModel("model", f"{len(model)} characters", MODEL_RULE)
        if len(self._models) < _MODELS:
            self._models.add(model)

    def _known(self, model: Any) -> str:
        return model if type(model) is str and model in self._models else ""


def _exact(field: str, text: Any) -> str:
    if not isinstance(text, str):
        kind = InvalidModel if field == "model" else InvalidInference
        raise kind(field, type(text).__name__, "give text")
    return str.__str__(text)  # what an app makes of str may hash and compare as it likes


def _moment(now: int) -> int:
    scope = CURRENT.get()
    return now if scope is None or scope.at is None else scope.at


def _reason(error: BaseException) -> str:
    if isinstance(error, Unfit) and error.reason == "size":
        return "too_large"
    return next(reason for kind, reason in _REASONS if isinstance(error, kind))


def _random() -> float:
    return int.from_bytes(os.urandom(4), "big") / 2**32


def _source() -> str:
    return f"{platform.node()}:{os.getpid()}"
