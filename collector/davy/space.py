"""The command ``davy retain``, and for how long the log's limits hold: what is kept, and what the disk has to hold."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from davy import console
from davy._directory import directory_of
from davy.health import Check
from davy.log import Extent
from davy.retention import retain_now
from davy.runner import open_runtime
from davy.runtime import Runtime

_HOUR: Final = 3600 * 10**9
_DAY: Final = 24 * _HOUR
_SHORTEST: Final = 600 * 10**9
"""Of less traffic than ten minutes no day can be foretold."""
_GIB: Final = 2**30
_ENOUGH: Final = 0.95
"""Of the days that are asked for: a limit that a noisy day just misses is no news."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What becomes of a log at the rate of its last day.

    Attributes
    ----------
    day_bytes
        Bytes of values appended a day.
    days
        How many days of them are kept: as many as `log.keep_hours` says, or fewer where `log.keep_bytes` holds fewer.
    wanted_days
        What `log.keep_hours` says.
    disk_bytes
        What the files come to on the disk; 0 where they are not Davy's to look at.
    """

    day_bytes: float
    days: float
    wanted_days: float
    disk_bytes: float

    def disk_bytes_after(self, days: float) -> float:
        """Return what the files take on the disk after so many days at this rate, from an empty log on."""
        return self.disk_bytes * min(1.0, days / self.days)


def forecast(extent: Extent, now: int, keep_hours: float, keep_bytes: int) -> Forecast | None:
    """Foretell from what the last day brought, or as much of it as there is; None of less than ten minutes.

    Examples
    --------
    >>> day, gib = 24 * 3600 * 10**9, 2**30
    >>> found = forecast(Extent(3 * gib, 6 * gib, day, used=4 * gib), 2 * day, 7 * 24, 20 * gib)
    >>> found.day_bytes / gib, round(found.days, 1), found.wanted_days, round(found.disk_bytes / gib, 1)
    (6.0, 3.3, 7.0, 26.7)
    """
    if extent.since is None or now - extent.since < _SHORTEST:
        return None
    day_bytes = extent.grown * _DAY / (now - extent.since)
    wanted = keep_hours / 24
    days = min(wanted, keep_bytes / day_bytes) if day_bytes else wanted
    around = extent.used / extent.held if extent.held else 1.0
    return Forecast(day_bytes, days, wanted, days * day_bytes * around)


def checks(runtime: Runtime) -> list[Check]:
    """Say for how many days the log's limits hold at today's rate, and whether the disk has room for them."""
    settings, now = runtime.settings.log, runtime.clock()
    extent = runtime.log.extent(now - _DAY)
    found = forecast(extent, now, settings.keep_hours, settings.keep_bytes)
    if found is None:
        return [
            Check(
                "log days", "ok", "less than ten minutes of traffic: how many days are kept is not known yet"
            )
        ]
    text = f"{_size(found.day_bytes)} a day: {found.days:.1f} days are kept"
    if found.disk_bytes:
        text += f", {_size(found.disk_bytes)} on the disk, {_size(extent.disk)} now"
    if found.days < _ENOUGH * found.wanted_days:
        need = found.day_bytes * found.wanted_days
        remedy = (
            f"DAVY_LOG_KEEP_BYTES lets go before DAVY_LOG_KEEP_HOURS ({found.wanted_days:g} days): "
            f"{_size(need)} would hold them (DAVY_LOG_KEEP_BYTES={round(need)}), or lower DAVY_LOG_KEEP_HOURS"
        )
        return [Check("log days", "warning", text, remedy), *_room(runtime, extent, found)]
    return [Check("log days", "ok", text), *_room(runtime, extent, found)]


def _room(runtime: Runtime, extent: Extent, found: Forecast) -> list[Check]:
    """Say whether the disk has room for what the limits let grow, and whether the file can give room back."""
    if not runtime.log.url.startswith("sqlite:"):
        return []
    free, more = shutil.disk_usage(directory_of(runtime.log.url)).free, found.disk_bytes - extent.disk
    checks = []
    if more > free:
        text = f"{_size(free)} free, the log takes {_size(more)} more before its limits hold"
        checks.append(
            Check("log room", "warning", text, "free space on that disk, or lower DAVY_LOG_KEEP_BYTES")
        )
    if not extent.shrinks and extent.free > _GIB:
        text = f"{_size(extent.free)} of log.db are free and stay: an older version made the file"
        checks.append(Check("log file size", "warning", text, _REWRITE))
    return checks


_REWRITE: Final = (
    "`davy retain --now --rewrite`, once, at a quiet time: whoever writes waits until it is written anew"
)


def retain(
    now: Annotated[bool, typer.Option("--now", help="Delete what is due, and shrink the files.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be deleted; delete nothing.")
    ] = False,
    rewrite: Annotated[
        bool,
        typer.Option("--rewrite", help="Write files that an older version made anew first; writers wait."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what retention has to delete, or with --now delete it at once; Davy may run."""
    do = now and not dry_run
    with open_runtime(make=False) as runtime:
        found = retain_now(runtime, dry_run=not do, rewrite=rewrite and do)
        at = runtime.clock()
        extent = runtime.log.extent(at - _DAY)
        settings = runtime.settings.log
        ahead = forecast(extent, at, settings.keep_hours, settings.keep_bytes)
        oldest = runtime.log.extent(0).since
    row: dict[str, Any] = {
        **asdict(found),
        "held_bytes": extent.held,
        "held_since": None if oldest is None else _time(oldest),
        "file_bytes": extent.disk,
        "file_free_bytes": extent.free,
        "day_bytes": None if ahead is None else round(ahead.day_bytes),
        "days_kept": None if ahead is None else round(ahead.days, 2),
    }
    console.show_one(row, title="deleted" if do else "would be deleted", as_json=as_json)
    if not extent.shrinks and extent.free:
        console.warn(f"davy: {_size(extent.free)} of log.db are free and stay: {_REWRITE}")


def _size(count: float) -> str:
    return f"{count / _GIB:.2f} GiB" if count >= _GIB / 10 else f"{count / 2**20:.1f} MiB"


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1e9, UTC).isoformat(timespec="seconds")
