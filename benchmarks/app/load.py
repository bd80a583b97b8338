"""The load of `make bench-app`: raw sockets that are kept open, so that the server is what takes the time.

``load.py PORT COUNT RATE`` asks `COUNT` times, as fast as it is answered or `RATE` times a second, and prints how long
that took. At a rate the time of an answer counts from when the question was due, whether or not it could be asked then.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from collections import deque

CONNECTIONS = 8
PATIENCE_SECONDS = 120.0


def question() -> bytes:
    """Make a request for one row of 30."""
    body = json.dumps({"features": [round(0.1 * i - 1.5, 1) for i in range(30)]}).encode()
    head = "POST /predict HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: "
    return f"{head}{len(body)}\r\n\r\n".encode() + body


def run(port: int, count: int, rate: float) -> dict[str, float]:
    """Ask and measure."""
    asked, took, failed, answers = question(), [0] * count, 0, [b""] * CONNECTIONS
    selector, due_at, due = selectors.EpollSelector(), [0] * CONNECTIONS, 0
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    for number, each in enumerate(sockets):
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(each, selectors.EVENT_READ, number)
    free, begun, done, clock = deque(range(CONNECTIONS)), time.perf_counter_ns(), 0, time.perf_counter_ns
    step = round(1e9 / rate) if rate else 0
    while done < count:
        now = clock()
        while free and due < count and begun + due * step <= now:
            number = free.popleft()
            due_at[number] = begun + due * step if rate else clock()
            sockets[number].sendall(asked)
            due += 1
        wait = max(0.0, (begun + due * step - clock()) / 1e9) if free and due < count else PATIENCE_SECONDS
        for key, _ in selector.select(wait):
            number, part = key.data, sockets[key.data].recv(65536)
            answers[number] += part
            if not part:
                raise SystemExit(f"closed after {answers[number][:200]!r}")
            if not part.endswith(b"}"):
                continue  # the head alone: the body of every answer is an object
            took[done] = clock() - due_at[number]
            failed += not answers[number].startswith(b"HTTP/1.1 200")
            answers[number] = b""
            free.append(number)
            done += 1
    seconds, took = (clock() - begun) / 1e9, sorted(took)
    return {
        "seconds": seconds,
        "failed": failed,
        "p50_ms": took[count // 2] / 1e6,
        "p99_ms": took[count * 99 // 100] / 1e6,
    }


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))))
