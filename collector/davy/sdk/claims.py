"""Claim checks: payloads are stored under the hash of their bytes, and the envelope carries a reference [1]_.

On the caller's thread a payload is a snapshot; here, on the sender's thread, it becomes bytes and gets its hash.

References
----------
.. [1] G. Hohpe, B. Woolf, "Enterprise Integration Patterns", 2003, "Claim Check".
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from davy.codec import refer
from davy.event import BlobRef, Path, Summary
from davy.log import Message
from davy.sdk.guard import Guard
from davy.sdk.payload import Payload, PayloadTooLarge
from davy.sdk.sink import PAYLOADS

if TYPE_CHECKING:
    from davy.sdk.parcels import Parcel

PLACEHOLDER: Final = BlobRef("", 0, "")
"""What stands in a chunk until the payload's reference is known."""
_GUARD: Final = Guard("payload_failed")
_REMEMBERED: Final = 10_000
_CROWDED: Final = 0.375
"""So full a queue matters more than the size of what is stored."""
_REMEMBERED_SECONDS: Final = 600.0
"""Less than the time for which the blob store keeps a payload that nothing refers to."""


class Claim(NamedTuple):
    """A field of a chunk some of whose values are stored apart or summarised: the payloads by row, what they become.

    A payload is let go once it has become something.
    """

    path: Path
    payloads: dict[int, Payload]
    references: dict[int, BlobRef | Summary | None]


def held(claims: Sequence[Claim]) -> int:
    """Return the bytes of the snapshots that claims hold."""
    return sum(each.size for claim in claims for each in claim.payloads.values())


class ClaimChecks:
    """Makes the references of a parcel and remembers which payloads were stored, so that equal ones are sent once.

    Parameters
    ----------
    most_bytes
        The largest payload.
    failed
        Called with the model and a reason for each payload that cannot be stored: its field will be missing.
    """

    def __init__(self, most_bytes: int, failed: Callable[[str, str], None]) -> None:
        self._most_bytes = most_bytes
        self._failed = failed
        self._stored: OrderedDict[str, float] = OrderedDict()

    def check_in(self, parcel: Parcel) -> None:
        """Put references into the chunks of a parcel, and what must be stored first into its `payloads`."""
        for place, claims in parcel.claims.items():
            for claim in claims:
                for row, payload in list(claim.payloads.items()):
                    found = self._reference(parcel, payload)
                    claim.references[row] = found
                    if claim.payloads.pop(row, None) is not None:  # the thread that stops this one may have
                        self._let_go(parcel, payload, found)
                parcel.loads[place] = refer(parcel.loads[place], claim.path, claim.references)

    def stored(self, parcel: Parcel, hash: str) -> None:
        """Note that a payload was stored."""
        del parcel.payloads[hash]
        self._stored[hash] = time.monotonic()
        self._stored.move_to_end(hash)
        while len(self._stored) > _REMEMBERED:
            self._stored.popitem(last=False)

    def refused(self, parcel: Parcel, hash: str) -> None:
        """Note that a payload will never be stored: the fields that refer to it become missing."""
        del parcel.payloads[hash]
        for claims in parcel.claims.values():
            for claim in claims:
                for row, found in list(claim.references.items()):
                    if isinstance(found, BlobRef) and found.hash == hash:
                        claim.references[row] = None
                        self._failed(parcel.model, "payload_refused")
        self.check_in(parcel)

    def _reference(self, parcel: Parcel, payload: Payload) -> BlobRef | Summary | None:
        with _GUARD:
            return self._made(parcel, payload)
        self._failed(parcel.model, "payload_failed")
        return None

    def _made(self, parcel: Parcel, payload: Payload) -> BlobRef | Summary:
        found = payload.make(parcel.lane.fullness() > _CROWDED)
        if isinstance(found, Summary):
            return found
        if len(found.data) > self._most_bytes:
            raise PayloadTooLarge(
                "payload", f"{len(found.data)} bytes", f"at most {self._most_bytes}; see sdk.payload_bytes"
            )
        from davy.blobs import reference

        named = reference(found.data, found.media_type)
        if time.monotonic() - self._stored.get(named.hash, -_REMEMBERED_SECONDS) >= _REMEMBERED_SECONDS:
            parcel.payloads[named.hash] = Message(PAYLOADS, found.media_type, found.data)
        return replace(named, about=found.about)

    @staticmethod
    def _let_go(parcel: Parcel, payload: Payload, found: BlobRef | Summary | None) -> None:
        """Release the room of a snapshot at once: what was made of it is smaller, and much may wait for it."""
        kept = found.length if isinstance(found, BlobRef) else 0
        spare = max(0, payload.size - kept)
        parcel.size -= spare
        parcel.lane.release(spare)
