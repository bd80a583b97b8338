"""Payloads over HTTP: stored once under the hash of their bytes, refused with a reason, shown and never run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.gateway_rig import LocalClient, opened, stored
from support.gateway_server import GatewayServer

import davy
from davy.blobs import open_blobs, reference
from davy.errors import BlobError
from davy.event import BlobRef
from davy.gateway import make_app, media_url
from davy.runtime import Runtime


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    with opened(body_bytes=2048) as found:
        yield found


@pytest.fixture
def client(runtime: Runtime) -> Iterator[LocalClient]:
    with LocalClient(make_app(runtime)) as found:
        yield found


@pytest.mark.fast
def test_a_payload_is_stored_once_and_answered_with_its_claim_check(
    client: LocalClient, runtime: Runtime
) -> None:
    for _ in range(2):
        answer = client.post("/v1/payloads", content=b"lamp", headers={"content-type": "image/png"})
        assert answer.status_code == 201
        assert BlobRef(**answer.json()) == reference(b"lamp", "image/png")
    assert [one.hash for one in runtime.blobs.stored()] == [reference(b"lamp", "").hash]
    assert runtime.blobs.get(answer.json()["hash"]) == b"lamp"


@pytest.mark.fast
@pytest.mark.parametrize(
    ("content", "media_type", "status", "field"),
    [
        (b"", "image/png", 422, "payload"),
        (b"x", "png", 422, "Content-Type"),
        (b"x", 'text/html"><script>', 422, "Content-Type"),
        (bytes(2049), "image/png", 413, "body"),
    ],
)
def test_a_payload_that_cannot_be_stored_is_refused(
    client: LocalClient, runtime: Runtime, content: bytes, media_type: str, status: int, field: str
) -> None:
    answer = client.post("/v1/payloads", content=content, headers={"content-type": media_type})
    assert (answer.status_code, answer.json()["field"]) == (status, field)
    assert [one.hash for one in runtime.blobs.stored()] == []


@pytest.mark.fast
def test_a_blob_store_that_refuses_asks_for_patience(
    client: LocalClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> BlobRef:
        raise BlobError("blob", "x", "free space")

    monkeypatch.setattr(runtime.blobs, "put", full)
    answer = client.post("/v1/payloads", content=b"lamp", headers={"content-type": "image/png"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


@pytest.mark.fast
def test_a_browser_shows_a_payload_and_runs_nothing_in_it(client: LocalClient, runtime: Runtime) -> None:
    page = runtime.blobs.put(b"<script>alert(1)</script>", "text/html")
    answer = client.get(media_url(runtime, page).partition("8321")[2])
    assert answer.status_code == 200
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "script" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_sdk_sends_payloads_through_the_gateway(tmp_path: Path) -> None:
    with GatewayServer(tmp_path) as server:
        davy.init(server.url, fields={"inputs.scan": "blob"})
        scan = np.arange(50_000, dtype=np.int32).reshape(200, 250)
        for _ in range(3):
            davy.capture("m:1", {"scan": scan, "age": 41}, {"value": 1.0})
        assert davy.flush(20)
        assert davy.stats()["sent"] == 3
        davy.shutdown()
    with opened(server.log_url) as runtime:
        (check,) = {one.inputs["scan"] for one in stored(runtime)}
    blobs = open_blobs(f"file:///{tmp_path}/blobs")
    assert [one.hash for one in blobs.stored()] == [check.hash]
    assert check.media_type == "application/x-npy"
    assert blobs.get(check.hash).endswith(scan.tobytes())
