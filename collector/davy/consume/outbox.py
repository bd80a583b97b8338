"""Messages that a transaction decided on: stored with it, published after it, and again after a crash.

One that the log will never take leaves its place to a dead letter, so that it keeps nothing from being published.
"""

from __future__ import annotations

from collections.abc import Sequence

from davy.consume.failures import Failures
from davy.errors import Refused
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
    failures
        Where dead letters are counted.
    """

    def __init__(self, store: Store, producer: Producer, name: str, failures: Failures) -> None:
        self._store = store
        self._producer = producer
        self._name = name
        self._failures = failures

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
            OUTBOX.put(batch, self._name, messages)
            self._store.apply(batch, lease=lease)
        if not self._publish(
            messages
        ):  # else whoever starts from here is refused it again, and makes another letter
            self._clear(lease)

    def publish_again(self, lease: Lease) -> None:
        """Publish what the last transaction decided on: whoever made it may have died before that was done."""
        messages = OUTBOX.get(self._store, self._name)
        if messages:
            self._publish(messages)
            self._clear(lease)

    def _publish(self, messages: Sequence[Message]) -> bool:
        """Append messages, or what takes the place of those that the log refuses; say whether it took them all."""
        if not messages:
            return True
        try:
            self._producer.append(messages)
        except Refused as error:
            if len(messages) == 1:
                self._publish([self._failures.instead_of(messages[0], error)])
            else:  # the log does not say which of them it refuses
                middle = len(messages) // 2
                self._publish(messages[:middle])
                self._publish(messages[middle:])
            return False
        self._failures.count_letters(messages)
        return True

    def _clear(self, lease: Lease) -> None:
        self._store.apply(OUTBOX.delete(Batch(), self._name), lease=lease)
