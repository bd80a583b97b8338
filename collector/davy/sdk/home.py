"""The one client of this process: made on first use, replaced by `init`."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from davy.errors import DavyError, LogError
from davy.sdk.client import Client
from davy.sdk.encoding import Hook
from davy.sdk.forksafe import ForkSafe
from davy.sdk.guard import Guard, describe, warn
from davy.sdk.sink import Sink, prepare, takes_payloads

_GUARD: Final = Guard("disabled")


class Home(ForkSafe):
    """Holds the client."""

    def __init__(self) -> None:
        super().__init__()
        self.client: Client | None = None
        self.not_watchable = 0
        self.integration_failed = 0
        self.renew()

    def renew(self) -> None:
        """Replace the lock; the client stays, its parts renew themselves."""
        self._lock = threading.RLock()
        self.not_begun = 0

    def made(self) -> Client:
        """Return the client, made from the settings of this process when there is none."""
        with self._lock:
            if self.client is None:
                client = _build({})
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
            client = _build(overrides, before_capture)
            client.bulk.drop("", "not_begun", self.not_begun)
            old, self.client, self.not_begun = self.client, client, 0
        if old is not None:
            old.sender.stop(old.sender.exit_seconds)


def _build(overrides: Mapping[str, Any], before_capture: Hook | None = None) -> Client:
    from davy.config import (  # a third of the time that importing the SDK would take
        SdkSettings,
        Settings,
        load,
    )

    with _GUARD:
        try:
            own = {field.name for field in fields(SdkSettings)}
            found = {f"sdk.{key}" if key in own else key: value for key, value in overrides.items()}
            settings = load(overrides=found)
            return Client(
                settings,
                prepare(settings),
                payloads=takes_payloads(settings),
                before_capture=before_capture,
                off="" if settings.sdk.enabled else "disabled",
            )
        except DavyError as error:
            warn("disabled", describe(error))
    return Client(Settings(), _no_sink, off="disabled")


def _no_sink() -> Sink:
    raise LogError("url", "", "the SDK is disabled")


HOME: Final = Home()
