"""The store in a real Redis that is killed, full, hanging, replaced, locked and encrypted."""

from __future__ import annotations

import re
import socket
import socketserver
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from support import redis_server
from support.redis_server import RedisServer
from support.streams import make_runtime

from davy.config import DetectSettings
from davy.errors import LeaseLost, SettingError, StoreError
from davy.redis_doctor import checks
from davy.store import Batch, Lease, open_store
from davy.store.redis import RedisStore

pytestmark = redis_server.LOCAL

DOCUMENT = (Path(__file__).parents[2] / "docs" / "redis.md").read_text()
SAFE = {"appendonly": "yes", "appendfsync": "always"}
PASSWORD = "s3cret"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis", **SAFE) as running:
        yield running


def numbered(number: int) -> Batch:
    """A batch as a role writes it: its state and its position, which must never differ."""
    value = b"%d" % number
    return (
        Batch()
        .put("state", "role", value)
        .put("positions", "role", value)
        .put("results", f"{number:06}", value)
    )


def held(store: RedisStore, owner: str = "ann", seconds: float = 60) -> Lease:
    lease = store.acquire("role", owner, seconds=seconds)
    assert lease is not None
    return lease


def number_in(store: RedisStore) -> int:
    """The number of the last batch that is in the store, which holds all batches up to it."""
    state, position = store.get("state", "role"), store.get("positions", "role")
    assert state == position
    last = int(state or 0)
    assert [value for _, value in store.items("results")] == [b"%d" % number for number in range(1, last + 1)]
    return last


def test_a_kill_in_mid_stream_keeps_what_was_acknowledged_and_no_half_batch(server: RedisServer) -> None:
    store = RedisStore(f"{server.url}?timeout=2")
    lease, acknowledged, enough = held(store), [0], threading.Event()

    def write() -> None:
        for number in range(1, 100_000):
            try:
                store.apply(numbered(number), lease=lease)
            except StoreError:
                return
            acknowledged[0] = number
            if number == 200:
                enough.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert enough.wait(timeout=30)
    server.kill()
    writer.join(timeout=30)
    server.start()
    assert acknowledged[0] <= number_in(store) <= acknowledged[0] + 1
    store.apply(Batch().put("state", "role", b"next"), lease=lease)
    assert store.get("state", "role") == b"next"


def test_a_full_redis_refuses_whole_batches_and_still_reads_and_deletes(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis", maxmemory="3mb", maxmemory_policy="noeviction") as server:
        store, large = RedisStore(server.url), bytes(100_000)
        lease, written = held(store), 0
        with suppress(StoreError):
            while written < 100:
                store.apply(Batch().put("c", f"{written:04}", large), lease=lease)
                written += 1
        with pytest.raises(StoreError, match="is full: raise maxmemory"):
            store.apply(Batch().add("d", "1", b"").put("c", "0000", b"").put("e", "1", large), lease=lease)
        assert store.count("d") == store.count("e") == 0
        assert len(list(store.items("c"))) == written
        again = RedisStore(server.url)
        assert again.get("c", "0000") == large
        again.apply(Batch().delete("c", "0000").delete("c", "0001").delete("c", "0002"), lease=lease)
        again.apply(Batch().put("d", "1", b"fits"), lease=lease)
        assert again.get("d", "1") == b"fits"


def test_a_redis_that_hangs_is_an_error_in_time_and_its_late_batch_is_whole(server: RedisServer) -> None:
    store, other = RedisStore(f"{server.url}?timeout=0.3"), RedisStore(server.url)
    lease = held(store)
    store.apply(numbered(1), lease=lease)
    server.pause()
    begun = time.monotonic()
    with pytest.raises(StoreError, match="did not answer in time, and what it was sent may still happen"):
        store.apply(numbered(2), lease=lease)
    with pytest.raises(StoreError, match="did not answer in time"):
        store.get("state", "role")
    assert time.monotonic() - begun < 3
    server.resume()
    server.wait_for(lambda: number_in(other) == 2)
    store.apply(numbered(3), lease=lease)
    assert number_in(store) == 3


class Swallowing(socketserver.ThreadingTCPServer):
    """Passes everything on to a Redis and back, but for the answers it swallows: then it hangs up."""

    daemon_threads = True

    def __init__(self, server: RedisServer) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.behind = server.port
        self.swallows = 0


class _Passing(socketserver.BaseRequestHandler):
    server: Swallowing

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.behind)) as behind:
            while asked := self.request.recv(2**20):
                behind.sendall(asked)
                answer = behind.recv(2**20)
                if self.server.swallows:
                    self.server.swallows -= 1
                    return
                self.request.sendall(answer)


