"""How every role reads the log: poll, decode, compute, one store transaction, publish, commit.

The transaction holds the role's state, its position and an outbox with what it is about to publish. A role that dies
at any point starts again from the stored position and publishes the outbox once more: effects in the store happen
exactly once, messages at least once and with the same ids.

A failure has one of two owners. Log and store are nobody's record: the loop waits and goes on from the stored
position. Everything else that `Role.handle` raises belongs to a record: the records of the poll are handled one by
one, each in a transaction of its own, and the one that fails three times in the same way goes to the dead letters.

A partition is handled by one process at a time, and so is a role that does not spread: by leases, and a transaction
without its lease is refused. A second process takes over when the first leaves, or ten seconds after its death; where
the log itself says who reads a partition, at once. While `davy forget` works every role stands aside, and begins again
from the stored state.
"""

from davy.consume.failures import Failures, keep_going
from davy.consume.leases import Leases
from davy.consume.loop import Loop, Role, Spread
from davy.consume.outbox import Outbox
from davy.consume.positions import (
    StoredPosition,
    offset_in,
    stored_offset,
    stored_places,
    stored_position,
    stored_positions,
)

__all__ = [
    "Failures",
    "Leases",
    "Loop",
    "Outbox",
    "Role",
    "Spread",
    "StoredPosition",
    "keep_going",
    "offset_in",
    "stored_offset",
    "stored_places",
    "stored_position",
    "stored_positions",
]
