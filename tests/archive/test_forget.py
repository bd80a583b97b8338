"""What `davy forget` forgets leaves the archive, and no archive role, however it dies, writes it there again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from support.archived import (
    DAY,
    MortalPlace,
    drain,
    envelope,
    files,
    ids,
    loop_of,
    numbered,
    runtime_of,
    send,
)
from support.dying import Fuse, Killed, mortal
from support.streams import SECOND, Clock, bury, id_of

from davy.archive.keeper import ArchiveKeeper
from davy.archive.places import FilePlace, open_place
from davy.codec import Encoder, dump, pack
from davy.event import ALERTS, FEEDBACK, FLAGS, LABELS, Alert, BlobRef, Draw, Evidence, Feedback, Flag, Label
from davy.forgetting import ForgetReport, Forgetting, ForgottenIds, HidingLog
from davy.forgetting.records import LogKeeper
from davy.runtime import Runtime

pytestmark = pytest.mark.fast

GONE = 7
EVIDENCE = Evidence("inputs.n", "larger", 1.0, 2.0, 30.0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def runtime(tmp_path: Path, root: Path) -> Iterator[Runtime]:
    made = world(tmp_path, root)
    yield made
    made.store.close()


def world(directory: Path, root: Path) -> Runtime:
    """Return a runtime whose archive is at `root`; its log holds inferences 0 to 39 in two days."""
    made = runtime_of("memory", directory, clock=Clock(), rows=20, url=f"file:///{root}")
    send(made, [envelope(first, 10, at=(first // 10 % 2) * DAY) for first in range(0, 40, 10)])
    return made


def archive(runtime: Runtime, root: Path) -> None:
    """Let a role archive what the log holds, to the last record, and leave."""
    loop = loop_of(hiding(runtime), root, max_records=1)
    drain(loop)
    assert isinstance(runtime.clock, Clock)
    runtime.clock.now += int(runtime.settings.archive.seconds * SECOND)
    for _ in range(3):  # one step seals, one keeps the columns, the next writes
        loop.step()
    loop.close()


def hiding(runtime: Runtime) -> Runtime:
    """Return the runtime that roles get."""
    return replace(runtime, log=HidingLog(runtime.log, runtime.store))


def forget(runtime: Runtime, *numbers: int, place: FilePlace | None = None) -> ForgetReport:
    keeper = ArchiveKeeper(runtime)
    if place is not None:
        keeper._place = place
    return Forgetting(runtime, [keeper], patience=15).forget(frozenset(map(id_of, numbers)))


def left(*gone: int) -> dict[str, int]:
    return {id: 1 for id in numbered(40) if id not in {id_of(number).hex() for number in gone}}


def test_a_file_keeps_its_name_and_every_other_row_as_it_was(runtime: Runtime, root: Path) -> None:
    archive(runtime, root)
    before = {name: parquet.read_table(root / name) for name in files(root)}
    bytes_before = files(root)
    outcome = forget(runtime, GONE)
    assert outcome.problems == []
    assert {kind: count for kind, count in outcome.counts.items() if count} == {"archive": 1}
    assert list(files(root)) == list(before)
    (changed,) = outcome.things["archive"]
    for name, table in before.items():
        after = parquet.read_table(root / name)
        keep = [n for n, id in enumerate(table["id"].to_pylist()) if id != id_of(GONE).hex()]
        assert after.equals(table.take(keep), check_metadata=True)
        assert (files(root)[name] != bytes_before[name]) == (name == changed)
    assert ids(root) == left(GONE)


def test_a_file_of_which_nothing_is_left_is_removed(runtime: Runtime, root: Path) -> None:
    archive(runtime, root)
    assert forget(runtime, *range(10)).counts["archive"] == 1
    assert len(files(root)) == 3
    assert ids(root) == left(*range(10))


def test_feedback_and_flags_of_it_go_too_and_only_their_files_are_counted(
    runtime: Runtime, root: Path
) -> None:
    told = [Feedback(id_of(n), "cat", DAY + n, model="fraud:3") for n in range(20)]
    flags = [
        Flag(f"f{n}", id_of(n), "fraud:3", DAY, [Draw("msp", probability=1.0)], {}, b"") for n in range(20)
    ]
    send(runtime, [dump(one) for one in told], topic=FEEDBACK)
    send(runtime, [dump(one) for one in flags], topic=FLAGS)
    archive(runtime, root)
    outcome = forget(runtime, GONE)
    assert {kind: count for kind, count in outcome.counts.items() if count} == {"archive": 3}
    for folder in ("feedback", "flags"):
        kept = parquet.read_table(root / folder).to_pylist()
        assert len(kept) == 19
        assert id_of(GONE).hex() not in str(kept)


def test_answers_go_and_incidents_lose_the_sample_and_stay(runtime: Runtime, root: Path) -> None:
    answers = [Label(f"c{n}", id_of(n), "fraud:3", "cat", 1, DAY, "ann", note=f"note {n}") for n in range(20)]
    samples = [[id_of(GONE), id_of(3)], [], [id_of(GONE)], [id_of(4)]]
    alerts = [
        Alert(f"i{n}", "fraud:3", "drift", "open", DAY, DAY, 1, 2, [EVIDENCE], 9.0, 5.0, ids)
        for n, ids in enumerate(samples)
    ]
    send(runtime, [dump(one) for one in answers], topic=LABELS)
    send(runtime, [dump(one) for one in alerts], topic=ALERTS)
    archive(runtime, root)
    before = parquet.read_table(root / "incidents")
    outcome = forget(runtime, GONE)
    assert outcome.problems == []
    assert {kind: count for kind, count in outcome.counts.items() if count} == {"archive": 3}
    labels, incidents = (parquet.read_table(root / name) for name in ("labels", "incidents"))
    assert (labels.num_rows, f"note {GONE}" in str(labels.to_pylist())) == (19, False)
    assert incidents["samples"].to_pylist() == [[id_of(3).hex()], [], [], [id_of(4).hex()]]
    assert incidents.drop_columns("samples").equals(before.drop_columns("samples"), check_metadata=True)
    assert forget(runtime, GONE).counts["archive"] == 0


def test_a_preview_counts_the_same_and_changes_nothing(runtime: Runtime, root: Path) -> None:
    archive(runtime, root)
    before = files(root)
    preview = Forgetting(runtime, [ArchiveKeeper(runtime)]).preview(frozenset({id_of(GONE)}))
    assert files(root) == before
    assert preview.counts == forget(runtime, GONE).counts
    assert forget(runtime, GONE).counts["archive"] == 0


def test_a_death_at_any_step_of_forgetting_is_made_good_by_the_next_run(tmp_path: Path) -> None:
    gone = (*range(10), 12)  # a file goes, and another is written again
    deaths, steps = 0, 0
    while deaths == steps:
        steps += 1
        root = tmp_path / f"archive-{steps}"
        runtime = world(tmp_path, root)
        archive(runtime, root)
        place = MortalPlace(open_place(f"file:///{root}"), Fuse(steps))
        with suppress(Killed):
            forget(runtime, *gone, place=place)
            continue
        deaths += 1
        bury(runtime, "role/archive", "forget")
        assert forget(runtime, *gone).problems == []
        assert ids(root) == left(*gone)
        assert ForgottenIds(runtime.store).unfinished() == frozenset()
    assert deaths == 4  # before and after the two files


def test_a_role_that_died_anywhere_leaves_the_forgotten_out_when_it_writes_again(tmp_path: Path) -> None:
    gone = (*range(10), 12)
    deaths, steps = 0, 0
    while deaths == steps:
        steps += 1
        root, fuse = tmp_path / f"archive-{steps}", Fuse(steps)
        runtime = world(tmp_path, root)
        dying = mortal(hiding(runtime), fuse)
        try:
            drain(loop_of(dying, MortalPlace(open_place(f"file:///{root}"), fuse), max_records=1))
        except Killed:
            deaths += 1
        bury(runtime, "role/archive")
        assert forget(runtime, *gone).problems == []
        archive(runtime, root)
        assert ids(root) == left(*gone)
    assert deaths > 15


def test_a_role_that_writes_while_it_is_forgotten_writes_again_without_it(
    runtime: Runtime, root: Path
) -> None:
    class Overtaken:
        """A place before whose first file the lease runs out and everything of a day is forgotten."""

        def __init__(self, inner: FilePlace) -> None:
            self._inner, self._done = inner, False

        def __getattr__(self, name: str) -> object:
            return getattr(self._inner, name)

        def put(self, path: str, data: bytes) -> None:
            if not self._done:
                self._done = True
                bury(runtime, "role/archive")
                assert forget(runtime, *range(10)).problems == []
            self._inner.put(path, data)

    loop = loop_of(hiding(runtime), Overtaken(open_place(f"file:///{root}")))  # type: ignore[arg-type]
    with pytest.raises(Exception, match="role/archive"):
        drain(loop)
    assert id_of(3).hex() not in ids(root)
    archive(runtime, root)
    assert ids(root) == left(*range(10))


def test_what_a_killed_writer_left_unfinished_goes(runtime: Runtime, root: Path) -> None:
    archive(runtime, root)
    unfinished = root / ".unfinished" / ".put-killed"
    unfinished.write_bytes(b"with rows of it")
    assert forget(runtime, GONE).problems == []
    assert not unfinished.exists()


def test_a_damaged_file_is_named_and_the_others_are_cleaned(runtime: Runtime, root: Path) -> None:
    archive(runtime, root)
    damaged, *_ = files(root)
    (root / damaged).write_bytes(b"PAR1 no more")
    (problem,) = forget(runtime, GONE, 12).problems
    assert damaged in problem
    assert "repair or delete it" in problem
    assert id_of(12).hex() not in ids_of_readable(root, damaged)
    (root / damaged).unlink()
    assert forget(runtime).problems == []


def ids_of_readable(root: Path, damaged: str) -> set[str]:
    names = [name for name in files(root) if name != damaged]
    return {id for name in names for id in parquet.read_table(root / name)["id"].to_pylist()}


def test_an_archive_that_the_settings_do_not_name_is_asked_for(runtime: Runtime, root: Path) -> None:
    archive(runtime, root)
    blind = replace(runtime, settings=replace(runtime.settings, archive=type(runtime.settings.archive)()))
    (problem,) = forget(blind, GONE).problems
    assert "DAVY_ARCHIVE_URL" in problem
    assert ids(root) == numbered(40)
    assert forget(runtime).problems == []
    assert ids(root) == left(GONE)


def test_what_one_run_took_from_the_log_no_later_one_counts_again(runtime: Runtime, root: Path) -> None:
    archive(runtime, root)
    blind = replace(runtime, settings=replace(runtime.settings, archive=type(runtime.settings.archive)()))
    counted = []
    for seen in (blind, runtime, runtime):
        work = Forgetting(seen, [LogKeeper(seen), ArchiveKeeper(seen)], patience=15)
        counts = work.forget(frozenset({id_of(GONE)})).counts
        counted.append((counts["inferences"], counts["archive"]))
    assert counted == [(1, 0), (0, 1), (0, 0)]


def test_without_an_archive_there_is_nothing_to_do(runtime: Runtime) -> None:
    none = replace(runtime, settings=replace(runtime.settings, archive=type(runtime.settings.archive)()))
    assert forget(none, GONE).problems == []
    assert list(ArchiveKeeper(none).tagged("user", "ann")) == []


def test_a_tag_and_a_payload_that_only_the_archive_knows_are_found(runtime: Runtime, root: Path) -> None:
    reference = runtime.blobs.put(b"a picture", "image/png")
    assert isinstance(reference, BlobRef)
    encoder = Encoder()
    given: list[dict[str, Any]] = [
        {"user": "bob"},
        {"user": "ann", "ward": 7},
        {"ward": 7.5},
        {"ward": "east"},
    ]
    for n, tags in enumerate(given):
        inputs = {"image": reference if n == 1 else 1.0}
        send(runtime, [pack([encoder.encode("m:1", id_of(100 + n), n, inputs, {}, tags=tags)])])
    send(runtime, [envelope(200, 20)])
    archive(runtime, root)
    runtime.log.retain(max_bytes=0)
    keeper = ArchiveKeeper(runtime)
    assert list(keeper.tagged("user", "ann")) == list(keeper.tagged("ward", "7")) == [id_of(101)]
    assert list(keeper.tagged("ward", "7.5")) == [id_of(102)]
    assert list(keeper.tagged("ward", "east")) == [id_of(103)]  # in a column beside
    assert list(keeper.tagged("user", "an")) == list(keeper.tagged("name", "ann")) == []
    assert list(keeper.payloads(frozenset())) == []
    outcome = forget(runtime, 101)
    assert outcome.things["payloads"] == {reference.hash}
    assert not runtime.blobs.exists(reference.hash)