def test_a_batch_whose_answer_is_lost_is_an_error_and_is_not_sent_again(server: RedisServer) -> None:
    with Swallowing(server) as between:
        threading.Thread(target=between.serve_forever, daemon=True).start()
        store = RedisStore(f"redis://127.0.0.1:{between.server_address[1]}")
        lease = held(store)
        store.apply(numbered(1), lease=lease)
        between.swallows = 1
        with pytest.raises(StoreError, match="cannot be reached"):
            store.apply(numbered(2), lease=lease)
        assert number_in(store) == 2
        store.apply(numbered(3), lease=lease)
        assert server.client().hget("{davy}:lease:role", "batches") == b"3"
        store.close()
        between.shutdown()


def test_a_restart_and_forgotten_scripts_need_no_new_store(server: RedisServer) -> None:
    store = RedisStore(server.url)
    store.apply(numbered(1))
    server.stop()
    with pytest.raises(StoreError, match="cannot be reached: start it"):
        store.apply(numbered(2))
    server.start()
    store.apply(numbered(2))
    server.client().script_flush()
    store.apply(numbered(3))
    assert number_in(store) == 3


def test_an_owner_that_was_replaced_writes_nothing_more(server: RedisServer) -> None:
    first, second = RedisStore(server.url), RedisStore(server.url)
    old = held(first, "ann", seconds=0.3)
    first.apply(numbered(1), lease=old)
    assert second.acquire("role", "bob", seconds=60) is None
    server.wait_for(lambda: second.acquire("role", "bob", seconds=60))  # by the clock of the server
    with pytest.raises(LeaseLost, match="ann no longer holds it"):
        first.apply(numbered(2), lease=old)
    assert number_in(second) == 1


def test_nothing_ever_expires(server: RedisServer) -> None:
    store = RedisStore(server.url)
    store.apply(numbered(1), lease=held(store))
    client = server.client()
    assert {client.ttl(key) for key in client.scan_iter()} == {-1}


def test_a_promoted_replica_is_consistent_and_lost_writes_are_noticed(
    server: RedisServer, tmp_path: Path
) -> None:
    with RedisServer(tmp_path / "replica", replicaof=f"127.0.0.1 {server.port}") as replica:
        store = RedisStore(server.url)
        lease, behind = held(store), replica.client()
        for number in range(1, 101):
            store.apply(numbered(number), lease=lease)
        replica.wait_for(lambda: behind.get("x") is None and behind.hlen("{davy}:records:results") == 100)
        with pytest.raises(StoreError, match="is a replica: point the URL at the primary"):
            RedisStore(replica.url).apply(numbered(101))
        behind.replicaof("NO", "ONE")
        for number in range(101, 111):
            store.apply(numbered(number), lease=lease)
        server.kill()
        behind.config_set("port", server.port)  # as a name that now leads to the new primary
        with pytest.raises(LeaseLost, match="lost writes it had acknowledged"):
            store.apply(numbered(111), lease=lease)
        assert number_in(store) == 100
        store.apply(numbered(101), lease=lease)
        assert number_in(store) == 101


