"""What every store keeps, whichever URL opened it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import redis_server

from davy.errors import LeaseLost
from davy.store import Batch, Lease, Store, open_store
from davy.store.memory import MemoryStore
from davy.store.redis import RedisStore
from davy.store.sqlite import SqliteStore

ADAPTERS = [
    pytest.param("memory", marks=pytest.mark.fast),
    pytest.param("sqlite", marks=pytest.mark.fast),
    pytest.param("redis", marks=redis_server.ANY),
    pytest.param("redis_cluster", marks=redis_server.LOCAL),
]

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


class Clock:
    """The clock that leases expire by, in the hand of a test."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.aging: list[RedisStore] = []

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        for store in self.aging:
            redis_server.let_leases_age(store, seconds)


@pytest.fixture(params=ADAPTERS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param.startswith("redis"):
        return redis_server.own_namespace(request.getfixturevalue(f"shared_{request.param}"))
    return {"memory": f"memory://{tmp_path}", "sqlite": f"sqlite:///{tmp_path}/store"}[request.param]


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = open_store(url)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(url: str, clock: Clock) -> Iterator[Store]:
    opened = open_at(url, clock)
    yield opened
    opened.close()


def open_at(url: str, clock: Clock) -> Store:
    """Open a store whose leases expire by this clock."""
    if url.startswith("redis"):
        clock.aging = [RedisStore(url)]
        return clock.aging[0]
    return SqliteStore(url, clock=clock) if url.startswith("sqlite") else MemoryStore("timed", clock=clock)


def test_a_batch_is_kept_after_reopening(url: str, store: Store) -> None:
    store.apply(
        Batch().put("positions", "detect", b"7").add("labels", "c1", b"cat").put("labels", "c2", b"dog")
    )
    store.close()
    again = open_store(url)
    assert again.get("positions", "detect") == b"7"
    assert list(again.items("labels")) == [("c1", b"cat"), ("c2", b"dog")]


def test_what_is_not_there_is_none_empty_and_zero(store: Store) -> None:
    assert store.get("labels", "c1") is None
    assert list(store.items("labels")) == []
    assert store.count("labels") == 0


def test_put_overwrites_and_add_does_not(store: Store) -> None:
    store.apply(Batch().put("c", "k", b"1"))
    store.apply(Batch().put("c", "k", b"2").add("c", "k", b"3").add("c", "new", b"4"))
    assert list(store.items("c")) == [("k", b"2"), ("new", b"4")]


def test_delete_removes_and_removing_what_is_not_there_is_harmless(store: Store) -> None:
    store.apply(Batch().put("c", "k", b"1").put("other", "k", b"2"))
    store.apply(Batch().delete("c", "k").delete("c", "k").delete("c", "absent"))
    assert store.get("c", "k") is None
    assert store.get("other", "k") == b"2"


def test_changes_of_a_batch_happen_in_the_order_they_were_added(store: Store) -> None:
    store.apply(Batch().put("c", "k", b"1").delete("c", "k").add("c", "k", b"2").put("c", "k", b"3"))
    assert store.get("c", "k") == b"3"


def test_collections_are_counted_apart(store: Store) -> None:
    store.apply(Batch().put("a", "1", b"").put("a", "2", b"").put("b", "1", b""))
    assert (store.count("a"), store.count("b")) == (2, 1)


def test_many_records_are_given_at_once_without_those_that_are_not_there(store: Store) -> None:
    keys = [f"{number:04}" for number in range(1009)]
    batch = Batch().put("other", "absent", b"of another collection")
    for key in keys:
        batch.put("c", key, key.encode())
    store.apply(batch)
    asked = ["absent", *keys[1:][::-1], "日本"]
    assert store.get_many("c", asked) == {key: key.encode() for key in keys[1:]}
    assert store.get_many("c", []) == {}
    assert store.get_many("nothing", ["0001"]) == {}


def test_items_come_sorted_by_key_also_over_many_pages(store: Store) -> None:
    keys = [f"{7 * number % 1009:04}" for number in range(1009)] + ["", "é", "Z", "z", "日本", "\U0001f525"]
    batch = Batch()
    for key in keys:
        batch.put("c", key, key.encode())
    store.apply(batch)
    assert list(store.items("c")) == [(key, key.encode()) for key in sorted(keys)]


def test_items_that_stand_come_once_while_others_are_written(store: Store) -> None:
    standing = [f"{number:04}" for number in range(0, 2000, 2)]
    batch = Batch()
    for key in standing:
        batch.put("c", key, b"stands")
    store.apply(batch)
    seen = []
    for number, (key, value) in enumerate(store.items("c")):
        if value == b"stands":
            seen.append(key)
        store.apply(Batch().put("c", f"{number * 2 + 1:04}", b"new").put("c", "0000", b"stands"))
    assert seen == standing


def test_a_reader_never_sees_half_a_batch(store: Store) -> None:
    store.apply(Batch().put("c", "left", b"0").put("c", "right", b"0"))

    def write() -> None:
        for number in range(1, 200):
            value = b"%d" % number
            store.apply(Batch().put("c", "left", value).put("c", "right", value))

    writer = threading.Thread(target=write)
    writer.start()
    pairs = []
    while writer.is_alive():
        pairs.append([value for _, value in store.items("c")])
    writer.join()
    assert all(left == right for left, right in pairs)
    assert store.get("c", "left") == b"199"


def test_of_several_threads_that_add_one_key_exactly_one_wins(store: Store) -> None:
    start = threading.Barrier(8)

    def add(number: int) -> None:
        start.wait()
        store.apply(Batch().add("c", "k", b"%d" % number).put("tried", str(number), b""))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winner = store.get("c", "k")
    assert store.count("tried") == 8
    store.apply(Batch().add("c", "k", b"late"))
    assert store.get("c", "k") == winner


few = st.sampled_from(["a", "b", "c"])
operations = st.tuples(st.sampled_from(["put", "add", "delete"]), few, few, st.binary(max_size=3))


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(operations, max_size=8), max_size=8))
def test_any_sequence_of_batches_leaves_what_the_memory_store_has(
    store: Store, batches: list[list[tuple[str, str, str, bytes]]]
) -> None:
    expected = MemoryStore()
    clearing = [("delete", collection, key, b"") for collection in "abc" for key in "abc"]
    for batch in [clearing, *batches]:
        for one in (store, expected):
            one.apply(Batch(list(batch)))
    for collection in "abc":
        assert list(store.items(collection)) == list(expected.items(collection))
        assert store.count(collection) == expected.count(collection)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=st.dictionaries(st.tuples(text, text), st.binary(max_size=100), max_size=10))
