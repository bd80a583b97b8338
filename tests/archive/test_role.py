"""The archive role: every row once, in files whose names say which, whatever dies, comes late or comes twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

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
    nameless,
    numbered,
    runtime_of,
    send,
)
from support.dying import Fuse, Killed, mortal
from support.partitioned import PartitionedLog
from support.streams import ADAPTERS, SECOND, Clock, bury, id_of, read, sample

from davy.archive.places import FilePlace, open_place
from davy.codec import dump
from davy.errors import ArchiveError
from davy.event import (
    ALERTS,
    FEEDBACK,
    FLAGS,
    INFERENCES,
    LABELS,
    Alert,
    Draw,
    Evidence,
    Feedback,
    Flag,
    Label,
    dead_letters,
)
from davy.log import Message
from davy.runtime import Runtime

pytestmark = pytest.mark.fast


@pytest.fixture(params=ADAPTERS)
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runtime]:
    made = runtime_of(request.param, tmp_path / "log", clock=Clock(), rows=100, seconds=60.0)
    yield made
    made.store.close()
    made.log.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def age(runtime: Runtime) -> Callable[[float], None]:
    def move(seconds: float) -> None:
        assert isinstance(runtime.clock, Clock)
        runtime.clock.now += int(seconds * SECOND)

    return move


class FailingPlace:
    """A place that takes nothing while it is down."""

    def __init__(self, inner: FilePlace) -> None:
        self.down = True
        self._inner = inner
        self.paths, self.open = inner.paths, inner.open

    def put(self, path: str, data: bytes) -> None:
        if self.down:
            raise ArchiveError("archive", path, "is down")
        self._inner.put(path, data)


def test_rows_are_written_when_there_are_enough_of_them(runtime: Runtime, root: Path) -> None:
    send(runtime, [envelope(first, 30) for first in range(0, 270, 30)])
    drain(loop_of(runtime, root))
    offsets = [record.offset for record in runtime.log.read(INFERENCES, 0, 0)]
    assert list(nameless(files(root))) == [
        f"inferences/model=fraud%3A3/day=1970-01-01/0-{offsets[0]}-{offsets[3]}.parquet",
        f"inferences/model=fraud%3A3/day=1970-01-01/0-{offsets[4]}-{offsets[7]}.parquet",
    ]
    assert ids(root) == numbered(240)
    assert sample(runtime, "davy_archived_total", topic=INFERENCES) == 240


def test_rows_are_written_when_the_first_of_them_is_old_enough(
    runtime: Runtime, root: Path, age: Callable[[float], None]
) -> None:
    loop = loop_of(runtime, root)
    send(runtime, [envelope(0, 3)])
    drain(loop)
    age(59)
    send(runtime, [envelope(3, 3)])
    drain(loop)
    assert files(root) == {}
    age(1)
    for _ in range(3):  # one step seals, one keeps the columns, the next writes
        loop.step()
    assert ids(root) == numbered(6)
    assert len(files(root)) == 1


def test_a_clock_that_is_set_back_does_not_put_the_files_off(
    runtime: Runtime, root: Path, age: Callable[[float], None]
) -> None:
    loop = loop_of(runtime, root)
    send(runtime, [envelope(0, 3)])
    drain(loop)
    age(-3600)
    for _ in range(3):
        loop.step()
    assert ids(root) == numbered(3)


def test_a_row_lies_with_its_model_and_the_day_of_its_own_time(
    runtime: Runtime, root: Path, age: Callable[[float], None]
) -> None:
    loop = loop_of(runtime, root)
    late, early = 20_000 * DAY, 19_999 * DAY + 7
    send(runtime, [envelope(0, 1, at=late), envelope(1, 1, at=early), envelope(2, 1, model="a/b:1", at=late)])
    drain(loop)
    age(60)
    for _ in range(3):
        loop.step()
    found = {name.rpartition("/")[0].removeprefix("inferences/") for name in files(root)}
    assert found == {
        "model=fraud%3A3/day=2024-10-04",
        "model=fraud%3A3/day=2024-10-03",
        "model=a%2Fb%3A1/day=2024-10-04",
    }
    named = parquet.read_table(root / "inferences").select(["id", "model"]).to_pylist()
    assert {row["id"]: row["model"] for row in named} == {
        id_of(0).hex(): "fraud:3",
        id_of(1).hex(): "fraud:3",
        id_of(2).hex(): "a/b:1",
    }


def test_files_do_not_depend_on_how_the_log_was_polled(tmp_path: Path) -> None:
    found = []
    for max_records in (1, 7, 64):
        runtime = runtime_of("memory", tmp_path, clock=Clock(), rows=100)
        send(runtime, [envelope(first, 30) for first in range(0, 600, 30)])
        root = tmp_path / str(max_records)
        drain(loop_of(runtime, root, max_records=max_records))
        found.append(nameless(files(root)))
    assert len(found[0]) == 5
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_kill_between_any_two_steps_leaves_every_row_once_and_the_same_files(
    adapter: str, tmp_path: Path
) -> None:
    expected: dict[str, bytes] = {}
    deaths, steps = 0, 0
    while deaths == steps:
        steps += 1
        runtime = runtime_of(adapter, tmp_path / f"log-{steps}", clock=Clock(), rows=60, seconds=60.0)
        root = tmp_path / f"archive-{steps}"
        send(runtime, [envelope(first, 20, at=(first // 40) * DAY) for first in range(0, 180, 20)])
        fuse = Fuse(steps)
        try:
            drain(
                loop_of(
                    mortal(runtime, fuse), MortalPlace(open_place(f"file:///{root}"), fuse), max_records=5
                )
            )
        except Killed:
            deaths += 1
        bury(runtime, "role/archive")
        drain(loop_of(runtime, root, max_records=5))
        assert ids(root) == numbered(180)
        expected = expected or nameless(files(root))
        assert nameless(files(root)) == expected
        runtime.store.close()
        runtime.log.close()
    assert deaths > 20


def test_partitions_have_files_of_their_own(tmp_path: Path) -> None:
    root, log = tmp_path / "archive", PartitionedLog()
    runtime = replace(runtime_of("memory", tmp_path, clock=Clock(), rows=50), log=log)
    models = [f"m:{n}" for n in range(12)]
    for number, model in enumerate(models):
        send(runtime, [envelope(50 * number, 50, model=model)], key=model)
    drain(loop_of(runtime, root))
    assert ids(root) == numbered(600)
    partitions = {name.rpartition("/")[2].partition("-")[0] for name in files(root)}
    assert partitions == {str(log.partition_of(model)) for model in models}
    assert len(partitions) > 1


def test_an_id_is_in_a_file_once(runtime: Runtime, root: Path) -> None:
    send(runtime, [envelope(0, 30), envelope(0, 30), envelope(30, 40)])
    drain(loop_of(runtime, root))
    assert ids(root) == numbered(70)
    assert sample(runtime, "davy_archive_repeated_total", topic=INFERENCES) == 30
    assert sample(runtime, "davy_archived_total", topic=INFERENCES) == 70


def test_what_cannot_be_read_is_set_aside_and_the_rest_is_archived(runtime: Runtime, root: Path) -> None:
    garbage, damaged = b"not an envelope", envelope(0, 5)[:-9]
    send(runtime, [envelope(0, 50), garbage, damaged, envelope(50, 50)])
    drain(loop_of(runtime, root))
    assert ids(root) == numbered(100)
    assert read(runtime, dead_letters(INFERENCES)) == [garbage, damaged]


def test_an_outage_of_the_place_loses_nothing_and_sets_nothing_aside(runtime: Runtime, root: Path) -> None:
    place = FailingPlace(open_place(f"file:///{root}"))
    loop = loop_of(runtime, place, max_records=2)
    send(runtime, [envelope(first, 50) for first in range(0, 400, 50)])
    for _ in range(10):
        with pytest.raises(ArchiveError):
            drain(loop)
    assert files(root) == {}
    place.down = False
    drain(loop)
    assert ids(root) == numbered(400)
    assert read(runtime, dead_letters(INFERENCES)) == []


def test_records_that_retention_removed_first_are_counted_and_named(
    runtime: Runtime, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loop = loop_of(runtime, root)
    send(runtime, [envelope(0, 40), envelope(40, 40)])
    drain(loop)
    runtime.log.retain(max_bytes=len(envelope(40, 40)))
    send(runtime, [envelope(80, 40)])
    drain(loop)
    assert sum(ids(root).values()) == 80
    assert sample(runtime, "davy_role_errors_total", role="archive", error="Retained") == 1
    assert "before they were archived" in caplog.text


def test_feedback_is_kept_as_it_came_with_its_truth_as_text_and_as_a_number(
    runtime: Runtime, root: Path, age: Callable[[float], None]
) -> None:
    loop = loop_of(runtime, root)
    truths = ["cat", 3, 2.5, True, None, [1, "a"], "cat"]
    events = [Feedback(id_of(0), truth, DAY + n, model="m:1") for n, truth in enumerate(truths)]
    send(runtime, [dump(event) for event in [*events, Feedback(id_of(1), 1, DAY)]], topic=FEEDBACK)
    drain(loop)
    age(60)
    for _ in range(3):
        loop.step()
    (file,) = (root / "feedback/model=m%3A1/day=1970-01-02").iterdir()
    found = parquet.read_table(file).to_pydict()
    assert found["truth"] == ["cat", "3", "2.5", "true", None, '[1, "a"]', "cat"]
    assert found["truth_number"] == [None, 3.0, 2.5, 1.0, None, None, None]
    (unnamed,) = (root / "feedback/model=__HIVE_DEFAULT_PARTITION__").rglob("*.parquet")
    assert parquet.read_table(unnamed)["id"].to_pylist() == [id_of(1).hex()]


def test_flags_bring_scores_and_draws_and_name_their_inference(
    runtime: Runtime, root: Path, age: Callable[[float], None]
) -> None:
    loop = loop_of(runtime, root)
    first = Flag("f1", id_of(0), "m:1", DAY, [Draw("control", probability=0.02)], {}, envelope(0, 1))
    second = Flag(
        "f2",
        id_of(1),
        "m:1",
        DAY,
        [Draw("msp", probability=1.0, score=0.9)],
        {"msp": 0.9},
        envelope(1, 1),
        "i1",
    )
    send(runtime, [dump(first), dump(second), dump(second)], topic=FLAGS)
    drain(loop)
    age(60)
    for _ in range(3):
        loop.step()
    (file,) = (root / "flags").rglob("*.parquet")
    found = parquet.read_table(file).to_pydict()
    assert found["inference_id"] == [id_of(0).hex(), id_of(1).hex()]
    assert found["scores.msp"] == [None, 0.9]
    assert found["draws"][0] == [{"arm": "control", "probability": 0.02, "score": 0.0}]
    assert found["incident"] == [None, "i1"]


def test_answers_and_what_is_told_of_incidents_are_rows_once(
    runtime: Runtime, root: Path, age: Callable[[float], None]
) -> None:
    loop = loop_of(runtime, root)
    label = Label("c1", id_of(0), "m:1", {"boxes": [1]}, 1, DAY, "ann", 2.5, verdict="wrong", note="blurred")
    labels = [label, replace(label, answer=3, revision=2, at=DAY + 1), label]
    evidence = [Evidence("inputs.x", "larger", 1.0, 2.0, 30.0)]
    alert = Alert("i1", "m:1", "drift", "open", DAY, DAY - 9, 3, 4, evidence, 40.0, 20.0, [id_of(0)])
    alerts = [alert, alert, replace(alert, state="ongoing"), replace(alert, state="resolved", at=DAY + 1)]
    send(runtime, [dump(one) for one in labels], topic=LABELS)
    send(runtime, [dump(one) for one in alerts], topic=ALERTS)
    loop.drain()
    age(60)
    for _ in range(3):
        loop.step()
    first, second = parquet.read_table(root / "labels").to_pylist()
    assert (first["id"], first["inference_id"], first["seconds"]) == ("c1/1", id_of(0).hex(), 2.5)
    assert (first["answer"], first["answer_number"], first["note"]) == ('{"boxes": [1]}', None, "blurred")
    assert (second["answer"], second["answer_number"], second["revision"]) == ("3", 3.0, 2)
    told = parquet.read_table(root / "incidents").to_pylist()
    assert [row["state"] for row in told] == ["open", "ongoing", "resolved"]
    assert (told[0]["onset_at"].value, told[0]["samples"]) == (DAY - 9, [id_of(0).hex()])
    assert told[0]["features"] == [asdict(evidence[0])]
    assert sample(runtime, "davy_archive_repeated_total", topic=ALERTS) == 1


def test_what_waits_for_its_file_is_written_after_a_restart(
    runtime: Runtime, root: Path, age: Callable[[float], None]
) -> None:
    send(runtime, [envelope(0, 10)])
    first = loop_of(runtime, root)
    first.drain()
    first.close()
    age(60)
    second = loop_of(runtime, root)
    for _ in range(3):
        second.step()
    assert ids(root) == numbered(10)


def test_a_large_record_closes_its_file_so_that_memory_stays_bounded(
    runtime: Runtime, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("davy.archive.role._SPAN_BYTES", len(envelope(0, 10)))
    runtime.log.producer().append([Message(INFERENCES, "fraud:3", envelope(n, 10)) for n in (0, 10)])
    drain(loop_of(runtime, root))
    assert ids(root) == numbered(20)
    assert len(files(root)) == 2
