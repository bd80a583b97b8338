"""A payload that nothing refers to goes, once it is old; one that anything refers to stays."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fake_labelstudio import FakeLabelStudio
from support.forget_world import ForgetWorld, Subject
from support.streams import sample

from davy.blobs import reference
from davy.codec import dump_any
from davy.errors import SettingError
from davy.event import INFERENCES, dead_letters
from davy.forgetting import Keeper, collect, keepers
from davy.forgetting.records import OUTBOX
from davy.retention import RetentionTarget
from davy.store import Batch

pytestmark = pytest.mark.fast

HOUR = 3600 * 10**9
SUBJECTS = [Subject(number) for number in range(4)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ForgetWorld]:
    with FakeLabelStudio() as fake, ForgetWorld("sqlite", tmp_path, fake) as made:
        yield made


def put(world: ForgetWorld, data: bytes, *, hours: float) -> str:
    """Put a payload as it was put some hours ago."""
    found = world.blobs.put(data, "image/png").hash
    age(world, found, hours)
    return found


def age(world: ForgetWorld, hash: str, hours: float) -> None:
    path = world.directory / "davy" / "blobs" / hash[:2] / hash[2:]
    at = path.stat().st_mtime - hours * 3600
    os.utime(path, (at, at))


def stored(world: ForgetWorld) -> set[str]:
    return {payload.hash for payload in world.blobs.stored()}


def picture(one: Subject) -> str:
    return reference(one.picture, "image/png").hash


def test_only_what_is_old_and_not_referred_to_goes_and_is_counted(world: ForgetWorld) -> None:
    world.live(SUBJECTS)
    for one in SUBJECTS:
        age(world, picture(one), 1000)
    old, young = put(world, b"old", hours=49), put(world, b"young", hours=47)
    runtime = world.runtime()
    assert RetentionTarget(runtime).collect() == 1
    assert stored(world) == {*map(picture, SUBJECTS), young}
    assert old not in stored(world)
    assert sample(runtime, "davy_orphaned_payloads_total") == 1


def test_the_role_looks_as_soon_as_it_starts(world: ForgetWorld) -> None:
    old, runtime = put(world, b"old", hours=49), world.runtime()
    target = threading.Thread(target=RetentionTarget(runtime).run)
    target.start()
    deadline = time.monotonic() + 20
    while old in stored(world) and time.monotonic() < deadline:
        time.sleep(0.01)
    runtime.stop.set()
    target.join()
    assert old not in stored(world)


@pytest.mark.parametrize("where", ["log", "dead letter", "damaged", "flag", "candidate", "outbox"])
def test_any_reference_keeps_a_payload(world: ForgetWorld, where: str) -> None:
    envelope = world.envelope(SUBJECTS[:1])
    age(world, picture(SUBJECTS[0]), 100)
    match where:
        case "log":
            world.append(INFERENCES, envelope)
        case "dead letter":
            world.append(dead_letters(INFERENCES), envelope)
        case "damaged":
            world.append(INFERENCES, envelope[:-1])
        case "flag" | "candidate":
            world.append(INFERENCES, envelope)
            world.roles()
            inferences = world.records(INFERENCES)
            world.log.erase(INFERENCES, 0, {record.offset: b"" for record in inferences})
            if where == "candidate":
                world.log.retain(max_bytes=0)
        case "outbox":
            world.store.apply(Batch().put(OUTBOX.name, "detect", dump_any([[INFERENCES, "k", envelope, {}]])))
    retention = RetentionTarget(world.runtime())
    assert retention.collect() == 0
    world.log.retain(max_bytes=0)
    for collection in ("candidates", OUTBOX.name):
        for key, _ in list(world.store.items(collection)):
            world.store.apply(Batch().delete(collection, key))
    assert retention.collect() == 1
    assert stored(world) == set()


def test_a_payload_put_again_while_references_are_read_stays(world: ForgetWorld) -> None:
    hash = put(world, b"again", hours=100)

    class PutsItAgain:
        """A keeper during whose answer an app puts the payload once more."""

        def payloads(self, ids: frozenset[bytes]) -> Iterator[str]:
            world.blobs.put(b"again", "image/png")
            return iter(())

    runtime = world.runtime()
    rooms: list[Keeper] = [PutsItAgain()]  # type: ignore[list-item]
    before = runtime.clock() - 48 * HOUR
    assert collect(world.blobs, list(world.blobs.stored()), rooms, before=before) == 0
    assert stored(world) == {hash}


def test_a_round_looks_at_a_bounded_number_and_the_next_goes_on(
    world: ForgetWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("davy.retention._PAYLOADS_A_ROUND", 3)
    kept = world.envelope(SUBJECTS)
    world.append(INFERENCES, kept)
    for number in range(5):
        put(world, b"%d" % number, hours=100)
    for one in SUBJECTS:
        age(world, picture(one), 100)
    retention = RetentionTarget(world.runtime())
    assert sum(retention.collect() for _ in range(3)) == 5
    assert stored(world) == set(map(picture, SUBJECTS))
    assert retention.collect() == 0


def test_once_an_hour_is_enough(world: ForgetWorld) -> None:
    retention = RetentionTarget(world.runtime())
    put(world, b"first", hours=100)
    assert retention.collect_due() == 1
    put(world, b"second", hours=100)
    assert retention.collect_due() == 0


def test_nothing_is_deleted_while_a_room_that_refers_to_payloads_is_missing(
    world: ForgetWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    hash = put(world, b"old", hours=100)
    monkeypatch.setitem(sys.modules, "davy_miner.keeper", None)
    with pytest.raises(SettingError, match="davy"):
        keepers(world.runtime())
    with pytest.raises(SettingError):
        RetentionTarget(world.runtime()).collect()
    assert stored(world) == {hash}
