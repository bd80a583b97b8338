"""The join as a function: the same pairs whatever the order, the partitions, the repetitions and the deaths."""

from __future__ import annotations

import os

import numpy as np
import pytest
from support.labelled import Joining, expected, inferences, labels, packed, place
from support.streams import BEGIN, SECOND

from davy.event import Array
from davy.store.memory import MemoryStore
from davy.store.sqlite import SqliteStore
from davy_detectors.labelled.columns import Columns, concat, size_of, take
from davy_detectors.labelled.join import Join

pytestmark = pytest.mark.fast

COUNT = int(os.environ.get("DAVY_TEST_JOIN_INFERENCES", "50000"))
SAID = int(os.environ.get("DAVY_TEST_JOIN_FEEDBACK", "10000"))
ROWS = inferences(COUNT, BEGIN)
LABELS = labels(ROWS, SAID)
BLOCK = 12_800
"""Inferences of one transaction, as `detect.poll_records` has it."""
SPOKEN = 4_096


@pytest.fixture(scope="module")
def truth() -> dict[int, list[int]]:
    return expected(ROWS, LABELS)


def cut(rows: Columns, size: int, partitions: int, rng: np.random.Generator, order: Array) -> list[bytes]:
    """Return rows in messages, spread over partitions, a fifth of the messages twice."""
    which = rng.integers(0, partitions, size_of(rows))
    messages = []
    for partition in range(partitions):
        mine = order[which[order] == partition]
        messages += [packed(take(rows, mine[start : start + size])) for start in range(0, len(mine), size)]
    again = [messages[place] for place in rng.choice(len(messages), max(1, len(messages) // 5))]
    return [*messages, *again]


@pytest.mark.parametrize("partitions", [1, 4, 16])
@pytest.mark.parametrize("order", range(10))
def test_any_order_partitions_repetitions_and_kills_give_the_same_pairs(
    order: int, partitions: int, truth: dict[int, list[int]]
) -> None:
    """In the first order feedback comes first, in the second last, in the others everything is mixed."""
    rng = np.random.default_rng([order, partitions])
    every = np.arange(COUNT) if order < 2 else rng.permutation(COUNT)
    seen = [(message, True) for message in cut(ROWS, BLOCK, partitions, rng, every)]
    said = [
        (message, False) for message in cut(LABELS, SPOKEN, partitions, rng, rng.permutation(size_of(LABELS)))
    ]
    messages = [*said, *seen] if order == 0 else [*seen, *said]
    if order > 1:
        messages = [messages[place] for place in rng.permutation(len(messages))]
    joining, deaths = Joining(MemoryStore(), 4 * COUNT), set(rng.choice(len(messages), 2).tolist())
    for number, (message, is_inference) in enumerate(messages):
        joining.turn(
            [message] if is_inference else [], [] if is_inference else [message], dies=number in deaths
        )
    assert joining.counts() == truth
    assert joining.join.counts.joined == SAID
    assert joining.join.counts.too_late == 0
    again = Joining(joining.store, 4 * COUNT)
    windows = np.array(sorted(truth), np.int64)
    both = [one.join.pairs(windows)[0].columns for one in (joining, again)]
    assert all(np.array_equal(both[0][name], both[1][name], equal_nan=True) for name in both[0])


def test_a_label_said_earlier_moves_the_pair_as_long_as_its_window_may_change() -> None:
    rows = take(ROWS, np.arange(10))
    one = take(labels(rows, 1), np.arange(1))
    later = {
        **one,
        "label_time": one["label_time"] + 10 * SECOND,
        "truth_text": one["truth_text"] + np.uint64(1),
    }
    first, second = Joining(MemoryStore(), 1000), Joining(MemoryStore(), 1000)
    for joining, messages in ((first, (one, later)), (second, (later, one))):
        joining.turn([packed(rows)], [])
        for message in messages:
            joining.turn([], [packed(message)])
    assert first.counts() == second.counts() == expected(rows, one)
    assert first.join.counts == second.join.counts
    final = Join(MemoryStore(), "risk:1", 1000)
    final.take_in([packed(rows)], [packed(later)], place)
    assert not len(final.take_in([], [packed(one)], place, final=int(later["label_time"][0])))
    assert final.counts.repeated == 1


def test_memory_and_disk_are_bounded_and_what_is_beyond_is_counted(tmp_path) -> None:
    limit, store = 2_000, SqliteStore(f"sqlite:///{tmp_path}")
    joining = Joining(store, limit)
    most = 0
    for start in range(0, 20_000, 500):
        rows = take(ROWS, np.arange(start, start + 500))
        joining.turn([packed(rows)], [packed(labels(rows, 200))])
        most = max(most, joining.join.nbytes)
    assert most < limit * 1.6 * 2 * (130 + 200)
    for name in ("inferences", "labels"):
        stored = sum(len(data) for _, data in store.items(f"join/risk:1/{name}"))
        assert stored < limit * 1.5 * 250
    counts = joining.join.counts
    assert counts.joined + counts.too_late >= 40 * 200
    old = take(ROWS, np.arange(100))
    before = counts.joined
    joining.turn([], [packed(labels(old, 50))])
    assert joining.join.counts.joined == before


def test_a_pair_is_counted_once_though_the_label_that_is_repeated_was_dropped() -> None:
    limit = 1_000
    joining = Joining(MemoryStore(), limit)
    rows = take(ROWS, np.arange(limit))
    said = take(labels(rows, limit), np.arange(limit))
    joining.turn([packed(rows)], [packed(said)])
    more = take(ROWS, np.arange(limit, 2 * limit))
    joined = joining.join.take_in(
        [packed(more)], [packed(take(labels(more, limit), np.arange(limit)))], place, final=2**62
    )
    assert len(joined)
    before = joining.join.counts.joined
    joining.join.take_in([packed(rows)], [packed(said)], place, final=2**62)
    counts = joining.join.counts
    assert counts.joined - before + counts.repeated + counts.too_late == limit
    assert counts.joined == before


def test_inferences_and_labels_may_lack_what_others_have() -> None:
    rows = take(ROWS, np.arange(20))
    bare = {name: column for name, column in rows.items() if name != "score:msp"}
    joining = Joining(MemoryStore(), 1000)
    joining.turn([packed(take(bare, np.arange(10)))], [])
    joining.turn([packed(take(rows, np.arange(10, 20)))], [packed(labels(rows, 20))])
    pairs, _ = joining.join.pairs(np.array(sorted(joining.aggregates), np.int64))
    assert len(pairs) == 20
    assert np.isnan(pairs.scores["msp"]).sum() == 10
    assert set(pairs.kinds) == {"truth"}
    assert set(pairs.arms) <= {"", "control"}
    assert np.array_equal(pairs.arms == "control", pairs.probability == 0.02)
    assert concat([rows, bare])["score:msp"].dtype == np.float32