def test_the_documented_rights_suffice_and_fewer_are_refused(server: RedisServer) -> None:
    (rule,) = re.findall(r"^ACL SETUSER (.*)$", DOCUMENT, re.MULTILINE)
    assert f">{PASSWORD}" in rule
    client = server.client()
    client.execute_command("ACL", "SETUSER", *rule.split())
    store = RedisStore(f"redis://davy:{PASSWORD}@127.0.0.1:{server.port}")
    lease = held(store)
    store.apply(numbered(1).add("c", "k", b"").delete("c", "k"), lease=lease)
    assert number_in(store) == 1
    store.release(lease)
    assert store.info()["redis_version"]
    with pytest.raises(StoreError, match="lacks a right"):
        RedisStore(f"redis://davy:{PASSWORD}@127.0.0.1:{server.port}?namespace=another")
    client.execute_command("ACL", "SETUSER", "davy", "-evalsha")
    with pytest.raises(StoreError, match="lacks a right"):
        store.apply(numbered(2))
    assert store.get("state", "role") == b"1"


@pytest.mark.parametrize("user", ["", "davy"])
def test_a_wrong_password_is_named_and_not_shown(server: RedisServer, user: str) -> None:
    client = server.client()
    client.execute_command("ACL", "SETUSER", "davy", "on", f">{PASSWORD}", "~*", "+@all")
    client.config_set("requirepass", PASSWORD)
    wrong = "wr0ng%21"
    with pytest.raises(StoreError, match="refused user or password: correct them in the URL") as caught:
        RedisStore(f"redis://{user}:{wrong}@127.0.0.1:{server.port}")
    assert "wr0ng" not in f"{caught.value!r} {caught.value} {caught.value.__cause__}"
    with pytest.raises(StoreError, match="refused user or password"):
        RedisStore(server.url)
    assert PASSWORD not in RedisStore(f"redis://{user}:{PASSWORD}@127.0.0.1:{server.port}").url


def test_tls_is_spoken_with_a_private_authority_and_a_client_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    for name, made in (
        ("server", authority.issue_cert("127.0.0.1")),
        ("client", authority.issue_cert("davy")),
    ):
        made.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        made.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    port = redis_server.free_port()
    with RedisServer(
        tmp_path / "redis",
        tls_port=str(port),
        tls_cert_file=f"{tmp_path}/server.pem",
        tls_key_file=f"{tmp_path}/server.key",
        tls_ca_cert_file=f"{tmp_path}/ca.pem",
    ):
        own = f"ca={tmp_path}/ca.pem&cert={tmp_path}/client.pem&key={tmp_path}/client.key"
        store = RedisStore(f"rediss://127.0.0.1:{port}?{own}")
        store.apply(numbered(1), lease=held(store))
        assert number_in(store) == 1
        for options in ("", f"?ca={tmp_path}/ca.pem", f"?ca={tmp_path}/absent.pem"):
            with pytest.raises(StoreError, match="TLS options"):
                RedisStore(f"rediss://127.0.0.1:{port}{options}")


def test_a_cluster_of_two_works_whichever_node_the_url_names(tmp_path: Path) -> None:
    with (
        RedisServer(tmp_path / "left", cluster_enabled="yes") as left,
        RedisServer(tmp_path / "right", cluster_enabled="yes") as right,
    ):
        redis_server.form_cluster(left, right)
        url = f"?namespace={uuid.uuid4().hex}"
        one, other = RedisStore(f"{left.url}{url}"), RedisStore(f"{right.url}{url}")
        lease = held(one)
        one.apply(numbered(1), lease=lease)
        other.apply(numbered(2), lease=lease)
        assert number_in(one) == number_in(other) == 2
        assert sorted(server.client().dbsize() > 0 for server in (left, right)) == [False, True]
        with pytest.raises(StoreError, match="SELECT is not allowed in cluster mode"):
            RedisStore(f"{left.url}/1")


