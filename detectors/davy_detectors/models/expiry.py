"""What grows with the age of a deployment ends: silent models are retired, retired ones and incidents forgotten."""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from davy import retired
from davy.codec import load, load_any
from davy.consume import Leases
from davy.event import INFERENCES
from davy.forgetting.records import OUTBOX
from davy.retired import Retirement
from davy.store import Batch as Changes
from davy_detectors.history import partition_index
from davy_detectors.incidents import matcher
from davy_detectors.incidents.incident import INCIDENTS, RESOLVED, Incident
from davy_detectors.labelled import join
from davy_detectors.models.known import COLLECTION
from davy_detectors.models.roster import UNLISTED
from davy_detectors.plugins import end_suspensions
from davy_detectors.reference import active
from davy_detectors.stream import model_run, windows
from davy_detectors.stream.totals import Totals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from davy.runtime import Runtime

_DAY_NS: Final = 86_400 * 10**9
_EVERY_NS: Final = 600 * 10**9
_LEASE: Final = "detect/expiry"
_INCIDENTS: Final = 200
"""So many resolved incidents of a model are kept, the newest, however young the others are."""
_logger = logging.getLogger("davy.detectors")


class Expiry:
    """Looks every ten minutes; of several processes one does.

    Parameters
    ----------
    runtime
        Settings (``detect.idle_days``, ``retired_days``, ``incident_days``), log, store and clock.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._settings = runtime.settings.detect
        self._leases = Leases(runtime.store)
        self._looked: int | None = None

    def step(self) -> None:
        """Look, if it is time."""
        now = self._runtime.clock()
        if self._looked is not None and 0 <= now - self._looked < _EVERY_NS:
            return
        self._looked = now
        lease = self._leases.hold(_LEASE)
        if lease is None:
            return
        changes, gone = Changes(), retired.retirements(self._runtime.store)
        self._retire_the_silent(gone, now, changes)
        forgotten = self._forget_the_retired(gone, now, changes)
        self._forget_incidents(forgotten, now, changes)
        if changes.operations:
            self._runtime.store.apply(changes, lease=lease)

    def close(self) -> None:
        """Leave it to whoever comes."""
        self._leases.close()

    def _retire_the_silent(self, gone: Mapping[str, Retirement], now: int, changes: Changes) -> None:
        patience = int(self._settings.idle_days * _DAY_NS)
        if not patience:
            return
        for model, data in self._runtime.store.items(COLLECTION):
            heard_at = Totals.load(load_any(data)).heard_at
            if heard_at and now - heard_at > patience and model not in gone and model != UNLISTED:
                _logger.warning(
                    "%s has sent nothing for %g days (detect.idle_days): it is retired until it sends again",
                    model,
                    self._settings.idle_days,
                )
                retired.retire([model], changes, at=now, by="silence")

    def _forget_the_retired(self, gone: Mapping[str, Retirement], now: int, changes: Changes) -> set[str]:
        patience = int(self._settings.retired_days * _DAY_NS)
        over = {model for model, found in gone.items() if patience and now - found.at > patience}
        partitions = [place[1] for place in self._runtime.log.end(INFERENCES)]
        for model in sorted(over):
            text = "%s was retired %g days ago (detect.retired_days): its totals, reference and incidents are forgotten"
            _logger.info(text, model, self._settings.retired_days)
            for collection in (COLLECTION, model_run.SNAPSHOTS, *map(partition_index.collection, partitions)):
                changes.delete(
                    collection, model
                )  # no partial aggregate: one that is there came this moment, and begins anew
            for key, _ in self._runtime.store.items(windows.collection(model)):
                changes.delete(windows.collection(model), key)
            changes.delete(OUTBOX, f"model/{model}")
            matcher.end(model, changes)
            join.forget(self._runtime.store, model, changes)
            end_suspensions(model, self._runtime.store, changes)
            active.remove(model, changes)
            retired.keep([model], changes)
        return over

    def _forget_incidents(self, models: set[str], now: int, changes: Changes) -> None:
        patience = int(self._settings.incident_days * _DAY_NS)
        resolved: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        for key, data in self._runtime.store.items(INCIDENTS):
            incident = load(Incident, data)
            if incident.model in models:
                changes.delete(INCIDENTS, key)
            elif incident.state == RESOLVED:
                resolved[incident.model].append((incident.resolved_at or incident.raised_at, key))
        for found in resolved.values():
            found.sort(reverse=True)
            for number, (at, key) in enumerate(found):
                if number >= _INCIDENTS or (patience and now - at > patience):
                    changes.delete(INCIDENTS, key)
