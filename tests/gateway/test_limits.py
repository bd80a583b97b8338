"""The gateway's limits: what is beyond them is refused before memory grows, and nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.gateway_rig import PACKED, LocalClient, opened, records, stored

from davy.codec import Encoder, pack
from davy.event import INFERENCES, dead_letters
from davy.gateway import make_app
from davy.gateway.limits import Admission, TokenBuckets
from davy.gateway.refusals import Later, TooMany

pytestmark = pytest.mark.fast
ONE = {"model": "m:1", "inputs": {"x": 1.0}}


def in_parts(size: int) -> Iterator[bytes]:
    for _ in range(size // 512):
        yield bytes(512)


def envelope(rows: int, fields: int = 1) -> bytes:
    inputs = {f"x{i}": np.ones(rows) for i in range(fields)}
    return pack([Encoder().encode_batch("m:1", np.random.default_rng(0).bytes(16 * rows), 1, inputs, {})])


@pytest.mark.parametrize("whole", [True, False])
def test_a_body_beyond_the_limit_is_answered_413_with_and_without_its_length(whole: bool) -> None:
    with opened(body_bytes=1024) as runtime, LocalClient(make_app(runtime)) as client:
        answer = client.post(
            "/v1/envelopes", content=bytes(2048) if whole else in_parts(2048), headers=PACKED
        )
        assert answer.status_code == 413
        assert answer.json()["field"] == "body"
        assert records(runtime, dead_letters(INFERENCES)) == []


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/v1/inferences", {"json": [ONE] * 4}),
        ("/v1/envelopes", {"content": envelope(4), "headers": PACKED}),
        ("/v1/feedback", {"json": [{"id": "0" * 32, "truth": 1}] * 4}),
        ("/v1/oip/m:1", {"json": {"request": {"inputs": []}, "response": {"outputs": [
            {"name": "y", "shape": [4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}}}),
    ],
)  # fmt: skip
def test_more_rows_than_the_limit_are_answered_422(route: str, body: dict[str, Any]) -> None:
    with opened(request_rows=3) as runtime, LocalClient(make_app(runtime)) as client:
        if route == "/v1/oip/m:1":
            body["json"]["request"]["inputs"] = body["json"]["response"]["outputs"]
        answer = client.post(route, **body)
        assert (answer.status_code, "at most 3" in answer.json()["remedy"]) == (422, True)
        assert stored(runtime) == []


def test_more_than_4096_fields_are_answered_422() -> None:
    many = {f"x{i}": 1.0 for i in range(4097)}
    with opened() as runtime, LocalClient(make_app(runtime)) as client:
        assert client.post("/v1/inferences", json={"model": "m:1", "inputs": many}).status_code == 422
        halves = {"model": "m:1", "inputs": dict(list(many.items())[:4000]), "outputs": {"a": 1, **many}}
        assert client.post("/v1/inferences", json=halves).status_code == 422
        assert (
            client.post("/v1/cloudevents/m:1", json={"instances": [many]}, headers=REQUEST).status_code == 422
        )
        assert stored(runtime) == []


REQUEST = {"ce-id": "1", "ce-type": "org.kubeflow.serving.inference.request", "ce-specversion": "1.0"}


def test_a_client_that_sends_too_fast_is_answered_429_with_the_time_to_wait() -> None:
    with opened(requests_per_second=0.01) as runtime, LocalClient(make_app(runtime)) as client:
        assert client.post("/v1/inferences", json=ONE).status_code == 202
        answer = client.post("/v1/inferences", json=ONE)
        assert answer.status_code == 429
        assert 0 < int(answer.headers["retry-after"]) <= 100
        assert client.get("/healthz").status_code == 200
        assert len(stored(runtime)) == 1


def test_tokens_come_back_with_time_and_clients_do_not_share_them() -> None:
    now = 0.0
    buckets = TokenBuckets(2.0, clock=lambda: now)
    for _ in range(2):
        buckets.take("a")
    with pytest.raises(TooMany) as caught:
        buckets.take("a")
    assert caught.value.seconds == pytest.approx(0.5)
    buckets.take("b")
    now = 0.5
    buckets.take("a")
    with pytest.raises(TooMany):
        buckets.take("a")


def test_guesses_of_a_key_are_limited_by_address() -> None:
    with (
        opened(api_key="lamp", requests_per_second=0.01) as runtime,
        LocalClient(make_app(runtime)) as client,
    ):
        guess = {"authorization": "Bearer guess"}
        assert [client.get("/metrics", headers=guess).status_code for _ in range(2)] == [401, 429]


def test_room_is_bounded_in_requests_and_in_bytes_and_given_back() -> None:
    room = Admission(2, 100)
    with room.place(60) as place, room.place(0) as other:
        with pytest.raises(Later, match="requests at once"), room.place(0):
            pass
        with pytest.raises(Later, match="bytes at once"):
            other.grow(41)
        place.grow(100)
    with room.place(100), pytest.raises(Later, match="bytes at once"), room.place(1):
        pass


def test_beyond_the_room_503_comes_at_once_while_the_log_is_held_and_what_was_taken_is_written(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path}"
    with opened(url, requests_at_once=2) as runtime, LocalClient(make_app(runtime)) as client:
        holder = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(3) as pool:
            waiting = [pool.submit(client.post, "/v1/inferences", json=ONE) for _ in range(3)]
            answer = next(as_completed(waiting, timeout=30)).result()
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) >= 1
            assert client.get("/healthz").status_code == 200
            holder.execute("COMMIT")
            statuses = sorted(one.result().status_code for one in waiting)
        holder.close()
        assert statuses == [202, 202, 503]
        assert len(stored(runtime)) == 2


def test_a_log_that_refuses_gives_503_and_the_same_inference_is_stored_when_it_is_sent_again(
    tmp_path: Path,
) -> None:
    body = {**ONE, "id": "ab" * 16}
    with opened(f"sqlite:///{tmp_path}") as runtime, LocalClient(make_app(runtime)) as client:
        with sqlite3.connect(tmp_path / "log.db") as other:
            other.execute(
                "CREATE TRIGGER full BEFORE INSERT ON records BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
            )
        answer = client.post("/v1/inferences", json=body)
        assert (answer.status_code, answer.json()["error"]) == (503, "LogError")
        assert int(answer.headers["retry-after"]) >= 1
        assert client.post("/v1/envelopes", content=b"damaged", headers=PACKED).status_code == 503
        assert client.post("/v1/feedback", json={"id": "ab" * 16, "truth": 1}).status_code == 503
        other.execute("DROP TRIGGER full")
        other.commit()
        other.close()
        assert client.post("/v1/inferences", json=body).json()["repeated"] == 0
        assert [one.id.hex() for one in stored(runtime)] == ["ab" * 16]


def test_a_body_that_takes_too_long_is_answered_408() -> None:
    import asyncio

    from davy.config import GatewaySettings
    from davy.gateway.browser import Browser
    from davy.gateway.door import Door
    from davy.gateway.keys import Authenticator, KeyRing

    sent: list[Any] = []

    async def never() -> Any:
        await asyncio.Event().wait()

    async def keep(message: Any) -> None:
        sent.append(message)

    async def serve() -> None:
        with opened(read_seconds=0.01) as runtime:
            guard, browser = (
                Authenticator(KeyRing(runtime.store), None, must=False),
                Browser(GatewaySettings(), ""),
            )
            door = Door(make_app(runtime), runtime, guard, browser)
            scope = {"type": "http", "method": "POST", "path": "/v1/envelopes", "headers": [], "client": None}
            await door(scope, never, keep)

    asyncio.run(serve())
    assert sent[0]["status"] == 408


def test_the_keys_are_read_before_the_first_request() -> None:
    """A store that fails after the start shuts nobody out: metrics and pages are asked for just then."""
    from davy.errors import StoreError
    from davy.gateway.keys import Authenticator, KeyRing

    class Breaking(KeyRing):
        read, broken = threading.Event(), False

        def made(self) -> Any:
            if self.broken:
                raise StoreError("store", "memory://", "is damaged")
            self.read.set()
            return super().made()

    with opened() as runtime:
        ring = Breaking(runtime.store)
        guard = Authenticator(ring, None, must=False)
        assert ring.read.wait(10)
        ring.broken = True
        assert asyncio.run(guard.caller("", "127.0.0.1")).name == "127.0.0.1"
