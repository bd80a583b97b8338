"""Keeps the log within its age and size, and the blob store within what is referred to: a role, and once by hand."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from davy import metrics
from davy.blobs import StoredBlob
from davy.errors import DavyError
from davy.forgetting import ForgottenIds, collect, keepers, orphans
from davy.runtime import Runtime, Target

_NAME: Final = "retain"
_EVERY_SECONDS: Final = 600.0
_AGAIN_SECONDS: Final = 10.0
_BEAT_SECONDS: Final = 5.0
_ROUND_SECONDS: Final = 600.0
"""So long a round may take before the role counts as silent."""
_ORPHANS_EVERY_SECONDS: Final = 3600.0
_PAYLOADS_A_ROUND: Final = 50_000
_HOUR: Final = 3600 * 10**9
_logger = logging.getLogger("davy.retention")


@dataclass(frozen=True, slots=True)
class Retained:
    """What was deleted, or would be, in numbers; `disk_bytes` is what the disk got back of files and payloads."""

    records: int
    payloads: int
    payload_bytes: int
    names: int
    disk_bytes: int


def retain_now(runtime: Runtime, *, dry_run: bool = False, rewrite: bool = False) -> Retained:
    """Delete everything that is due, at once, and give all free room of files back to the disk.

    Parameters
    ----------
    runtime
        Log, store, payloads and settings.
    dry_run
        Only say what is due.
    rewrite
        Write files that an older version made anew, whatever their size, so that they can shrink; writers wait.

    Raises
    ------
    SettingError
        A room is not installed here, so what it refers to is not known: no payload is deleted.
    """
    settings, now, log = runtime.settings.log, runtime.clock(), runtime.log
    records = log.retain(
        before=now - int(settings.keep_hours * _HOUR), max_bytes=settings.keep_bytes, dry_run=dry_run
    )
    names = ForgottenIds(runtime.store).expire(
        now - int((settings.keep_hours + settings.orphan_hours) * _HOUR), dry_run=dry_run
    )
    before, stored = now - int(settings.orphan_hours * _HOUR), runtime.blobs.stored()
    payloads: list[StoredBlob] = []
    while some := list(islice(stored, _PAYLOADS_A_ROUND)):
        payloads += orphans(runtime.blobs, some, keepers(runtime), before=before)
    payload_bytes = sum(payload.length for payload in payloads)
    if dry_run:
        return Retained(records, len(payloads), payload_bytes, names, 0)
    for payload in payloads:
        runtime.blobs.delete(payload.hash)
    freed = sum(one.shrink(everything=True, rewrite=rewrite) for one in (log, runtime.store))
    on_disk = payload_bytes if runtime.blobs.url.startswith("file:") else 0
    return Retained(records, len(payloads), payload_bytes, names, freed + on_disk)


class RetentionTarget(Target):
    """Deletes what is due: records, names of forgotten inferences, and payloads that nothing refers to.

    At the start and every ten minutes records older than `log.keep_hours` go, and the oldest beyond `log.keep_bytes`;
    files give back what is free beyond what comes next.
    Every hour up to 50,000 payloads are looked at, the next hour those that follow.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._orphans_at = 0
        self._stored: Iterator[StoredBlob] = iter(())

    def run(self) -> None:
        """Work until the runtime's stop signal; what fails is counted and tried again ten seconds later."""
        stop, pulse = self._runtime.stop, self._runtime.pulse
        pulse.begin(_NAME, self.reads)
        due_at = time.monotonic()
        well = False
        while not stop.is_set():
            if time.monotonic() >= due_at:
                with pulse.busy(_NAME, _ROUND_SECONDS):
                    failed = [
                        due for due in (self.retain, self.drop_names, self.collect_due) if not self._try(due)
                    ]
                    well = not failed
                due_at = time.monotonic() + (_EVERY_SECONDS if well else _AGAIN_SECONDS)
            if well:
                pulse.beat(_NAME)
            stop.wait(_BEAT_SECONDS)

    def uses(self) -> list[str]:
        """What it keeps."""
        settings = self._runtime.settings.log
        return [f"keeps {settings.keep_hours:g} hours and {settings.keep_bytes:,} bytes of the log"]

    def retain(self) -> int:
        """Delete what is due and let files shrink; return the number of records."""
        settings = self._runtime.settings.log
        before = self._runtime.clock() - int(settings.keep_hours * _HOUR)
        deleted = self._runtime.log.retain(before=before, max_bytes=settings.keep_bytes)
        for one in (self._runtime.log, self._runtime.store):
            one.shrink()
        return deleted

    def drop_names(self) -> int:
        """Drop the names of what was forgotten so long ago that nothing can bring it back; return their number."""
        settings = self._runtime.settings.log
        hours = settings.keep_hours + settings.orphan_hours
        return ForgottenIds(self._runtime.store).expire(self._runtime.clock() - int(hours * _HOUR))

    def collect_due(self) -> int:
        """Collect orphaned payloads once an hour; return their number."""
        now = self._runtime.clock()
        if (
            0 <= now - self._orphans_at < _ORPHANS_EVERY_SECONDS * 1e9
        ):  # less than nothing: the clock was set back
            return 0
        self._orphans_at = now
        return self.collect()

    def collect(self) -> int:
        """Look at the next payloads and delete those that nothing refers to any more; return their number.

        Raises
        ------
        SettingError
            A room is not installed here, so what it refers to is not known: nothing is deleted.
        """
        runtime = self._runtime
        some = list(islice(self._stored, _PAYLOADS_A_ROUND))
        if len(some) < _PAYLOADS_A_ROUND:
            self._stored = runtime.blobs.stored()
            some += islice(self._stored, _PAYLOADS_A_ROUND - len(some))
        before = runtime.clock() - int(runtime.settings.log.orphan_hours * _HOUR)
        deleted = collect(runtime.blobs, some, keepers(runtime), before=before)
        runtime.meter.add(metrics.ORPHANS, deleted)
        return deleted

    def _try(self, due: Callable[[], int]) -> bool:
        try:
            due()
        except DavyError as error:
            self._runtime.failed(_NAME, error)
            _logger.warning("retention failed and will be tried again: %s", error)
            return False
        return True