def test_any_text_is_a_key_and_any_bytes_a_value(store: Store, records: dict[tuple[str, str], bytes]) -> None:
    batch = Batch()
    for (collection, key), value in records.items():
        batch.put(collection, key, value)
    store.apply(batch)
    assert {place: store.get(*place) for place in records} == records


def test_large_values_come_back_unchanged(store: Store) -> None:
    large = bytes(range(256)) * 80_000
    store.apply(Batch().put("c", "k", large))
    assert store.get("c", "k") == large


def test_a_lease_keeps_others_out_until_it_expires(timed: Store, clock: Clock) -> None:
    first = timed.acquire("detect", "ann", seconds=1000)
    assert first is not None
    assert timed.acquire("detect", "bob", seconds=1000) is None
    assert timed.acquire("mine", "bob", seconds=1000) is not None
    clock.advance(990)
    assert timed.acquire("detect", "bob", seconds=1000) is None
    clock.advance(20)
    assert timed.acquire("detect", "bob", seconds=1000) == Lease("detect", "bob", first.fence + 1)
    assert timed.acquire("detect", "ann", seconds=1000) is None


def test_a_lease_taken_before_the_clock_was_set_back_ends_no_later_than_it_would_have(
    timed: Store, clock: Clock
) -> None:
    assert timed.acquire("detect", "ann", seconds=1000) is not None
    clock.advance(-3600)
    assert timed.acquire("detect", "bob", seconds=1000) is None
    clock.advance(990)
    assert timed.acquire("detect", "bob", seconds=1000) is None
    clock.advance(20)
    assert timed.acquire("detect", "bob", seconds=1000) is not None


def test_its_owner_renews_a_lease_and_keeps_the_fence(timed: Store, clock: Clock) -> None:
    first = timed.acquire("detect", "ann", seconds=10)
    clock.advance(8)
    assert timed.acquire("detect", "ann", seconds=10) == first
    clock.advance(8)
    assert timed.acquire("detect", "bob", seconds=10) is None


