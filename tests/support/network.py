"""A network between two processes of this machine that can be cut and mended."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

_CHUNK = 64 * 1024


class Proxy:
    """Passes on what reaches `port` to the port `target` of this machine; a context manager.

    Cut, it is a network without a word: connections stay open, new ones are accepted, and nothing passes.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=self._run, name=f"proxy-{self.port}", daemon=True)

    def cut(self) -> None:
        """Let nothing pass."""
        self._call(self._open.clear)

    def mend(self) -> None:
        """Let everything pass again, first what was held back."""
        self._call(self._open.set)

    def lead_to(self, target: int) -> None:
        """Break every connection, and lead new ones to another port."""
        self._target = target
        self._call(self._break_all)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _call(self, act: Callable[[], object]) -> None:
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (act(), done.set()))
        done.wait(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, sock=self._socket))
        self._loop.run_forever()
        server.close()
        self._break_all()
        self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        self._loop.close()

    def _break_all(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(OSError):
                await self._open.wait()
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
                try:
                    await _first(self._pump(reader, far_writer), self._pump(far_reader, writer))
                finally:
                    far_writer.transport.abort()
        except asyncio.CancelledError:
            pass  # broken on purpose; asyncio would print it
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK):
            await self._open.wait()
            writer.write(data)
            await writer.drain()


async def _first(*works: Any) -> None:
    """Run until the first ends, and end the others."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
