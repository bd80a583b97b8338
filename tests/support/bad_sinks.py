"""Sinks that are good, gone, frozen, half-open or fail TLS; each gives its URL and is there while the test runs."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TypeAlias

import trustme

from support.gateway_server import GatewayServer
from support.sdk_rig import http_server
from support.services import freeze

Sink: TypeAlias = Callable[[], AbstractContextManager[str]]
_HALF: Final = b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\nhalf of it"


@contextmanager
def good() -> Iterator[str]:
    """Stores everything."""
    with http_server() as server:
        yield server.url


@contextmanager
def refused() -> Iterator[str]:
    """Nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{unused.getsockname()[1]}"


@contextmanager
def unread() -> Iterator[str]:
    """The system accepts connections, and nobody ever reads from them."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def frozen() -> Iterator[str]:
    """A gateway whose process is stopped."""
    with TemporaryDirectory() as directory, GatewayServer(Path(directory)) as gateway:
        freeze(gateway.process.pid)
        try:
            yield gateway.url
        finally:
            os.kill(gateway.process.pid, signal.SIGCONT)


@contextmanager
def unanswered() -> Iterator[str]:
    """Reads a request and never answers."""
    with _serving(lambda connection, over: over.wait()) as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def half_answered() -> Iterator[str]:
    """Stops in the middle of its answer."""

    def answer(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(_HALF)
        over.wait()

    with _serving(answer) as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def dripping() -> Iterator[str]:
    """Answers byte by byte, and is never done."""

    def answer(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 202 Accepted\r\nX: ")
        while not over.wait(0.02):
            connection.sendall(b"x")

    with _serving(answer) as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def reset() -> Iterator[str]:
    """Resets the connection in the middle of its answer."""

    def answer(connection: socket.socket, _over: threading.Event) -> None:
        connection.sendall(_HALF)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with _serving(answer) as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def encrypted(authority: trustme.CA) -> Iterator[str]:
    """Stores everything, behind a certificate of this authority."""
    with http_server() as server:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        yield server.url.replace("http:", "https:")


@contextmanager
def untrusted() -> Iterator[str]:
    """Shows a certificate of an authority nobody knows."""
    with encrypted(trustme.CA()) as url:
        yield url


@contextmanager
def endless_handshake() -> Iterator[str]:
    """Takes the connection and says nothing of TLS."""
    with unread() as url:
        yield url.replace("http:", "https:")


@contextmanager
def plain() -> Iterator[str]:
    """Speaks HTTP where the URL says HTTPS."""
    with good() as url:
        yield url.replace("http:", "https:")


BAD: Final[tuple[Sink, ...]] = (
    refused,
    unread,
    frozen,
    unanswered,
    half_answered,
    dripping,
    reset,
    untrusted,
    endless_handshake,
    plain,
)


@contextmanager
def _serving(answer: Callable[[socket.socket, threading.Event], object]) -> Iterator[int]:
    """Read a request from every connection, then let `answer` do what it likes until the event is set."""
    over = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(2**20)
            answer(connection, over)

    def accept() -> None:
        with suppress(OSError):  # the listener was shut down
            while True:
                thread = threading.Thread(target=serve, args=(listener.accept()[0],))
                thread.start()
                threads.append(thread)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads = [threading.Thread(target=accept)]
        threads[0].start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
