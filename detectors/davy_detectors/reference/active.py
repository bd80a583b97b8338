"""Picks up the reference of each model from the store, and a new version of it soon after it appears there."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import Final

from davy import metrics, retired
from davy.codec import dump_any, load_any
from davy.errors import DecodeError, ReferenceInvalid
from davy.runtime import Runtime
from davy.store import Batch as Changes
from davy.store import Store
from davy_detectors.installed import Installed
from davy_detectors.reference.fitted import MEDIA_TYPE, linked
from davy_detectors.reference.reference import Reference
from davy_detectors.stream.partial_aggregate import MODELS

COLLECTION: Final = "references"
_DIGESTS: Final = "reference_digests"
"""Collection with the digest of each reference: a reference has hundreds of kilobytes, and many processes look."""
_PAYLOADS: Final = "reference_payloads"
"""Collection with the hashes of what lies in the blob store for a reference, of each that has some."""
_LOOK_EVERY_NS: Final = 1_000_000_000
_AGAIN_NS: Final = 60 * 10**9
"""After so long a reference is read again whose fitted states the blob store did not give."""
_logger = logging.getLogger("davy.detectors")


def put(store: Store, model: str, data: bytes) -> None:
    """Put a reference in force whose payloads, if any, are in the blob store.

    Whoever tests models takes this one up, though nothing of it has arrived yet, or it was retired.
    """
    digest = hashlib.blake2b(data, digest_size=16).digest()
    changes = Changes().put(COLLECTION, model, data).put(_DIGESTS, model, digest).add(MODELS, model, b"")
    hashes = linked(data)
    if hashes:
        changes.put(_PAYLOADS, model, dump_any(hashes))
    else:
        changes.delete(_PAYLOADS, model)
    retired.keep([model], changes)
    store.apply(changes)


def put_fitted(runtime: Runtime, reference: Reference) -> None:
    """Put a reference in force that was fitted just now, with the large states of its scorers before it."""
    for payload in reference.payloads.values():
        runtime.blobs.put(payload, MEDIA_TYPE)
    put(runtime.store, reference.model, reference.to_bytes())


def read(runtime: Runtime, data: bytes) -> Reference:
    """Return a reference as this process can use it; raises DecodeError where these bytes are none."""
    installed = Installed(runtime.settings.detect, runtime.clock)
    return Reference.from_bytes(data, installed, runtime.blobs)


def payloads(store: Store) -> set[str]:
    """Return the hashes of what references in force have in the blob store."""
    return {hash for _, data in store.items(_PAYLOADS) for hash in load_any(data)}


def remove(model: str, changes: Changes) -> None:
    """Take a reference out of force."""
    changes.delete(COLLECTION, model).delete(_DIGESTS, model).delete(_PAYLOADS, model)


def names(store: Store) -> set[str]:
    """Return the models that have a reference, without reading one."""
    return {model for model, _ in store.items(_DIGESTS)}


@dataclass(frozen=True, slots=True)
class _Found:
    digest: bytes
    reference: Reference | None
    again_at: int | None = None


class References:
    """The active reference of every model asked for, looked up at most once a second by the runtime's clock.

    A reference that cannot be read (another version of Davy wrote it) counts as none: the failure is counted and
    logged once, and the model is shown without a reference. Where only a scorer of it cannot be used, the model is
    blind for that one.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._looked: int | None = None
        self._digests: dict[str, bytes] = {}
        self._found: dict[str, _Found] = {}
        self._installed = Installed(runtime.settings.detect, runtime.clock)

    def current(self, model: str) -> Reference | None:
        """Return the reference of `model`, None when it has none that can be read."""
        self._look()
        digest = self._digests.get(model, b"")
        known = self._found.get(model)
        now = self._runtime.clock()
        if known is not None and known.digest == digest and (known.again_at is None or now < known.again_at):
            return known.reference
        stored = self._runtime.store.get(COLLECTION, model) if digest else None
        reference = self._read(model, stored)
        again = reference is not None and any(one.passing for one in reference.blind.values())
        self._found[model] = _Found(digest, reference, now + _AGAIN_NS if again else None)
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
            self._digests = dict(self._runtime.store.items(_DIGESTS))
            self._looked = now

    def _read(self, model: str, stored: bytes | None) -> Reference | None:
        if not stored:
            return None
        try:
            return Reference.from_bytes(stored, self._installed, self._runtime.blobs)
        except (DecodeError, ReferenceInvalid) as error:
            self._runtime.failed("detect", error)
            _logger.error("the reference of %s cannot be read; fit it again: %s", model, error)  # noqa: TRY400
            return None
