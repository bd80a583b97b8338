"""Messages that a transaction decided on: stored with it, published after it, and again after a crash."""

from __future__ import annotations

from collections.abc import Sequence

from davy.codec import dump_any, load_any
from davy.forgetting.records import OUTBOX
from davy.log import Message, Producer
from davy.store import Batch, Lease, Store


class Outbox:
    """Makes effects happen once and messages at least once.

    Parameters
    ----------
    store, producer
        Where effects and messages go.
    name
        Whose outbox: one transaction at a time, under one lease.
    """

    def __init__(self, store: Store, producer: Producer, name: str) -> None:
        self._store = store
        self._producer = producer
        self._name = name

    def finish(self, batch: Batch, messages: Sequence[Message], lease: Lease) -> None:
        """Apply `batch` together with `messages`, then publish these; nothing at all when there is neither.

        Raises
        ------
        LeaseLost
            `lease` is no longer held; nothing was changed.
        StoreError, LogError
            Before or after the transaction; `publish_again` makes up for the latter.
        """
        if batch.operations or messages:
            packed = [[m.topic, m.key, m.value, dict(m.headers)] for m in messages]
            batch.put(OUTBOX, self._name, dump_any(packed))
            self._store.apply(batch, lease=lease)
        if messages:
            self._producer.append(messages)

    def publish_again(self, lease: Lease) -> None:
        """Publish what the last transaction decided on: whoever made it may have died before that was done."""
        stored = self._store.get(OUTBOX, self._name)
        messages = [Message(*fields) for fields in load_any(stored)] if stored else []
        if messages:
            self._producer.append(messages)
            self._store.apply(Batch().delete(OUTBOX, self._name), lease=lease)
