"""HTTP servers as roles: the gateway, and the health of a process without one; they stop when the runtime does."""

from __future__ import annotations

import socket
import threading
from typing import ClassVar, Final

import uvicorn
from fastapi import FastAPI

from davy._urls import is_loopback
from davy.errors import SettingError
from davy.gateway.accept import Listener
from davy.gateway.app import make_app, make_health_app
from davy.gateway.connections import BACKLOG, bounded
from davy.gateway.keyfile import has_keys, say
from davy.meter import Meter
from davy.placeholders import refuse_placeholders
from davy.runtime import Runtime, Target

_BEAT_SECONDS: Final = 1


class HttpRole(Target):
    """An HTTP server, at `address`; with a `name` it is a role, whose pulse beats as long as it takes connections.

    Raises
    ------
    SettingError
        The address is not loopback and there is no API key, a secret is that of an example, the port is taken, or the
        system does not allow as many connections.
    """

    name: ClassVar[str] = ""

    def __init__(self, runtime: Runtime, app: FastAPI, section: str, host: str, port: int) -> None:
        refuse_placeholders(runtime.settings)
        if not is_loopback(host) and not (runtime.settings.gateway.has_key or has_keys(runtime)):
            remedy = (
                "set DAVY_GATEWAY_API_KEY, or make a key with `davy keys create`, to listen beyond loopback"
            )
            raise SettingError(f"{section}.host", host, remedy)
        say(runtime)
        connection = bounded(runtime)
        self._stop, self._pulse = runtime.stop, runtime.pulse
        self._socket = _listen(section, host, port, runtime.meter)
        shown = f"[{host}]" if ":" in host else host
        self.address = f"http://{shown}:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            app,
            http=connection,
            ws="none",
            backlog=BACKLOG,
            log_config=None,  # what it logs goes where everything goes, in the same form
            log_level="warning",
            access_log=False,
            proxy_headers=False,  # anybody may say that he is a proxy, and for whom
            timeout_graceful_shutdown=5,
            callback_notify=self._beat,
            timeout_notify=_BEAT_SECONDS,
        )
        self._server = uvicorn.Server(config)

    def run(self) -> None:
        """Serve until the runtime stops; requests in hand are finished within five seconds."""
        if self.name:
            self._pulse.begin(self.name, self.reads)
        threading.Thread(target=self._end_with_runtime, daemon=True, name="davy-http-stop").start()
        self._server.run(sockets=[self._socket])

    def uses(self) -> list[str]:
        """Where it listens."""
        return [f"waits for requests on {self.address}"]

    def close(self) -> None:
        """Close the address without serving; calling it twice is harmless."""
        self._socket.close()

    async def _beat(self) -> None:
        """Called by the event loop that answers requests: when it hangs or nobody can connect, the pulse stops."""
        if self.name and self._socket.takes():
            self._pulse.beat(self.name)

    def _end_with_runtime(self) -> None:
        self._stop.wait()
        self._server.should_exit = True


class GatewayTarget(HttpRole):
    """Serves the gateway's routes on `gateway.host` and `gateway.port`.

    Raises
    ------
    SettingError
        The address is not loopback and there is no API key, or the port is taken.
    """

    name = "gateway"

    def __init__(self, runtime: Runtime) -> None:
        settings = runtime.settings.gateway
        super().__init__(runtime, make_app(runtime), "gateway", settings.host, settings.port)


class HealthTarget(HttpRole):
    """Serves health and metrics of a process without a gateway on `health.host` and `health.port`.

    Raises
    ------
    SettingError
        The address is not loopback and there is no API key, or the port is taken.
    """

    def __init__(self, runtime: Runtime) -> None:
        settings = runtime.settings.health
        super().__init__(runtime, make_health_app(runtime), "health", settings.host, settings.port)


def _listen(section: str, host: str, port: int, meter: Meter) -> Listener:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio switches Nagle's algorithm off: an answer in two parts would wait 40 ms.
    listener = Listener(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.meter = meter
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)  # who comes before the server runs waits instead of being turned away
    except OSError as error:
        listener.close()
        remedy = f"{error.strerror}; choose another with --port, or stop what uses it"
        raise SettingError(f"{section}.port", f"{host}:{port}", remedy) from error
    return listener
