"""Removing everything that is kept of an inference, wherever a room keeps it.

`ForgottenIds` lists what is forgotten, `HidingLog` lets no reader of the log see it, a `Keeper` of each room says what
the room holds of it, `Forgetting` removes that, and `collect` the payloads nothing refers to any more.
"""

from davy.forgetting.hiding import HidingLog
from davy.forgetting.keepers import Keeper, Trace, keepers
from davy.forgetting.names import ForgottenIds, Ids
from davy.forgetting.orphans import collect, orphans
from davy.forgetting.receipts import Receipt, receipts
from davy.forgetting.rights import (
    asked_aside,
    model_lease,
    outbox_lease,
    outbox_of,
    role_lease,
    standing_aside,
)
from davy.forgetting.work import KINDS, ForgetReport, Forgetting

__all__ = [
    "KINDS",
    "ForgetReport",
    "Forgetting",
    "ForgottenIds",
    "HidingLog",
    "Ids",
    "Keeper",
    "Receipt",
    "Trace",
    "asked_aside",
    "collect",
    "keepers",
    "model_lease",
    "orphans",
    "outbox_lease",
    "outbox_of",
    "receipts",
    "role_lease",
    "standing_aside",
]