def test_a_batch_under_a_lost_lease_changes_nothing(timed: Store, clock: Clock) -> None:
    old = timed.acquire("detect", "ann", seconds=10)
    timed.apply(Batch().put("c", "k", b"ann"), lease=old)
    clock.advance(11)
    new = timed.acquire("detect", "bob", seconds=10)
    with pytest.raises(LeaseLost, match=r"detect.*ann no longer holds it"):
        timed.apply(Batch().put("c", "k", b"late").put("c", "k2", b"late"), lease=old)
    assert list(timed.items("c")) == [("k", b"ann")]
    timed.apply(Batch().put("c", "k", b"bob"), lease=new)
    assert timed.get("c", "k") == b"bob"


def test_a_batch_under_an_expired_or_released_lease_changes_nothing(timed: Store, clock: Clock) -> None:
    lease = timed.acquire("detect", "ann", seconds=10)
    assert lease is not None
    clock.advance(10)
    with pytest.raises(LeaseLost):
        timed.apply(Batch().put("c", "k", b"1"), lease=lease)
    assert timed.acquire("detect", "ann", seconds=10) == lease
    timed.apply(Batch().put("c", "k", b"2"), lease=lease)
    timed.release(lease)
    with pytest.raises(LeaseLost):
        timed.apply(Batch().put("c", "k", b"3"), lease=lease)
    assert timed.get("c", "k") == b"2"


def test_an_owner_that_comes_back_gets_a_new_fence(timed: Store, clock: Clock) -> None:
    first = timed.acquire("detect", "ann", seconds=1)
    assert first is not None
    for owner, fence in (("bob", first.fence + 1), ("ann", first.fence + 2)):
        clock.advance(2)
        assert timed.acquire("detect", owner, seconds=1) == Lease("detect", owner, fence)
    with pytest.raises(LeaseLost):
        timed.apply(Batch().put("c", "k", b""), lease=first)


def test_a_stolen_right_is_the_thiefs_and_refuses_batches_of_the_old_owner(timed: Store) -> None:
    old = timed.acquire("detect", "ann", seconds=10)
    new = timed.acquire("detect", "bob", seconds=10, steal=True)
    assert old is not None
    assert new == Lease("detect", "bob", old.fence + 1)
    with pytest.raises(LeaseLost):
        timed.apply(Batch().put("c", "k", b"old"), lease=old)
    timed.apply(Batch().put("c", "k", b"new"), lease=new)
    assert timed.acquire("detect", "ann", seconds=10) is None
    assert timed.acquire("detect", "bob", seconds=10, steal=True) == new  # nobody steals from himself
    assert timed.get("c", "k") == b"new"


def test_a_released_lease_is_free_and_its_fence_goes_on(timed: Store) -> None:
    lease = timed.acquire("detect", "ann", seconds=10)
    assert lease is not None
    timed.release(lease)
    timed.release(lease)
    other = timed.acquire("detect", "bob", seconds=10)
    assert other == Lease("detect", "bob", lease.fence + 1)
    timed.release(lease)
    assert timed.acquire("detect", "ann", seconds=10) is None


def test_of_several_owners_that_ask_at_once_one_gets_the_lease(store: Store) -> None:
    start, got = threading.Barrier(8), []

    def ask(number: int) -> None:
        start.wait()
        got.append(store.acquire("detect", f"owner {number}", seconds=60))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([lease for lease in got if lease]) == 1


def test_a_lease_outlives_reopening(timed: Store, url: str, clock: Clock) -> None:
    lease = timed.acquire("detect", "ann", seconds=10)
    timed.close()
    again = timed if url.startswith("memory") else open_at(url, clock)
    assert again.acquire("detect", "bob", seconds=10) is None
    again.apply(Batch().put("c", "k", b"1"), lease=lease)
    assert again.get("c", "k") == b"1"


@pytest.mark.fast
def test_memory_stores_of_one_name_are_one_store() -> None:
    open_store("memory://shared-store").apply(Batch().put("c", "k", b"1"))
    assert open_store("memory://shared-store").get("c", "k") == b"1"
    assert open_store("memory://another-store").get("c", "k") is None
    assert open_store("memory://") is open_store("memory://")


def test_a_probe_leaves_no_record(store: Store) -> None:
    store.apply(Batch().put("shelf", "lamp", b"on"))
    assert store.probe(5.0)
    assert store.damage(5.0) == ""
    assert dict(store.items("shelf")) == {"lamp": b"on"}
