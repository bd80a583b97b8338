"""After `davy forget` nothing of an inference is anywhere, and nothing else has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from support.fake_labelstudio import FakeLabelStudio
from support.forget_world import MODEL, ForgetWorld, Subject

from davy.codec import decode, dump_any, load, load_any, select
from davy.event import FLAGS, INFERENCES, Alert
from davy.forgetting import KINDS, Forgetting, ForgottenIds, HidingLog, receipts
from davy.forgetting.records import OUTBOX
from davy.retention import RetentionTarget
from davy.store import Batch
from davy_miner import dataset
from davy_miner.candidates import CANDIDATES, Candidate

pytestmark = pytest.mark.fast

SUBJECTS = [Subject(number) for number in range(6)]
GONE, BESIDE = SUBJECTS[1], [one for one in SUBJECTS if one.number != 1]


@pytest.fixture(params=["memory", "sqlite"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ForgetWorld]:
    with FakeLabelStudio() as fake, ForgetWorld(request.param, tmp_path, fake) as made:
        yield made


class CannotErase:
    """A log that keeps what it holds, as a broker does."""

    erases = False

    def __init__(self, world: ForgetWorld) -> None:
        self._log = world.log

    def __getattr__(self, name: str) -> object:
        return getattr(self._log, name)

    def erase(self, topic: str, partition: int, values: Mapping[int, bytes]) -> None: ...


def test_nothing_of_it_is_found_anywhere_and_all_of_the_others_is(world: ForgetWorld) -> None:
    world.live(SUBJECTS)
    before = {one.number: world.places(one) for one in SUBJECTS}
    kinds_of_places = {place for places in before[1].values() for place in places}
    assert {place.split()[0] for place in kinds_of_places} == {
        "log", "store", "blobs", "datasets", "archive", "label"
    }  # fmt: skip
    assert set(before[1]) == set(GONE.marks())
    outcome = world.forget(GONE)
    assert outcome.problems == []
    # a flag, a damaged one and an incident; files of each table, and of flags published once more
    assert outcome.counts == {**dict.fromkeys(KINDS, 1), "flags": 3, "archive": 6}
    assert world.places(GONE) == {}
    assert {one.number: world.places(one) for one in BESIDE} == {
        one.number: before[one.number] for one in BESIDE
    }


def test_the_rows_beside_it_stay_bit_by_bit_and_every_offset_stays(world: ForgetWorld) -> None:
    world.live(SUBJECTS)
    before = world.records(INFERENCES)
    world.forget(GONE)
    after = world.records(INFERENCES)
    assert after[1] == before[1]
    assert [r.offset for r in after] == [r.offset for r in before]
    assert after[0].value == select(before[0].value, [0, 2], report=True)
    assert [decode(after[0].value).report, decode(after[0].value).ids.tolist()] == [
        {"full": 2},
        [SUBJECTS[0].id, SUBJECTS[2].id],
    ]


def test_an_envelope_of_which_nothing_is_left_still_tells_what_the_app_dropped(world: ForgetWorld) -> None:
    world.append(INFERENCES, world.envelope(SUBJECTS[:2]))
    world.forget(*SUBJECTS[:2])
    envelope = decode(world.records(INFERENCES)[0].value)
    assert (envelope.count, envelope.report) == (0, {"full": 2})
    world.roles()


def test_alerts_and_incidents_lose_the_sample_and_nothing_else(world: ForgetWorld) -> None:
    world.live(SUBJECTS)
    world.forget(GONE)
    (record,) = world.records("davy.alerts")
    alert = load(Alert, record.value)
    assert (alert.id, list(alert.samples)) == ("i1", [one.id for one in BESIDE])


def test_forgetting_again_finds_nothing_and_changes_nothing(world: ForgetWorld) -> None:
    world.live(SUBJECTS)
    world.forget(GONE)
    before = list(world.everything())
    again = world.forget(GONE)
    assert (again.counts, again.problems) == (dict.fromkeys(KINDS, 0), [])
    own = {"store forgetting", "store forget_receipts"}
    assert [place for place in world.everything() if place[0] not in own] == [
        place for place in before if place[0] not in own
    ]


def test_a_preview_counts_what_would_go_and_changes_nothing(world: ForgetWorld) -> None:
    world.live(SUBJECTS)
    before = list(world.everything())
    preview = Forgetting(world.runtime()).preview(frozenset({GONE.id}))
    assert list(world.everything()) == before
    assert preview.counts == world.forget(GONE).counts


def test_a_payload_that_others_share_stays_until_the_last_of_them_goes(world: ForgetWorld) -> None:
    class Twin(Subject):
        @property
        def picture(self) -> bytes:
            return Subject(7).picture

    twins = [Twin(1), Twin(2), Twin(3)]
    world.append(INFERENCES, *(world.envelope([one]) for one in twins))
    world.roles()
    for one in twins[:2]:
        assert world.forget(one).counts["payloads"] == 0
        assert len(list(world.blobs.stored())) == 1
    assert world.forget(twins[2]).counts["payloads"] == 1
    assert list(world.blobs.stored()) == []


def test_reading_the_log_again_from_its_start_does_not_bring_it_back(world: ForgetWorld) -> None:
    world.live(SUBJECTS)
    world.forget(GONE)
    _start_over(world)
    world.roles()
    assert set(world.flags()) == {one.id for one in BESIDE}
    candidates = {load(Candidate, data).inference_id for _, data in world.store.items(CANDIDATES.name)}
    assert candidates == {one.id for one in BESIDE}
    assert world.places(GONE) == {}


def _start_over(world: ForgetWorld) -> None:
    batch = Batch()
    for key, _ in list(world.store.items("positions")):
        batch.put("positions", key, dump_any(0))
    for collection in ("detect", CANDIDATES.name, OUTBOX.name):
        for key, _ in list(world.store.items(collection)):
            batch.delete(collection, key)
    world.store.apply(batch)


def test_a_log_that_cannot_erase_says_until_when_and_nobody_reads_it_there(world: ForgetWorld) -> None:
    world.live(SUBJECTS)
    log = CannotErase(world)
    runtime = world.runtime(log=log)  # type: ignore[arg-type]
    outcome = world.forget(GONE, runtime=runtime)
    assert outcome.problems == []
    assert outcome.stays_until is not None
    hours = (outcome.stays_until - runtime.clock()) / 3600e9
    assert hours == pytest.approx(world.settings.log.keep_hours, abs=0.01)
    assert {place for places in world.places(GONE).values() for place in places} == {
        "log davy.inferences", "log davy.inferences.dlq", "log davy.flags", "log davy.flags.dlq",
        "log davy.alerts", "log davy.labels", "log davy.feedback",
    }  # fmt: skip
    assert outcome.counts["payloads"] == 1  # the log refers to it, but nobody reads that
    hidden = {**dict.fromkeys(KINDS, 0), "inferences": 1, "labels": 1, "flags": 3, "feedback": 1}
    assert outcome.hidden_counts == hidden
    assert outcome.counts["inferences"] == 0
    for again in (Forgetting(runtime).preview(frozenset({GONE.id})), world.forget(GONE, runtime=runtime)):
        assert (again.counts, again.hidden_counts) == (dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0))
        assert again.stays_until is None
    hiding = HidingLog(log, world.store)  # type: ignore[arg-type]
    for topic in (INFERENCES, FLAGS, "davy.alerts", "davy.labels", "davy.feedback", "davy.flags.dlq"):
        shown = b"".join(record.value for record in hiding.read(topic, 0, 0))
        assert not any(mark in shown for mark in GONE.marks().values())
        assert BESIDE[0].id in shown
    _start_over(world)
    world.roles(log)  # type: ignore[arg-type]
    candidates = {load(Candidate, data).inference_id for _, data in world.store.items(CANDIDATES.name)}
    assert candidates == {one.id for one in BESIDE}


def test_what_arrives_after_it_was_forgotten_is_erased_when_it_is_first_read(world: ForgetWorld) -> None:
    late = world.envelope(SUBJECTS[:3])
    assert world.forget(GONE).counts == dict.fromkeys(KINDS, 0)
    world.append(INFERENCES, late)
    assert "log davy.inferences" in world.places(GONE)["text"]
    world.roles()
    assert {place for places in world.places(GONE).values() for place in places} == {"blobs"}
    assert set(world.flags()) == {SUBJECTS[0].id, SUBJECTS[2].id}


def test_a_message_on_its_way_to_the_log_is_forgotten_too(world: ForgetWorld) -> None:
    world.live(SUBJECTS)
    flags = [[r.topic, r.key, r.value, {}] for r in world.records(FLAGS)]
    world.store.apply(Batch().put(OUTBOX.name, "detect", dump_any(flags)))
    assert "store outbox" in world.places(GONE)["text"]
    world.forget(GONE)
    kept = load_any(world.store.get(OUTBOX.name, "detect") or b"")
    assert kept == [flag for flag in flags if GONE.id not in flag[2]]
    assert len({flag[2] for flag in kept}) == len(BESIDE)
    assert world.places(GONE) == {}


def test_a_record_nobody_can_decode_is_emptied_when_the_id_stands_in_it(world: ForgetWorld) -> None:
    world.append(INFERENCES, b"DVY\x01 damaged " + GONE.id + b" and more", b"DVY\x01 damaged otherwise")
    assert world.forget(GONE).counts["inferences"] == 1
    assert [record.value for record in world.records(INFERENCES)] == [b"", b"DVY\x01 damaged otherwise"]
    world.roles()
    assert len(world.records("davy.inferences.dlq")) == 2  # one by the detectors, one by the archive


def test_a_tag_names_all_its_inferences_wherever_they_are_kept(world: ForgetWorld) -> None:
    world.append(INFERENCES, world.envelope(SUBJECTS[:2], user="ann", ward=7))
    world.append(INFERENCES, world.envelope(SUBJECTS[2:4], user="bob"))
    work = Forgetting(world.runtime())
    assert work.tagged("user", "ann") == {SUBJECTS[0].id, SUBJECTS[1].id}
    assert work.tagged("ward", "7") == {SUBJECTS[0].id, SUBJECTS[1].id}
    assert work.tagged("user", "an") == work.tagged("name", "ann") == frozenset()
    world.roles()
    world.log.retain(max_bytes=0)
    assert work.tagged("user", "bob") == {SUBJECTS[2].id, SUBJECTS[3].id}
    world.label(SUBJECTS[2:4])
    dataset.build(world.runtime(), MODEL)
    for key, _ in list(world.store.items(CANDIDATES.name)):
        world.store.apply(Batch().delete(CANDIDATES.name, key))
    assert work.tagged("user", "bob") == {SUBJECTS[2].id, SUBJECTS[3].id}


def test_a_name_is_kept_until_nothing_can_bring_it_back(world: ForgetWorld) -> None:
    world.forget(GONE)
    names, retention = ForgottenIds(world.store), RetentionTarget(world.runtime())
    assert retention.drop_names() == 0
    assert names.current() == {GONE.id}
    hours = world.settings.log.keep_hours + world.settings.log.orphan_hours
    assert names.expire(world.runtime().clock() - int((hours - 1) * 3600e9)) == 0
    assert names.expire(world.runtime().clock() + 1) == 1
    assert names.current() == frozenset()
    assert names.unfinished() == frozenset()


class TestDatasets:
    """A version forgets rows and says so."""

    def test_it_keeps_its_name_and_says_that_a_row_was_removed(self, world: ForgetWorld) -> None:
        path = world.live(SUBJECTS)
        before = dataset.load(path)
        world.forget(GONE)
        after = dataset.load(path)
        assert after.version == before.version == path.name
        assert after.manifest["content"] == before.manifest["content"]
        assert after.manifest["forgotten"]["rows"] == 1
        kept = [row for row in before.manifest["rows"] if row["inference_id"] != GONE.id.hex()]
        assert after.manifest["rows"] == kept
        rows = [before.manifest["rows"].index(row) for row in kept]
        assert after.arrays.keys() == before.arrays.keys()
        for name, array in after.arrays.items():
            np.testing.assert_array_equal(array, before.arrays[name][rows])

    def test_forgetting_once_more_adds_up_and_the_last_row_leaves_an_empty_version(
        self, world: ForgetWorld
    ) -> None:
        path = world.live(SUBJECTS[:2], size=2)
        for count, one in enumerate(SUBJECTS[:2], start=1):
            world.forget(one)
            assert dataset.load(path).manifest["forgotten"]["rows"] == count
        assert len(dataset.load(path)) == 0

    def test_the_next_build_makes_a_version_without_it(self, world: ForgetWorld) -> None:
        path = world.live(SUBJECTS)
        world.forget(GONE)
        again = dataset.build(world.runtime(), MODEL)
        assert again != path
        assert dataset.build(world.runtime(), MODEL) == again
        assert dataset.diff(dataset.load(path).manifest, dataset.load(again).manifest) == {
            "added": [], "removed": [], "relabelled": [], "moved": []
        }  # fmt: skip

    def test_what_is_left_is_verified_by_a_hash_of_its_own(self, world: ForgetWorld) -> None:
        path = world.live(SUBJECTS)
        world.forget(GONE)
        manifest = json.loads((path / "manifest.json").read_text())
        manifest["rows"].pop()
        (path / "manifest.json").chmod(0o644)
        (path / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(Exception, match="its own hash"):
            dataset.load(path)

    def test_a_version_that_cannot_be_read_is_named_and_the_rest_is_removed(self, world: ForgetWorld) -> None:
        path = world.live(SUBJECTS)
        (path / "manifest.json").chmod(0o644)
        (path / "manifest.json").write_text("{")
        outcome = world.forget(GONE)
        assert len(outcome.problems) == 1
        assert str(path) in outcome.problems[0]
        assert {place for places in world.places(GONE).values() for place in places} == {"datasets"}

    def test_what_a_killed_build_left_goes_too(self, world: ForgetWorld) -> None:
        path = world.live(SUBJECTS)
        left = path.with_name(f".building-{path.name}")
        left.mkdir()
        (left / "rows.npz").write_bytes((path / "rows.npz").read_bytes())
        world.forget(GONE)
        assert not left.exists()


def test_every_run_leaves_a_receipt_that_names_nobody_and_can_be_asked_for(world: ForgetWorld) -> None:
    world.live(SUBJECTS)
    outcome = world.forget(GONE)
    log = CannotErase(world)
    hidden = world.forget(BESIDE[0], runtime=world.runtime(log=log))  # type: ignore[arg-type]
    first, second = receipts(world.store)
    assert (first.removed, first.hidden, first.due, first.left) == (
        outcome.counts,
        dict.fromkeys(KINDS, 0),
        None,
        0,
    )
    assert (second.hidden, second.due) == (hidden.hidden_counts, hidden.stays_until)
    assert first.ids == [hashlib.sha256(GONE.id).hexdigest()]
    assert receipts(world.store, frozenset({BESIDE[0].id})) == [second]
    assert receipts(world.store, frozenset({bytes(16)})) == []
    assert world.places(GONE) == {}
