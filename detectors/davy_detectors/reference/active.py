"""Picks up the reference of each model from the store, and a new version of it soon after it appears there."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import Final

from davy import metrics, retired
from davy.errors import DecodeError, ReferenceInvalid
from davy.models import DIGESTS, MODELS
from davy.runtime import Runtime
from davy.store import Batch as Changes
from davy.store import Collection, Store, marks
from davy_detectors.reference.reference import Reference

REFERENCES: Final[Collection[bytes]] = marks("references", writer="davy reference fit; detect forgets them")
"""The reference in force, by model, as `Reference.from_bytes` reads it: whoever only lists models reads none."""
_LOOK_EVERY_NS: Final = 1_000_000_000
_logger = logging.getLogger("davy.detectors")


def put(store: Store, model: str, data: bytes) -> None:
    """Put a reference in force.

    Whoever tests models takes this one up, though nothing of it has arrived yet, or it was retired.
    """
    digest = hashlib.blake2b(data, digest_size=16).digest()
    changes = Changes()
    REFERENCES.put(changes, model, data)
    DIGESTS.put(changes, model, digest)
    MODELS.add(changes, model, "")
    retired.keep([model], changes)
    store.apply(changes)


def remove(model: str, changes: Changes) -> None:
    """Take a reference out of force."""
    REFERENCES.delete(changes, model)
    DIGESTS.delete(changes, model)


def names(store: Store) -> set[str]:
    """Return the models that have a reference, without reading one."""
    return set(DIGESTS.keys(store))


@dataclass(frozen=True, slots=True)
class _Found:
    digest: bytes
    reference: Reference | None


class References:
    """The active reference of every model asked for, looked up at most once a second by the runtime's clock.

    A reference that cannot be read (another version of Davy wrote it) counts as none: the failure is counted and
    logged once, and the model is shown without a reference.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._looked: int | None = None
        self._digests: dict[str, bytes] = {}
        self._found: dict[str, _Found] = {}

    def current(self, model: str) -> Reference | None:
        """Return the reference of `model`, None when it has none that can be read."""
        self._look()
        digest = self._digests.get(model, b"")
        known = self._found.get(model)
        if known is not None and known.digest == digest:
            return known.reference
        stored = REFERENCES.get(self._runtime.store, model) if digest else None
        reference = self._read(model, stored)
        self._found[model] = _Found(digest, reference)
        size = reference.size if reference else 0
        self._runtime.meter.set(metrics.REFERENCE_SIZE, size, model=model)
        return reference

    def exists(self, model: str) -> bool:
        """Whether `model` has a reference, readable or not."""
        self._look()
        return model in self._digests

    def forget(self, model: str) -> None:
        """Keep nothing of `model` in memory."""
        self._found.pop(model, None)

    def _look(self) -> None:
        now = self._runtime.clock()
        if self._looked is None or not 0 <= now - self._looked < _LOOK_EVERY_NS:
            self._digests = dict(DIGESTS.items(self._runtime.store))
            self._looked = now

    def _read(self, model: str, stored: bytes | None) -> Reference | None:
        if not stored:
            return None
        try:
            return Reference.from_bytes(stored)
        except (DecodeError, ReferenceInvalid) as error:
            self._runtime.failed("detect", error)
            _logger.error("the reference of %s cannot be read; fit it again: %s", model, error)  # noqa: TRY400
            return None
