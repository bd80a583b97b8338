"""A real Chromium without a window, spoken to over a pipe in its DevTools protocol."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from select import select
from typing import Any

import pytest

from support.services import service_or_skip

_BINARY = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NEEDED = [
    *service_or_skip("chromium", _BINARY is not None, "apt install chromium"),
    pytest.mark.timeout(120),
]
_SECONDS = 30.0


class Chromium:
    """One browser; what its pages said is in `events`, in order."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._waiting, self._number = b"", 0
        self.events: list[dict[str, Any]] = []

    def open(self, url: str) -> Page:
        """Open a page in a window of its own and wait until it is loaded."""
        window = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": window, "flatten": True})["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Network", "Runtime", "Log"):
            page.call(f"{domain}.enable")
        page.go(url)
        return page

    def call(self, method: str, parameters: dict[str, Any] | None = None, session: str = "") -> Any:
        """Call a method of the protocol; return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters or {}}
        message |= {"sessionId": session} if session else {}
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        answer = self.wait(lambda one: one.get("id") == message["id"])
        assert "error" not in answer, answer
        return answer["result"]

    def wait(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait for a message that did not come yet."""
        deadline = time.monotonic() + _SECONDS
        while True:
            message = self._next(deadline)
            if "method" in message:
                self.events.append(message)
            if wanted(message):
                return message

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._waiting:
            ready = select([self._answers], [], [], max(0.0, deadline - time.monotonic()))[0]
            part = os.read(self._answers, 2**16) if ready else b""
            assert part, f"chromium {'closed its pipe' if ready else 'did not answer'}"
            self._waiting += part
        first, _, self._waiting = self._waiting.partition(b"\0")
        found: dict[str, Any] = json.loads(first)
        return found


class Page:
    """One window."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser, self._session, self._since = browser, session, 0

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol for this window."""
        return self._browser.call(method, parameters, self._session)

    def go(self, url: str) -> None:
        """Go to an address and wait until the page is loaded."""
        self._since = len(self._browser.events)
        self.call("Page.navigate", url=url)
        self.wait("Page.loadEventFired")

    def wait(self, method: str, **said: Any) -> None:
        """Wait for an event that says this, unless it came since the last address."""

        def wanted(event: dict[str, Any]) -> bool:
            return self._is(event, method) and said.items() <= event["params"].items()

        if not any(wanted(event) for event in self._browser.events[self._since :]):
            self._browser.wait(wanted)

    def run(self, script: str) -> Any:
        """Run a script in the page and give what it comes to, once a promise is kept."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def said(self, *methods: str) -> list[dict[str, Any]]:
        """Return the events of these methods so far."""
        return [one["params"] for one in self._browser.events if any(self._is(one, name) for name in methods)]

    def _is(self, event: dict[str, Any], method: str) -> bool:
        return bool(event.get("method") == method and event.get("sessionId") == self._session)


@contextmanager
def chromium(directory: Path, hosts: dict[str, str]) -> Iterator[Chromium]:
    """Start a browser in which these names lead to these addresses, and no other name anywhere."""
    rules = ",".join([f"MAP {name} {address}" for name, address in hosts.items()])
    rules += ",MAP * ~NOTFOUND,EXCLUDE 127.0.0.1"
    child_reads, commands = os.pipe()
    answers, child_writes = os.pipe()
    assert _BINARY is not None

    # The browser reads its third file and writes its fourth.
    wire = f'exec "$@" 3<&{child_reads} 4>&{child_writes}'
    with (directory / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            [
                "bash", "-c", wire, "bash", _BINARY, "--headless=new", "--no-sandbox", "--disable-gpu",
                "--disable-dev-shm-usage",
                "--remote-debugging-pipe", f"--user-data-dir={directory / 'profile'}", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                f"--host-resolver-rules={rules}",
            ],
            stdout=log, stderr=log, pass_fds=(child_reads, child_writes),
        )  # fmt: skip
    os.close(child_reads)
    os.close(child_writes)
    browser = Chromium(commands, answers)
    try:
        yield browser
        browser.call("Browser.close")
    finally:
        os.close(commands)
        os.close(answers)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
