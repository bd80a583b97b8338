"""What the sink did not take: it waits in the spool, everything else queues up behind it, and order holds."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from davy.errors import SettingError
from davy.event import FEEDBACK
from davy.log import Message
from davy.sdk.forksafe import ForkSafe
from davy.sdk.guard import describe, warn
from davy.sdk.lane import Lane
from davy.sdk.outlet import Outlet
from davy.sdk.parcels import Parcel

if TYPE_CHECKING:
    from davy.config import SdkSettings
    from davy.sdk.journal import Entry
    from davy.sdk.spool import Spool

ADOPT_SECONDS: Final = 30.0
"""How often to look for what dead processes left."""
_TORN: Final = "spool_torn"


class Backlog(ForkSafe):
    """The spool as the sender meets it; without a directory in the settings it keeps nothing and is always empty.

    Parameters
    ----------
    settings
        Where, how much and for how long.
    outlet
        Where what was kept goes, oldest first.
    bulk, feedback
        The lanes that account for it.

    Raises
    ------
    SettingError
        The directory cannot be used, or this system has no file locks.
    """

    def __init__(self, settings: SdkSettings, outlet: Outlet, bulk: Lane, feedback: Lane) -> None:
        super().__init__()
        self._outlet = outlet
        self._bulk, self._feedback = bulk, feedback
        self._spool = self._open(settings)
        self.renew()

    def renew(self) -> None:
        """Look at once for what dead processes left: this process is another one."""
        self._next_adoption = 0.0

    def __len__(self) -> int:
        """How many messages wait."""
        return 0 if self._spool is None else len(self._spool)

    @property
    def exists(self) -> bool:
        """Whether there is a spool."""
        return self._spool is not None

    def adopt(self) -> None:
        """Take over what dead processes left, when it is time to look."""
        if self._spool is None or time.monotonic() < self._next_adoption:
            return
        self._next_adoption = time.monotonic() + ADOPT_SECONDS
        entries, torn = self._spool.adopt()
        for entry in entries:
            self._lane_of(entry).adopt(entry.rows)
        self._bulk.drop("", _TORN, torn)

    def keep(self, parcel: Parcel, source: str) -> bool:
        """Write a parcel to the spool; without the client report, which the next that is sent will carry."""
        if self._spool is None:
            return False
        try:
            for payload in parcel.payloads.values():
                self._spool.append(payload, 0)
            self._spool.append(parcel.message(source, {}), parcel.count)
        except OSError as error:
            warn("spool", describe(error))
            return False
        return True

    def replay(self, timeout: float) -> None:
        """Offer the oldest message; what is taken or refused leaves the spool."""
        found = None if self._spool is None else self._spool.first()
        if self._spool is None or found is None:
            return
        message, entry = found
        reason: str | None = "send_error"
        try:
            reason = self._offer(message, timeout)
        finally:
            if reason is not None and self._spool.advance(entry):
                self._end(entry, reason)

    def close(self) -> None:
        """Close the files; what is in them waits for the next process."""
        if self._spool is not None:
            self._spool.close()

    def _offer(self, message: Message | None, timeout: float) -> str | None:
        return _TORN if message is None else self._outlet.offer([message], timeout)

    def _end(self, entry: Entry, reason: str) -> None:
        if entry.rows:
            self._lane_of(entry).unspool(entry.key, entry.rows, reason)
        elif reason:
            self._bulk.note("", "payload_refused")

    def _expired(self, entry: Entry) -> None:
        self._end(entry, "spool_expired")

    def _lane_of(self, entry: Entry) -> Lane:
        return self._feedback if entry.topic == FEEDBACK else self._bulk

    def _open(self, settings: SdkSettings) -> Spool | None:
        if not settings.spool:
            return None
        try:
            from davy.sdk.spool import Spool
        except ImportError as error:
            raise SettingError("sdk.spool", settings.spool, "this system has no POSIX file locks") from error
        return Spool(Path(settings.spool), settings.spool_bytes, settings.spool_hours, self._expired)
