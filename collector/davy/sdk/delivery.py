"""How parcels are stored: their payloads first, then all together or, when that fails, one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from davy.event import INFERENCES
from davy.log import Message
from davy.sdk.claims import ClaimChecks
from davy.sdk.guard import Guard
from davy.sdk.hand import Hand
from davy.sdk.outlet import REFUSED, Outlet
from davy.sdk.parcels import Parcel
from davy.sdk.report import ClientReport

_GUARD: Final = Guard("sender")


class Delivery:
    """Sees to it that every parcel it is given is settled or put back.

    Parameters
    ----------
    hand
        Where the parcels come from.
    outlet, checks, report, source
        The sink, the payloads, what envelopes tell of losses, and the name of this process.
    patience
        Gives the longest time, in seconds, that one append may take now.
    again
        Called after an append that failed: waits until it is worth another one, or gives the reason why there is none.
    """

    def __init__(
        self,
        hand: Hand,
        outlet: Outlet,
        checks: ClaimChecks,
        report: ClientReport,
        source: Callable[[], str],
        *,
        patience: Callable[[], float],
        again: Callable[[], str],
    ) -> None:
        self._hand = hand
        self._outlet = outlet
        self._checks = checks
        self._report = report
        self._source = source
        self._patience = patience
        self._again = again

    def deliver(self, parcels: Sequence[Parcel]) -> str:
        """See parcels stored; return why some of them were put back, empty when none was."""
        parcel = parcels[0]
        try:
            for parcel in parcels:
                reason = self._store_payloads(parcel)
                if reason:
                    self._hand.put_back(parcels)
                    return reason
            together = self._together(parcels) if len(parcels) > 1 else None
            if together is not None:
                return together
            for place, parcel in enumerate(parcels):
                reason = self._send([parcel])
                if reason in {"", REFUSED}:
                    self._hand.settle(parcel, reason)
                else:
                    self._hand.put_back(parcels[place:])
                    return reason
        except BaseException:
            self._hand.settle(parcel, "send_error")
            self._hand.put_back()
            raise
        return ""

    def _together(self, parcels: Sequence[Parcel]) -> str | None:
        """Send parcels in one append, as `deliver` does; None when one cannot be taken, so that each goes alone."""
        with _GUARD:
            reason = self._send(parcels)
            if reason == REFUSED:
                return None
            if reason:
                self._hand.put_back(parcels)
            else:
                for parcel in parcels:
                    self._hand.settle(parcel)
            return reason
        return None

    def _store_payloads(self, parcel: Parcel) -> str:
        if not parcel.claims:
            return ""
        self._checks.check_in(parcel)
        for hash, payload in list(parcel.payloads.items()):
            reason = self._append([payload])
            if reason == REFUSED:
                self._checks.refused(parcel, hash)
            elif reason:
                return reason
            else:
                self._checks.stored(parcel, hash)
        return ""

    def _send(self, parcels: Sequence[Parcel]) -> str:
        source = self._source()
        reports = [
            self._report.take(parcel.model) if parcel.topic == INFERENCES else {} for parcel in parcels
        ]
        stored = False
        try:
            messages = [
                parcel.message(source, report) for parcel, report in zip(parcels, reports, strict=True)
            ]
            reason = self._append(messages)
            stored = not reason
        finally:
            for parcel, report in zip(parcels, reports, strict=True):
                if not stored:
                    self._report.give_back(parcel.model, report)
        return reason

    def _append(self, messages: Sequence[Message]) -> str:
        """Offer messages until they are taken: empty; or give why not: refused, or what `again` says."""
        while True:
            reason = self._outlet.offer(messages, self._patience())
            if reason is None:
                reason = self._again()
                if not reason:
                    continue
            return reason
