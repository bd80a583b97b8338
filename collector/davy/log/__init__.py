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
from davy.log.open import open_log

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
    "open_log",
]
