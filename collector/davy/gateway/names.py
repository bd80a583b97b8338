"""Which models and fields may be written: names come from strangers, and each costs memory, metrics and pages."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

from fastapi.concurrency import run_in_threadpool

from davy import metrics
from davy.errors import DavyError, InvalidInference
from davy.projects import owned
from davy.runtime import Runtime
from davy.store import Batch, Collection, events

CALLER: Final[ContextVar[str]] = ContextVar("caller", default="")
"""Who sends the request that is being answered: the name of a key, or an address."""
PROJECT: Final[ContextVar[str]] = ContextVar("project", default="")
"""The project that the models of this request belong to, empty for none."""
_IDLE_NS: Final = 24 * 3600 * 10**9
_OLD_NS: Final = 3600 * 10**9
"""The store is told anew that a model sends when what it says is older than this."""


def called(model: str) -> str:
    """Return what a model is called that this request names: after the project of its key.

    Raises
    ------
    InvalidInference
        There is no room for the project before the name.
    """
    return owned(model, PROJECT.get())


class TooManyNames(InvalidInference):
    """There is no room for a new name: nothing of the request was written."""


class TooManyModels(TooManyNames):
    """There is no room for a new model."""


class TooManyFields(TooManyNames):
    """There is no room for a new field of a model."""


@dataclass(slots=True)
class ModelUse:
    """What a request has of one model: how many inferences, and the hashes of the names of their fields."""

    inferences: int = 0
    fields: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Place:
    """By whom a model was first sent, and when it last was: as is known, and as the store says."""

    by: str
    at: int
    stored_at: int = 0


_PLACES: Final[Collection[_Place]] = events("gateway_models", _Place, writer="gateway")
"""The models that have a place, by name."""


class ModelNames:
    """The models that are written: so many for each key, and in all, each of so many fields; used on one event loop.

    A model that has a place keeps it while it sends; after a day without an inference it makes room if need be. Places
    are in the store, so that a restart gives none away. Each gateway counts what came through it. The names of fields
    are known by their hashes, as long as the process lives.

    Parameters
    ----------
    runtime
        Settings, store, meter and clock.
    """

    def __init__(self, runtime: Runtime) -> None:
        settings = runtime.settings.gateway
        self._most, self._most_of_key = settings.models, settings.key_models
        self._most_fields = settings.model_fields
        self._store, self._meter, self._clock = runtime.store, runtime.meter, runtime.clock
        self._places: dict[str, _Place] = {}
        self._of_key: Counter[str] = Counter()
        self._fields: dict[str, set[int]] = {}
        self._changing = asyncio.Lock()
        self._take(dict(_PLACES.items(self._store)), self._clock())

    async def admit(self, asked: Mapping[str, ModelUse]) -> None:
        """Take the inferences of a request, by model; all of them or, where there is no room for a name, none.

        Raises
        ------
        TooManyModels
            There are too many models of this key, or in all.
        TooManyFields
            There are too many fields of a model.
        StoreError
            A new model cannot be noted.
        """
        self._check_fields(asked)
        now, changes = self._clock(), False
        for model in asked:
            place = self._places.get(model)
            if place is not None:
                place.at = now
            changes = changes or place is None or now - place.stored_at > _OLD_NS
        if changes:
            async with self._changing:
                await self._change(asked, now)
        for model, one in asked.items():
            self._fields.setdefault(model, set()).update(one.fields)

    def _check_fields(self, asked: Mapping[str, ModelUse]) -> None:
        for model, one in asked.items():
            known = self._fields.get(model, set())
            found = len(known) + len(one.fields - known)
            if found > self._most_fields:
                self._refuse(asked, "fields")
                remedy = (
                    f"at most {self._most_fields} names of fields a model, over all its inferences: what changes is a"
                    " value; or raise DAVY_GATEWAY_MODEL_FIELDS"
                )
                raise TooManyFields(model, f"{found} fields", remedy)

    async def _change(self, asked: Mapping[str, ModelUse], now: int) -> None:
        missing = [model for model in asked if model not in self._places]
        if missing:
            self._take(await run_in_threadpool(lambda: _PLACES.get_many(self._store, missing)), now)
            for model in self._places.keys() & missing:
                self._places[model].at = now  # another gateway gave it its place
        new = [model for model in missing if model not in self._places]
        key, batch = CALLER.get(), Batch()
        bound = self._find_room(key, new, now, batch)
        if bound:
            self._refuse(asked, bound)
            raise TooManyModels("model", new[0], self._remedy(bound))
        for model in new:
            self._places[model] = _Place(key, now)
        self._of_key[key] += len(new)
        for model in asked:
            self._places[model].at = self._places[model].stored_at = now
            _PLACES.put(batch, model, self._places[model])
        try:
            await run_in_threadpool(lambda: self._store.apply(batch))
        except DavyError:
            self._give_up(new)
            raise

    def _find_room(self, key: str, new: Sequence[str], now: int, batch: Batch) -> str:
        """Forget idle models if need be; return the bound that is reached all the same."""
        if self._reached(key, new):
            idle = [model for model, place in self._places.items() if now - place.at > _IDLE_NS]
            self._give_up(idle)
            for model in idle:
                _PLACES.delete(batch, model)
        return self._reached(key, new)

    def _reached(self, key: str, new: Sequence[str]) -> str:
        if new and self._of_key[key] + len(new) > self._most_of_key:
            return "key"
        return "all" if new and len(self._places) + len(new) > self._most else ""

    def _remedy(self, bound: str) -> str:
        name, most, whose = (
            ("KEY_MODELS", self._most_of_key, "from one key, or one address without a key")
            if bound == "key"
            else ("MODELS", self._most, "in all")
        )
        return f"at most {most} models {whose}; one that is silent for a day makes room, or raise DAVY_GATEWAY_{name}"

    def _refuse(self, asked: Mapping[str, ModelUse], bound: str) -> None:
        self._meter.add(metrics.UNNAMED, sum(one.inferences for one in asked.values()), bound=bound)

    def _take(self, stored: Mapping[str, _Place], now: int) -> None:
        for model, place in stored.items():
            self._places[model] = place
            place.at = min(place.at, now)  # the clock was ahead
            self._of_key[place.by] += 1

    def _give_up(self, models: Sequence[str]) -> None:
        for model in models:
            self._of_key[self._places.pop(model).by] -= 1
            self._fields.pop(model, None)
            for metric in (metrics.RECEIVED, metrics.REPEATED_AT_GATEWAY):
                self._meter.forget(metric, model=model)
