"""A role that reads inferences in one piece and keeps nothing of them."""

from __future__ import annotations

from davy.event import INFERENCES
from davy.log import Message, Record
from davy.store import Batch


class Reading:
    """See `davy.consume`; named `detect`, as which a deployment expects it."""

    name = "detect"
    topics = (INFERENCES,)

    def restore(self) -> None: ...

    def decode(self, record: Record) -> bytes:
        return record.value

    def handle(self, items: object, batch: Batch) -> list[Message]:
        return []

    def idle(self, batch: Batch) -> list[Message]:
        return []