def test_namespaces_and_databases_are_stores_of_their_own(server: RedisServer) -> None:
    urls = [server.url, f"{server.url}/0?namespace=b", f"{server.url}/1", f"{server.url}/1?namespace=b"]
    for number, url in enumerate(urls, start=1):
        RedisStore(url).apply(Batch().put("c", "k", b"%d" % number))
    assert [RedisStore(url).get("c", "k") for url in urls] == [b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://", "redis[s]://"),
        ("redis://:s3cret@host:port", "redis[s]://"),
        ("redis://:s3cret@host/zero", "redis[s]://"),
        ("redis://:s3cret@host?timeout=never", "redis[s]://"),
        ("redis://:s3cret@host?timeout=0", "redis[s]://"),
        ("redis://:s3cret@host?ca=/ca.pem", "redis[s]://"),
        ("redis://:s3cret@host?db", "redis[s]://"),
        ("redis://:s3cret@host?namespace={a}", "letters"),
        ("reddis://:s3cret@host", "redis[s]://"),
    ],
)
def test_a_wrong_url_is_refused_without_showing_its_password(url: str, told: str) -> None:
    with pytest.raises(SettingError) as caught:
        open_store(url)
    assert told in caught.value.remedy
    assert PASSWORD not in str(caught.value)


def test_a_redis_older_than_7_is_refused() -> None:
    info = b"redis_version:6.2.14\r\nredis_mode:standalone\r\n"
    answers = {b"INFO": b"$%d\r\n%s\r\n" % (len(info), info), b"PING": b"+PONG\r\n"}

    class Old(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while words := self.rfile.readline()[1:]:
                command, *_ = [(self.rfile.readline(), self.rfile.readline())[1] for _ in range(int(words))]
                self.wfile.write(answers.get(command.strip(), b"+OK\r\n"))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Old) as old:
        old.daemon_threads = True
        threading.Thread(target=old.serve_forever, daemon=True).start()
        with pytest.raises(StoreError, match=r"6\.2\.14.*upgrade redis://127\.0\.0\.1:\d+ to 7\.0"):
            RedisStore(f"redis://127.0.0.1:{old.server_address[1]}")
        old.shutdown()


def test_a_namespace_that_a_newer_davy_wrote_is_refused(server: RedisServer) -> None:
    RedisStore(server.url)
    server.client().set("{davy}:layout", b"2")
    with pytest.raises(StoreError, match="upgrade Davy"):
        RedisStore(server.url)


def test_doctor_warns_of_eviction_and_of_missing_persistence(server: RedisServer, tmp_path: Path) -> None:
    made = make_runtime("memory", tmp_path, DetectSettings())
    assert checks(made) == []
    runtime = replace(made, store=RedisStore(server.url))
    assert [check.state for check in checks(runtime)] == ["ok", "ok", "ok"]
    client = server.client()
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.config_set("appendonly", "no")
    found = {check.what: (check.state, check.remedy) for check in checks(runtime)}
    assert found["redis eviction"] == (
        "warning",
        "set maxmemory-policy to noeviction: records must not vanish",
    )
    assert found["redis persistence"][0] == "warning"
    assert "appendonly yes" in found["redis persistence"][1]


@pytest.mark.parametrize(
    "options", [SAFE, {"appendonly": "no", "dbfilename": "dump.rdb"}], ids=["aof", "snapshot"]
)
def test_nothing_that_was_deleted_stays_in_the_files_of_a_scrubbed_store(
    tmp_path: Path, options: dict[str, str]
) -> None:
    with RedisServer(tmp_path / "redis", **options) as running:
        store = RedisStore(running.url)
        store.apply(Batch().put("vectors", "ann", b"forget me").put("vectors", "bob", b"keep me"))
        store.scrub()
        assert b"forget me" in _files(tmp_path)
        store.apply(Batch().delete("vectors", "ann"))
        store.scrub()
        assert b"forget me" not in _files(tmp_path)
        assert b"keep me" in _files(tmp_path)


def _files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
