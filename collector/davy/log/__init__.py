"""The log: append-only topics by URL, ``sqlite:///directory`` or ``memory://name``."""

from davy.log.base import (
    Assigned,
    Consumer,
    Extent,
    Log,
    Message,
    Partition,
    Position,
    Producer,
    Record,
    Waiting,
)
from davy.log.open import client_extra, open_log

__all__ = [
    "Assigned",
    "Consumer",
    "Extent",
    "Log",
    "Message",
    "Partition",
    "Position",
    "Producer",
    "Record",
    "Waiting",
    "client_extra",
    "open_log",
]
