"""Topics on real Kafka brokers: made as the settings say, and looked over when somebody else made them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from support.kafka_rig import Open, append, read
from support.kafka_server import needs_brokers

from davy.demo.processes import wait_until
from davy.errors import LogError
from davy.event import INFERENCES, LABELS
from davy.log._kafka.log import ClusterLog

pytestmark = needs_brokers()


def test_topics_are_made_as_the_settings_say(url: str, open_: Open) -> None:
    log = open_(url, log__keep_hours=5, kafka__message_bytes=2_000_000)
    assert isinstance(log, ClusterLog)
    append(log, "a")
    made = log._admin().settings_of([INFERENCES])[INFERENCES]
    assert len(log.start(INFERENCES)) == 4
    assert made["retention.ms"] == str(5 * 3_600_000)
    assert made["message.timestamp.type"] == "LogAppendTime"
    assert int(made["max.message.bytes"]) >= 2_000_000


def test_many_threads_ask_one_broker_at_once(url: str, open_: Open) -> None:
    """`davy doctor` asks everything at the same time."""
    log = open_(url)
    append(log, "a")
    with ThreadPoolExecutor(40) as pool:
        ends = list(pool.map(lambda _: log.end(INFERENCES), range(400)))
    assert all(sum(end.values()) == 1 for end in ends)


def test_a_topic_the_cluster_will_not_make_is_told_with_a_remedy(url: str, open_: Open) -> None:
    with pytest.raises(LogError, match="DAVY_KAFKA_REPLICATION"):
        append(open_(url, kafka__replication=3), "a")


@pytest.mark.parametrize(
    ("made", "state", "told"),
    [
        ({"cleanup.policy": "compact"}, "wrong", "cleanup.policy=delete"),
        ({"max.message.bytes": "1000000"}, "wrong", "max.message.bytes=33619968"),
        ({"retention.ms": "3600000"}, "wrong", "retention.ms=604800000"),
        ({"retention.bytes": "1000000"}, "warning", "DAVY_LOG_KEEP_BYTES bounds the log"),
    ],
    ids=["compacted", "small messages", "short retention", "little room"],
)
def test_topics_that_somebody_else_made_are_looked_over(
    url: str, open_: Open, made: dict[str, str], state: str, told: str
) -> None:
    log = open_(url)
    assert isinstance(log, ClusterLog)
    good = {"max.message.bytes": "40000000", "retention.ms": "-1", "cleanup.policy": "delete"}
    log._admin().create([INFERENCES], 4, 1, {**good, **made})
    wait_until(lambda: bool(log.start(INFERENCES)), "the topic to be there")
    (found,) = [one for one in log.look_over() if one.topic == INFERENCES]
    assert found.state == state
    assert told in found.remedy


def test_topics_with_few_partitions_are_a_warning_and_good_ones_are_none(url: str, open_: Open) -> None:
    append(open_(url), "a")
    log = open_(url.replace("partitions=4", "partitions=5"))
    assert isinstance(log, ClusterLog)
    found = {one.topic: one for one in log.look_over()}
    assert (found[INFERENCES].state, found[INFERENCES].found) == (
        "warning",
        "4 partitions, DAVY_KAFKA_PARTITIONS says 5",
    )
    assert (found[LABELS].state, found[LABELS].remedy) == ("ok", "")


def test_a_hot_model_is_spread_and_what_is_sent_again_goes_where_it_went_before(
    url: str, open_: Open
) -> None:
    log = open_(url, kafka__shards=16)
    values = [f"envelope {number}" for number in range(40)]
    append(log, *values)
    append(log, *values)
    places: dict[str, set[int]] = {}
    for record in read(log):
        places.setdefault(record.value.decode(), set()).add(record.partition)
    assert sorted(places) == sorted(values)
    assert all(len(where) == 1 for where in places.values())
    assert set().union(*places.values()) == {0, 1, 2, 3}
