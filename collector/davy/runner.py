"""Opens what the settings name and runs roles until they are told to stop."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from davy._urls import without_password
from davy.blobs import Blobs, blob_address, open_blobs
from davy.config import Settings, load
from davy.errors import DavyError, SettingError
from davy.existing import require_place
from davy.forgetting import HidingLog
from davy.health.asking import at_once
from davy.log import Log, open_log
from davy.meter import Meter
from davy.requirements import lacking, require
from davy.runtime import Runtime, Target
from davy.store import Store, open_store

_log = logging.getLogger("davy.runner")
_SIGNAL_SECONDS: Final = 0.5


def beside_the_log(settings: Settings) -> Settings:
    """Fill in the store and blob addresses that the settings leave to the log's.

    Raises
    ------
    SettingError
        The URL is no log's, or a log on Kafka has no place for them.

    Examples
    --------
    >>> beside_the_log(Settings()).blob_url
    'file:///.davy/blobs'
    """
    scheme = settings.url.partition("://")[0]
    if scheme in {"kafka", "kafka+librdkafka"}:
        for name, example in {
            "store_url": "sqlite:////var/lib/davy",
            "blob_url": "file:///var/lib/davy",
        }.items():
            if not getattr(settings, name):
                remedy = f"Kafka keeps the log only: set DAVY_{name.upper()}, {example} for one"
                raise SettingError(name, "", remedy)
        return settings
    if scheme not in {"sqlite", "memory"}:
        remedy = "a server reads its log itself: use sqlite:///directory or kafka://host:port; http:// is for the SDK"
        raise SettingError("url", settings.url, remedy)
    return replace(settings, store_url=settings.store_url or settings.url, blob_url=blob_address(settings))


@contextmanager
def open_runtime(
    settings: Settings | None = None, *, forgotten: bool = False, make: bool = True
) -> Iterator[Runtime]:
    """Open log, store and blobs for a command or a server; close them at the end.

    Parameters
    ----------
    settings
        Those of this process by default.
    forgotten
        Whether readers of the log see what was forgotten, too.
    make
        Whether directories that are missing are made; what only reads makes none.

    Raises
    ------
    SettingError
        A setting or an address is wrong, or names a directory that is not there and not to be made.
    """
    settings = beside_the_log(settings or load())
    if not make:
        require_place(settings)
    with (
        closing(open_store(settings.store_url)) as store,
        closing(open_log(settings.url, settings)) as log,
        closing(open_blobs(settings.blob_url)) as blobs,
    ):
        seen: Log = log if forgotten else HidingLog(log, store)
        yield Runtime(settings=settings, log=seen, store=store, blobs=blobs, meter=Meter())


@contextmanager
def open_what_answers(settings: Settings, *, seconds: float = 15.0) -> Iterator[Runtime]:
    """Open log, store and blobs as they are, each on its own.

    What cannot be opened, or not within `seconds`, says why whenever it is used.

    Raises
    ------
    SettingError
        A setting or an address is wrong, or names a directory that is not there.
    """
    settings = beside_the_log(settings)
    require_place(settings)
    urls = {"store": settings.store_url, "log": settings.url, "blobs": settings.blob_url}
    openings: dict[str, Callable[[], Store | Log | Blobs]] = {
        "store": partial(open_store, settings.store_url),
        "log": partial(open_log, settings.url, settings),
        "blobs": partial(open_blobs, settings.blob_url),
    }
    with ExitStack() as stack:
        opened: dict[str, Any] = {}
        for name, found in at_once(openings, seconds).items():
            if isinstance(found, Exception):
                opened[name] = _Absent(urls[name], found)
            else:
                opened[name] = stack.enter_context(closing(found))
        yield Runtime(settings=settings, meter=Meter(), **opened)


class _Absent:
    """Stands for what cannot be opened: whatever is asked of it fails in the way that opening it did."""

    def __init__(self, url: str, error: Exception) -> None:
        self.url, self.exclusive = without_password(url), False
        self._error = error

    def __getattr__(self, name: str) -> Any:
        raise self._error


def targets() -> dict[str, EntryPoint]:
    """Every role that is installed, by name (entry point group ``davy.targets``)."""
    return {point.name: point for point in entry_points(group="davy.targets")}


def wanted(settings: Settings) -> list[str]:
    """Name the roles that `davy up` starts with these settings.

    Raises
    ------
    SettingError
        A package that a role needs is not installed.
    """
    return [name for name in sorted(targets()) if _load(name).wanted(settings)]


def require_roles(names: Iterable[str]) -> None:
    """Raise SettingError unless roles with these names are installed with all they need."""
    for name in names:
        _load(name)


def make_roles(names: Sequence[str], runtime: Runtime) -> dict[str, Target]:
    """Make roles by name.

    Raises
    ------
    SettingError
        A role is unknown, a package that it needs is not installed, or its settings are wrong.
    """
    return {name: _make(name, runtime) for name in names}


def run(roles: Mapping[str, Target], runtime: Runtime) -> int:
    """Run roles, a thread each, until Ctrl-C, SIGTERM or the death of one of them; return the exit code."""
    failed: list[str] = []
    threads = [
        threading.Thread(target=_guard, args=(name, role, runtime, failed), name=f"davy-{name}")
        for name, role in roles.items()
    ]
    with _stopping_on_signals(runtime.stop):
        for name, role in roles.items():
            _log.info("%s starts: %s", name, _about(role, runtime))
        for thread in threads:
            thread.start()
        while not runtime.stop.wait(_SIGNAL_SECONDS):
            pass  # the system may give a signal to any thread; its handler runs when this one wakes
        for thread in threads:
            thread.join(timeout=30)
    stuck = [thread.name for thread in threads if thread.is_alive()]
    for name in stuck:
        _log.error("%s did not stop within 30 s", name)
    return 1 if failed or stuck else 0


def _about(role: Target, runtime: Runtime) -> str:
    """Return in a line what a role uses, where, and what it waits for."""
    log = (
        f"waits for {', '.join(role.reads)} in {runtime.log.url}" if role.reads else f"log {runtime.log.url}"
    )
    places = (log, f"state in {runtime.store.url}", f"payloads in {runtime.blobs.url}")
    return "; ".join((*places, *role.uses()))


def _make(name: str, runtime: Runtime) -> Target:
    target = _load(name)
    try:
        return target(runtime)
    except ImportError as error:
        raise lacking("target", targets()[name], error) from error


def _load(name: str) -> type[Target]:
    known = targets()
    if name not in known:
        raise SettingError("target", name, f"no such role; installed are {', '.join(sorted(known))}")
    require("target", known[name])
    try:
        target: type[Target] = known[name].load()
    except ImportError as error:
        raise lacking("target", known[name], error) from error
    return target


def _guard(name: str, role: Target, runtime: Runtime, failed: list[str]) -> None:
    try:
        role.run()
    except Exception as error:  # noqa: BLE001 - whatever it was, the other roles must stop in order
        trace = None if isinstance(error, DavyError) else error
        _log.critical("role %s died, stopping the others: %s", name, error, exc_info=trace)
        failed.append(name)
    finally:
        runtime.stop.set()


@contextmanager
def _stopping_on_signals(stop: threading.Event) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
