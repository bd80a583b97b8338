"""The one client of this process: made on first use, replaced by `init`, stood in for by a test's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

from davy.errors import DavyError, LogError
from davy.sdk.client import Client
from davy.sdk.encoding import Hook
from davy.sdk.forksafe import ForkSafe
from davy.sdk.guard import Guard, describe, warn
from davy.sdk.sink import Sink, prepare, takes_payloads

if TYPE_CHECKING:
    from davy.config import Settings

_GUARD: Final = Guard("disabled")


@dataclass(frozen=True, slots=True, eq=False)
class StandIn:
    """What a test puts in the place of the log or gateway: where everything goes, and settings that win over any other.

    `clients` are those that were made for it: the first, and one for each `davy.init` of the app.
    """

    open_sink: Callable[[], Sink]
    overrides: Mapping[str, Any]
    clients: list[Client] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class _Account:
    """All that `Home` holds: kept while a stand-in has its place."""

    stand_in: StandIn | None
    client: Client | None
    not_begun: int = 0
    not_watchable: int = 0
    integration_failed: int = 0

    def counts(self) -> dict[str, int]:
        return {"not_watchable": self.not_watchable, "integration_failed": self.integration_failed}


class Home(ForkSafe):
    """Holds the client."""

    def __init__(self) -> None:
        super().__init__()
        self.client: Client | None = None
        self.not_watchable = 0
        self.integration_failed = 0
        self._asked: tuple[Mapping[str, Any], Hook | None] = ({}, None)
        self._stand_in: StandIn | None = None
        self._beneath: list[_Account] = []
        self.renew()

    def renew(self) -> None:
        """Replace the lock; the client stays, its parts renew themselves."""
        self._lock = threading.RLock()
        self.not_begun = 0

    def made(self) -> Client:
        """Return the client, made from the settings of this process when there is none."""
        with self._lock:
            if self.client is None:
                client = _build({}, None, self._stand_in)
                client.bulk.drop("", "not_begun", self.not_begun)
                self.client, self.not_begun = client, 0
            return self.client

    def begin(self) -> Client:
        """Do as `made` for a capture, which is counted where no client can be made; the next one tries again."""
        try:
            return self.made()
        except BaseException:
            with self._lock:
                self.not_begun += 1
            raise

    def replace(self, overrides: Mapping[str, Any], before_capture: Hook | None = None) -> None:
        """Make another client and shut the old one down."""
        with self._lock:
            client = _build(overrides, before_capture, self._stand_in)
            client.bulk.drop("", "not_begun", self.not_begun)
            old, self.client, self.not_begun = self.client, client, 0
            self._asked = overrides, before_capture
        if old is not None:
            old.sender.stop(old.sender.exit_seconds)

    def divert(self, stand_in: StandIn) -> None:
        """Let a stand-in have what is captured from now on, by a client made as the app asked for its own.

        What was there keeps what it has, and is back with `restore`.

        Raises
        ------
        SettingError
            A setting is wrong.
        """
        with self._lock:
            overrides, hook = self._asked if self.client is not None else ({}, None)
            client = _client(overrides, hook, stand_in)
            self._beneath.append(self._account())
            self._set(_Account(stand_in, client))

    def restore(self, stand_in: StandIn) -> dict[str, int]:
        """End a stand-in, whether it is the newest or not; return its `counts`."""
        with self._lock:
            ended = self._account_of(stand_in)
            if self._stand_in is stand_in:
                self._set(self._beneath.pop())
            else:
                self._beneath.remove(ended)
        return ended.counts()

    def counts(self, stand_in: StandIn) -> dict[str, int]:
        """Return what no client counts, of the time of a stand-in that was not ended."""
        with self._lock:
            return self._account_of(stand_in).counts()

    def _account(self) -> _Account:
        counts = self.not_begun, self.not_watchable, self.integration_failed
        return _Account(self._stand_in, self.client, *counts)

    def _account_of(self, stand_in: StandIn) -> _Account:
        return next(one for one in [self._account(), *self._beneath] if one.stand_in is stand_in)

    def _set(self, account: _Account) -> None:
        self._stand_in, self.client, self.not_begun = account.stand_in, account.client, account.not_begun
        self.not_watchable, self.integration_failed = account.not_watchable, account.integration_failed


def _build(overrides: Mapping[str, Any], before_capture: Hook | None, stand_in: StandIn | None) -> Client:
    with _GUARD:
        try:
            return _client(overrides, before_capture, stand_in)
        except DavyError as error:
            warn("disabled", describe(error))
    from davy.config import Settings

    return Client(Settings(), _no_sink, off="disabled")


def _client(overrides: Mapping[str, Any], before_capture: Hook | None, stand_in: StandIn | None) -> Client:
    if stand_in is None:
        settings = _settings(overrides)
        open_sink, payloads = prepare(settings), takes_payloads(settings)
    else:
        settings = _settings({**overrides, **stand_in.overrides})
        open_sink, payloads = stand_in.open_sink, True
    off = "" if settings.sdk.enabled else "disabled"
    client = Client(settings, open_sink, payloads=payloads, before_capture=before_capture, off=off)
    if stand_in is not None:
        stand_in.clients.append(client)
    return client


def _settings(overrides: Mapping[str, Any]) -> Settings:
    from davy.config import SdkSettings, load  # a third of the time that importing the SDK would take

    own = {field.name for field in fields(SdkSettings)}
    return load(overrides={f"sdk.{key}" if key in own else key: value for key, value in overrides.items()})


def _no_sink() -> Sink:
    raise LogError("url", "", "the SDK is disabled")


HOME: Final = Home()
