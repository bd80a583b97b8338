"""The gateway as a role: an HTTP server that stops when the runtime does."""

from __future__ import annotations

import socket
import threading

import uvicorn

from davy.errors import SettingError
from davy.gateway.app import make_app
from davy.gateway.connections import BACKLOG, bounded
from davy.gateway.keys import KeyRing
from davy.gateway.loopback import is_loopback
from davy.runtime import Runtime


class GatewayTarget:
    """Serves the gateway's routes on `gateway.host` and `gateway.port`.

    Raises
    ------
    SettingError
        The address is not loopback and there is no API key, the port is taken, or the system does not allow as many
        connections.
    """

    def __init__(self, runtime: Runtime) -> None:
        settings = runtime.settings.gateway
        if not is_loopback(settings.host) and not (settings.api_key or _has_key(runtime)):
            remedy = (
                "set DAVY_GATEWAY_API_KEY, or make a key with `davy keys create`, to listen beyond loopback"
            )
            raise SettingError("gateway.host", settings.host, remedy)
        connection = bounded(runtime)
        self._stop = runtime.stop
        self._socket = _listen(settings.host, settings.port)
        config = uvicorn.Config(
            make_app(runtime),
            http=connection,
            ws="none",
            backlog=BACKLOG,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=5,
        )
        self._server = uvicorn.Server(config)

    def run(self) -> None:
        """Serve until the runtime stops; requests in hand are finished within five seconds."""
        threading.Thread(target=self._end_with_runtime, daemon=True, name="davy-gateway-stop").start()
        self._server.run(sockets=[self._socket])

    def close(self) -> None:
        """Let go of the address without serving; calling it twice is harmless."""
        self._socket.close()

    def _end_with_runtime(self) -> None:
        self._stop.wait()
        self._server.should_exit = True


def _has_key(runtime: Runtime) -> bool:
    return any(key.holds(runtime.clock()) for key in KeyRing(runtime.store).listed())


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio switches Nagle's algorithm off: an answer in two parts would wait 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        remedy = f"{error.strerror}; choose another with DAVY_GATEWAY_PORT or stop what uses it"
        raise SettingError("gateway.port", f"{host}:{port}", remedy) from error
    return listener
