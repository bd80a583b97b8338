"""Claim checks: payloads are stored under the hash of their bytes, and the envelope carries a reference [1]_.

On the caller's thread a payload is a snapshot; here, on the sender's thread, it becomes bytes and gets its hash.

References
----------
.. [1] G. Hohpe, B. Woolf, "Enterprise Integration Patterns", 2003, "Claim Check".
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from davy.codec import refer
from davy.event import BlobRef, Path
from davy.log import Message
from davy.sdk.guard import Guard
from davy.sdk.payload import Payload, TooLarge
from davy.sdk.sink import PAYLOADS

if TYPE_CHECKING:
    from davy.sdk.parcels import Parcel

PLACEHOLDER: Final = BlobRef("", 0, "")
"""What stands in a chunk until the payload's reference is known."""
_GUARD: Final = Guard("payload_failed")
_REMEMBERED: Final = 10_000
_REMEMBERED_SECONDS: Final = 600.0
"""Less than the time for which the blob store keeps a payload that nothing refers to."""


class Claim(NamedTuple):
    """A field of a chunk some of whose values are stored apart: the payloads by row, and what becomes of them."""

    path: Path
    payloads: Mapping[int, Payload]
    references: dict[int, BlobRef | None]


def held(claims: Sequence[Claim]) -> int:
    """Give the bytes of the snapshots that claims hold."""
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
                if not claim.references:
                    made = {row: self._reference(parcel, each) for row, each in claim.payloads.items()}
                    claim.references.update(made)
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
                    if found is not None and found.hash == hash:
                        claim.references[row] = None
                        self._failed(parcel.model, "payload_refused")
        self.check_in(parcel)

    def _reference(self, parcel: Parcel, payload: Payload) -> BlobRef | None:
        with _GUARD:
            return self._made(parcel, payload)
        self._failed(parcel.model, "payload_failed")
        return None

    def _made(self, parcel: Parcel, payload: Payload) -> BlobRef:
        data, media_type = payload.make()
        if len(data) > self._most_bytes:
            raise TooLarge(
                "payload", f"{len(data)} bytes", f"at most {self._most_bytes}; see sdk.payload_bytes"
            )
        from davy.blobs import reference

        found = reference(data, media_type)
        if time.monotonic() - self._stored.get(found.hash, -_REMEMBERED_SECONDS) >= _REMEMBERED_SECONDS:
            parcel.payloads[found.hash] = Message(PAYLOADS, media_type, data)
        return found
