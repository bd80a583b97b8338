"""API keys: what each opens, what the store knows of them, and when they end."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.gateway_rig import LocalClient, opened

from davy.cli import run_app
from davy.errors import SettingError, StoreError
from davy.gateway import GatewayTarget, make_app
from davy.gateway.app import make_health_app
from davy.gateway.keys import KeyRing, Mark, given_key
from davy.runtime import Runtime
from davy.store import Batch, open_store

pytestmark = pytest.mark.fast
ONE = {"model": "m:1", "inputs": {"x": 1.0}}
HOUR = 3_600_000_000_000


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def test_a_key_opens_what_its_scopes_say_and_nothing_else() -> None:
    with opened() as runtime:
        ring = KeyRing(runtime.store)
        secrets = {scope: ring.create("fraud", [scope])[1] for scope in ("write", "read")}
        with LocalClient(make_app(runtime)) as client:
            found = {
                scope: (
                    client.post("/v1/inferences", json=ONE, headers=bearer(secret)).status_code,
                    client.get("/metrics", headers=bearer(secret)).status_code,
                    client.get("/status.json", headers=bearer(secret)).status_code,
                )
                for scope, secret in secrets.items()
            }
            assert found == {"write": (202, 403, 403), "read": (403, 200, 200)}
            assert client.post("/v1/inferences", json=ONE).status_code == 401
            assert client.get("/metrics").status_code == 401
            assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200


def test_the_operators_key_opens_everything_beside_the_stored_ones() -> None:
    with opened(api_key="lamp") as runtime:
        KeyRing(runtime.store).create("fraud", ["read"])
        with LocalClient(make_app(runtime)) as client:
            assert client.post("/v1/inferences", json=ONE, headers=bearer("lamp")).status_code == 202
            assert client.get("/metrics", auth=("anyone", "lamp")).status_code == 200


def test_the_last_keys_hold_while_the_store_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened() as runtime:
        _, made = KeyRing(runtime.store).create("prometheus", ["read"])
        with LocalClient(make_app(runtime)) as client:
            assert client.get("/metrics", headers=bearer(made)).status_code == 200

            def refuse(collection: str) -> Iterator[tuple[str, bytes]]:
                raise StoreError("store", "memory://", "is locked")

            monkeypatch.setattr(runtime.store, "items", refuse)
            monkeypatch.setattr("davy.gateway.keys._FRESH_SECONDS", 0.0)
            assert client.get("/metrics", headers=bearer(made)).status_code == 200
            assert client.get("/metrics").status_code == 401
            monkeypatch.setattr("davy.gateway.keys._KEPT_SECONDS", -1.0)
            assert client.get("/metrics", headers=bearer(made)).status_code == 503


@pytest.mark.parametrize("change", ["x", "cut", "id", "empty"])
def test_a_secret_that_is_not_exactly_the_keys_is_refused(change: str) -> None:
    with opened() as runtime:
        key, secret = KeyRing(runtime.store).create("fraud", ["write", "read"])
        wrong = {"x": secret + "x", "cut": secret[:-1], "id": f"davy_{key.id}_", "empty": ""}[change]
        with LocalClient(make_app(runtime)) as client:
            assert client.get("/metrics", headers=bearer(wrong)).status_code == 401
            assert client.get("/metrics", headers=bearer(secret)).status_code == 200


@pytest.mark.parametrize("header", [b"Basic \xff\xff", b"Basic !!!", b"Basic /w==", b"Bearer", b"\xe9", b""])
def test_any_bytes_in_the_header_are_answered_401(header: bytes) -> None:
    with opened(api_key="lamp") as runtime, LocalClient(make_app(runtime)) as client:
        assert client.get("/metrics", headers=[(b"authorization", header)]).status_code == 401


def test_the_store_never_sees_the_secret() -> None:
    store = open_store("memory://secretless")
    _, secret = KeyRing(store).create("fraud", ["write"])
    kept = b"".join(data for _, data in store.items("keys"))
    assert b"fraud" in kept
    assert secret.split("_", 2)[2].encode() not in kept


def test_a_rotated_key_ends_after_the_overlap_and_its_successor_has_its_scopes() -> None:
    now = 1_000 * HOUR
    ring = KeyRing(open_store("memory://rotated"), clock=lambda: now)
    old, _ = ring.create("fraud", ["write"])
    new, _ = ring.rotate(old.id, overlap_hours=2)
    assert (new.project, list(new.scopes), new.ends_at) == ("fraud", ["write"], 0)
    (ended,) = [key for key in ring.listed() if key.id == old.id]
    assert ended.holds(now + 2 * HOUR - 1)
    assert not ended.holds(now + 2 * HOUR)
    ring.revoke(old.id)
    (ended,) = [key for key in ring.listed() if key.id == old.id]
    assert not ended.holds(now)
    with pytest.raises(SettingError, match="ended already"):
        ring.rotate(old.id)


def test_a_gateway_that_runs_refuses_a_revoked_key_within_seconds_and_stays_shut() -> None:
    with opened() as runtime:
        ring = KeyRing(runtime.store)
        key, secret = ring.create("fraud", ["read"])
        with LocalClient(make_app(runtime)) as client:
            assert client.get("/metrics", headers=bearer(secret)).status_code == 200
            ring.revoke(key.id)
            deadline = time.monotonic() + 10
            while client.get("/metrics", headers=bearer(secret)).status_code == 200:
                assert time.monotonic() < deadline
            assert client.get("/metrics").status_code == 401


def move_the_file(directory: Path, runtime: Runtime) -> None:
    for path in directory.glob("store.db*"):
        path.rename(directory / f"aside-{path.name}")


def delete_the_file(directory: Path, runtime: Runtime) -> None:
    for path in directory.glob("store.db*"):
        path.unlink()


def empty_the_collection(directory: Path, runtime: Runtime) -> None:
    batch = Batch()
    for name, _ in list(runtime.store.items("keys")):
        batch.delete("keys", name)
    runtime.store.apply(batch)


LOSSES: Mapping[str, Callable[[Path, Runtime], None]] = {
    "the file was moved": move_the_file,
    "the file was deleted": delete_the_file,
    "as after a flush of Redis": empty_the_collection,
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("make", [make_app, make_health_app])
def test_once_a_key_was_made_a_lost_store_opens_nothing_also_after_a_restart(
    loss: str, make: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("davy.gateway.keys._FRESH_SECONDS", 0.0)
    for restarted in (False, True):
        with opened(f"sqlite:///{tmp_path}") as runtime:
            _, secret = ("", "") if restarted else KeyRing.of(runtime).create("prometheus", ["read"])
            with LocalClient(make(runtime)) as client:
                if not restarted:
                    assert client.get("/metrics", headers=bearer(secret)).status_code == 200
                    LOSSES[loss](tmp_path, runtime)
                for _ in range(3):
                    assert client.get("/metrics").status_code == 401
                    assert client.post("/v1/inferences", json=ONE).status_code == 401
                    assert client.get("/readyz").status_code in {200, 503}


def test_a_key_of_before_marks_the_place_when_a_gateway_sees_it_and_removing_the_mark_opens_again(
    tmp_path: Path,
) -> None:
    mark = tmp_path / "keys-needed"
    with opened(f"sqlite:///{tmp_path}") as runtime:
        KeyRing(runtime.store).create("prometheus", ["read"])
        assert not mark.exists()
        with LocalClient(make_app(runtime)) as client:
            assert client.get("/metrics").status_code == 401
        empty_the_collection(tmp_path, runtime)
        assert "Remove this file" in mark.read_text()
        mark.unlink()
        with LocalClient(make_app(runtime)) as client:
            assert client.get("/metrics").status_code == 200


def test_a_mark_that_cannot_be_made_is_said_once_and_one_that_cannot_be_looked_at_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = Mark(tmp_path / "keys-needed")
    (tmp_path / "keys-needed").mkdir()
    assert mark.is_set()
    (tmp_path / "keys-needed").rmdir()
    lost = Mark(tmp_path / "nowhere" / "keys-needed")
    lost.set()
    lost.set()
    assert (lost.is_set(), len(caplog.records)) == (False, 1)

    def refuse(path: Path) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    assert mark.is_set()
    assert not Mark(None).is_set()


def test_a_store_that_hangs_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    with opened() as runtime:
        _, made = KeyRing(runtime.store).create("prometheus", ["read"])
        items = runtime.store.items

        def hang(collection: str) -> Iterator[tuple[str, bytes]]:
            go_on.wait()
            return items(collection)

        with LocalClient(make_app(runtime)) as client:
            assert client.get("/metrics", headers=bearer(made)).status_code == 200
            monkeypatch.setattr(runtime.store, "items", hang)
            monkeypatch.setattr("davy.gateway.keys._FRESH_SECONDS", 0.0)
            monkeypatch.setattr("davy.gateway.keys._PATIENCE_SECONDS", 0.05)
            begun = time.monotonic()
            try:
                for _ in range(20):
                    assert client.get("/metrics", headers=bearer(made)).status_code == 200
                    assert client.get("/metrics").status_code == 401
                assert time.monotonic() - begun < 3
            finally:
                go_on.set()


def test_a_gateway_that_never_heard_of_keys_lets_only_the_operator_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(collection: str) -> Iterator[tuple[str, bytes]]:
        raise StoreError("store", "redis://shelf", "does not answer")

    with opened(api_key="lamp") as runtime:
        _, made = KeyRing(runtime.store).create("prometheus", ["read"])
        monkeypatch.setattr(runtime.store, "items", refuse)
        with LocalClient(make_health_app(runtime)) as client:
            assert client.get("/metrics", headers=bearer("lamp")).status_code == 200
            assert client.get("/metrics", headers=bearer(made)).status_code == 503
    with opened() as runtime:
        monkeypatch.setattr(runtime.store, "items", refuse)
        with LocalClient(make_health_app(runtime)) as client:
            assert client.get("/metrics").status_code == 503


def test_beyond_loopback_a_stored_key_is_enough_to_start_and_a_revoked_one_is_not() -> None:
    with opened(host="0.0.0.0", port=0) as runtime:
        ring = KeyRing(runtime.store)
        key, _ = ring.create("fraud", ["write"])
        GatewayTarget(runtime).close()
        ring.revoke(key.id)
        with pytest.raises(SettingError, match="davy keys create"):
            GatewayTarget(runtime)


@pytest.mark.parametrize("header", ["Bearer davy_1_2", "bearer  davy_1_2", "Basic YTpkYXZ5XzFfMg=="])
def test_a_key_may_come_as_bearer_token_or_as_basic_password(header: str) -> None:
    assert given_key(header) == "davy_1_2"


class TestCommands:
    @pytest.fixture(autouse=True)
    def _place(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("DAVY_URL", f"sqlite:///{tmp_path}")
        open_store(f"sqlite:///{tmp_path}").close()

    def run(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
        assert run_app(["keys", *arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    def test_a_secret_is_shown_once_and_lists_never_show_it(self, capsys: pytest.CaptureFixture[str]) -> None:
        made: Mapping[str, str] = self.run(capsys, "create", "fraud", "--scope", "write", "--scope", "read")
        assert (made["project"], made["scopes"]) == ("fraud", "read, write")
        next_one = self.run(capsys, "rotate", made["id"], "--overlap-hours", "1")
        assert next_one["key"] != made["key"]
        listed = self.run(capsys, "list")
        assert {row["id"] for row in listed} == {made["id"], next_one["id"]}
        assert all(secret not in str(listed) for secret in (made["key"], next_one["key"]))
        assert self.run(capsys, "revoke", next_one["id"])["ends"] is not None

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [(["revoke", "none"], "no such key"), (["create", "p", "--scope", "all"], "scope"), (["create", " "], "name")],
    )  # fmt: skip
    def test_a_wrong_key_or_scope_gets_one_line(
        self, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
    ) -> None:
        assert run_app(["keys", *arguments]) == 2
        assert told in capsys.readouterr().err
