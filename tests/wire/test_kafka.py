"""The log on real Kafka brokers: what they do, and what they fail to do, reaches nobody but as promised."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import count

import confluent_kafka
import pytest
from kafka_server import PASSWORD, USER, Cluster, cannot_connect, fresh_prefix, needs_brokers

from davy.codec import decode
from davy.config import Settings, load
from davy.errors import LogError, Refused, SettingError
from davy.event import INFERENCES, LABELS
from davy.log import Consumer, Log, Message, Partition, Position, Record, open_log
from davy.log._kafka.log import ClusterLog

pytestmark = needs_brokers()

SCHEMES = ("kafka", "kafka+librdkafka")
LATE_SECONDS = 0.3
"""What a busy machine may add to a timeout."""
Open = Callable[..., Log]


@pytest.fixture(params=SCHEMES)
def scheme(request: pytest.FixtureRequest) -> str:
    scheme: str = request.param
    return scheme


@pytest.fixture
def url(scheme: str, kafka_broker: Cluster) -> str:
    return f"{scheme}://{kafka_broker.servers}/{fresh_prefix()}?partitions=4"


@pytest.fixture
def open_() -> Iterator[Open]:
    """Open logs that are closed at the end of the test."""
    with ExitStack() as stack:
        yield lambda url, **overrides: stack.enter_context(closing(open_log(url, settings(**overrides))))


def settings(**overrides: object) -> Settings:
    return load(env={}, overrides={name.replace("__", "."): value for name, value in overrides.items()})


def append(
    log: Log, *values: str | bytes, topic: str = INFERENCES, key: str = "m:1", timeout: float = 30
) -> None:
    with closing(log.producer()) as producer:
        producer.append([message(value, topic, key) for value in values], timeout=timeout)


def message(value: str | bytes, topic: str = INFERENCES, key: str = "m:1") -> Message:
    return Message(topic, key, value if isinstance(value, bytes) else value.encode())


def read(log: Log, topic: str = INFERENCES) -> list[Record]:
    return [
        record
        for (_, partition), start in log.start(topic).items()
        for record in log.read(topic, partition, start)
    ]


def values(log: Log, topic: str = INFERENCES) -> list[str]:
    return sorted(record.value.decode() for record in read(log, topic))


@contextmanager
def lasting(most: float) -> Iterator[None]:
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun <= most + LATE_SECONDS


@cannot_connect
def test_an_append_to_brokers_that_never_answer_is_over_in_time(scheme: str, open_: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        log = open_(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}")
        with lasting(1.0), pytest.raises(LogError, match="within reach"):
            append(log, "a", timeout=1.0)


@cannot_connect
def test_an_append_to_brokers_that_are_not_there_is_over_in_time(scheme: str, open_: Open) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        log = open_(f"{scheme}://127.0.0.1:{unused.getsockname()[1]}")
        with lasting(1.0), pytest.raises(LogError, match="within reach"):
            append(log, "a", timeout=1.0)


@pytest.mark.parametrize("topic", [INFERENCES, LABELS], ids=["known topic", "unknown topic"])
def test_an_append_to_a_broker_that_stalls_is_over_in_time_and_the_next_one_works(
    url: str, open_: Open, kafka_broker: Cluster, topic: str
) -> None:
    log = open_(url)
    with closing(log.producer()) as producer:
        producer.append([message("before")])
        with kafka_broker.brokers[0].stalled(), lasting(1.0), pytest.raises(LogError):
            producer.append([message("stalled", topic)], timeout=1.0)
        producer.append([message("after", topic)])
    assert "before" in values(log)
    assert "after" in values(log, topic)


def test_closing_a_producer_whose_broker_stalls_is_over_in_time(
    url: str, open_: Open, kafka_broker: Cluster
) -> None:
    producer = open_(url).producer()
    producer.append([message("a")])
    with kafka_broker.brokers[0].stalled(), lasting(0.5):
        producer.close(timeout=0.5)


def test_closing_a_consumer_whose_broker_stalls_is_over_in_time(
    url: str, open_: Open, kafka_broker: Cluster
) -> None:
    consumer = open_(url).consumer([INFERENCES], "detect")
    with kafka_broker.brokers[0].stalled(), lasting(10.0):
        consumer.close()


PROGRAM = """
import sys, time
{code}
print("ready", flush=True)
sys.stdin.readline()
{more}
print(time.monotonic(), flush=True)
"""
SDK = (
    "import davy; davy.capture('m:1', {'x': 1.0}, {}); assert davy.flush(30)",
    "davy.capture('m:1', {'x': 2.0}, {})",
)
LOG = (
    """
import os
from davy.log import Message, open_log
producer = open_log(os.environ["DAVY_URL"]).producer()
producer.append([Message("davy.inferences", "m:1", b"a")])""",
    """
try: producer.append([Message("davy.inferences", "m:1", b"b")], timeout=0.2)
except Exception: pass""",
)


@pytest.mark.parametrize("code", [SDK, LOG], ids=["sdk", "log"])
@pytest.mark.parametrize("wait", [0.0, 0.5])
def test_the_exit_of_a_process_whose_broker_stalls_is_silent_and_not_held_up(
    url: str, kafka_broker: Cluster, code: tuple[str, str], wait: float
) -> None:
    program = PROGRAM.format(code=code[0], more=f"{code[1]}\ntime.sleep({wait})")
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, "DAVY_URL": url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with kafka_broker.brokers[0].stalled():
            printed, complaints = process.communicate("go\n", timeout=60)
            ended = time.monotonic()
    said_by_davy = "davy.stats() counts"
    assert [line for line in complaints.splitlines() if said_by_davy not in line] == []
    assert process.returncode == 0
    assert ended - float(printed) <= 1.0 + LATE_SECONDS


FORK = """
import os
from davy.log import Message, open_log
log = open_log(os.environ["DAVY_URL"])
producer = log.producer()
producer.append([Message("davy.inferences", "m:1", b"before")])
log.end("davy.inferences")
child = os.fork()
name = b"parent" if child else b"child"
producer.append([Message("davy.inferences", "m:1", name)], timeout=20)
log.producer().append([Message("davy.inferences", "m:1", name + b" anew")], timeout=20)
assert sum(log.end("davy.inferences").values()) >= 3
if child:
    assert os.waitpid(child, 0)[1] == 0
"""
FORK_SDK = """
import davy, os
davy.capture("m:1", {"x": 0.0}, {})
assert davy.flush(30)
child = os.fork()
davy.capture("m:1", {"x": 1.0 if child else 2.0}, {})
assert davy.flush(30)
if child:
    assert os.waitpid(child, 0)[1] == 0
"""


def run(code: str, url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", "-c", code],
        env={**os.environ, "DAVY_URL": url},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_both_sides_of_a_fork_go_on_appending_and_reading(url: str, open_: Open) -> None:
    run(FORK, url)
    assert values(open_(url)) == ["before", "child", "child anew", "parent", "parent anew"]


def test_the_sdk_goes_on_capturing_on_both_sides_of_a_fork(url: str, open_: Open) -> None:
    run(FORK_SDK, url)
    envelopes = [decode(record.value) for record in read(open_(url))]
    assert sorted(one.inputs["x"] for envelope in envelopes for one in envelope.inferences()) == [
        0.0,
        1.0,
        2.0,
    ]


class Group:
    """Consumers of one group that do as a role does: handle, store the position with what was done, poll again."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._store: dict[Partition, int] = {}
        self.done: list[tuple[str, Record]] = []
        self.grown = threading.Condition(self._lock)

    def assigned(self, partitions: Sequence[Partition]) -> Position:
        with self._lock:
            return {place: self._store[place] for place in partitions if place in self._store}

    @contextmanager
    def member(self, name: str) -> Iterator[None]:
        """Take part for a while, on a thread of its own."""
        leave = threading.Event()
        failed: list[BaseException] = []

        def work() -> None:
            try:
                with closing(self._log.consumer([INFERENCES], "detect", assigned=self.assigned)) as consumer:
                    while not leave.is_set():
                        self._handle(name, consumer)
            except BaseException as error:
                failed.append(error)
                raise

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            leave.set()
            thread.join()
        assert not failed

    def _handle(self, name: str, consumer: Consumer) -> None:
        records = consumer.poll(max_records=20, timeout=0.1)
        with self._lock:
            self.done += [(name, record) for record in records]
            self._store |= {(record.topic, record.partition): record.offset + 1 for record in records}
            self.grown.notify_all()
        consumer.commit(consumer.position())

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self.grown:
            assert self.grown.wait_for(condition, 60), f"{len(self.done)} records were handled"

    def busy(self, name: str, since: int) -> bool:
        return any(who == name for who, _ in self.done[since:])


def test_consumers_share_partitions_and_nothing_is_lost_or_reordered_when_they_come_and_go(
    url: str, open_: Open
) -> None:
    log = open_(url)
    group, stop, written = Group(log), threading.Event(), [0]
    keys = [f"m:{number}" for number in range(12)]

    def write() -> None:
        with closing(log.producer()) as producer:
            for number in count():
                group.wait_for(lambda: written[0] * len(keys) - len(group.done) < 500)
                if stop.is_set():
                    return
                producer.append([message(str(number), key=key) for key in keys])
                written[0] = number + 1

    writer = threading.Thread(target=write)
    writer.start()
    with group.member("first"):
        group.wait_for(lambda: group.busy("first", 0))
        with group.member("second"):
            group.wait_for(lambda: group.busy("second", 0))
            both = len(group.done)
            group.wait_for(lambda: group.busy("first", both) and group.busy("second", both))
        alone = len(group.done)
        shared = {record.partition for name, record in group.done if name == "second"}
        group.wait_for(
            lambda: shared <= {record.partition for name, record in group.done[alone:] if name == "first"}
        )
        stop.set()
        writer.join()
        group.wait_for(lambda: len(group.done) >= written[0] * len(keys))
    seen = defaultdict(list)
    for _, record in group.done:
        seen[record.key].append(int(record.value))
    assert dict(seen) == {key: list(range(written[0])) for key in keys}


def test_a_position_store_that_fails_is_told_and_costs_no_record(url: str, open_: Open) -> None:
    log = open_(url)
    append(log, "a", "b")

    def broken(_: Sequence[Partition]) -> Position:
        raise LogError("store", "test", "is down")

    with pytest.raises(LogError, match="is down"):
        log.consumer([INFERENCES], "detect", assigned=broken)
    with closing(log.consumer([INFERENCES], "detect")) as consumer:
        assert [record.value for record in consumer.poll(timeout=10)][:1] == [b"a"]


@pytest.fixture
def sasl(scheme: str, kafka_broker: Cluster) -> str:
    return f"{kafka_broker.servers_of('sasl')}/{fresh_prefix()}?security=SASL_PLAINTEXT"


def test_a_user_logs_in_from_the_url(scheme: str, sasl: str, open_: Open) -> None:
    from urllib.parse import quote

    log = open_(f"{scheme}://{USER}:{quote(PASSWORD, safe='')}@{sasl}")
    append(log, "a")
    assert values(log) == ["a"]
    assert PASSWORD not in log.url
    assert quote(PASSWORD, safe="") not in log.url


def test_a_user_logs_in_from_the_settings(scheme: str, sasl: str, open_: Open) -> None:
    log = open_(f"{scheme}://{sasl}", kafka__user=USER, kafka__password=PASSWORD)
    append(log, "a")
    with closing(log.consumer([INFERENCES], "detect")) as consumer:
        assert [record.value for record in consumer.poll(timeout=10)] == [b"a"]


@cannot_connect
def test_a_wrong_password_is_named_and_not_shown(scheme: str, sasl: str, open_: Open) -> None:
    log = open_(f"{scheme}://{USER}:sesame@{sasl}")
    with pytest.raises(LogError, match=r"user .*password") as caught:
        append(log, "a", timeout=8)
    assert "sesame" not in f"{caught.value} {caught.value.value}"


@cannot_connect
def test_an_encrypted_connection_needs_a_certificate_that_is_trusted(
    scheme: str, kafka_broker: Cluster, open_: Open
) -> None:
    url = f"{scheme}://{kafka_broker.servers_of('tls')}/{fresh_prefix()}?security=SSL"
    log = open_(url, kafka__ca_file=str(kafka_broker.certificate))
    append(log, "a")
    assert values(log) == ["a"]
    with pytest.raises(LogError):
        append(open_(url), "b", timeout=3)


def test_a_certificate_that_cannot_be_read_is_named(scheme: str, kafka_broker: Cluster, open_: Open) -> None:
    url = f"{scheme}://{kafka_broker.servers_of('tls')}?security=SSL"
    with pytest.raises(SettingError, match="/no/such/file"):
        open_(url, kafka__ca_file="/no/such/file")


def test_topics_are_made_as_the_settings_say(url: str, open_: Open) -> None:
    log = open_(url, log__keep_hours=5, kafka__message_bytes=2_000_000)
    assert isinstance(log, ClusterLog)
    append(log, "a")
    made = log._admin().settings_of([INFERENCES])[INFERENCES]
    assert len(log.start(INFERENCES)) == 4
    assert made["retention.ms"] == str(5 * 3_600_000)
    assert made["message.timestamp.type"] == "LogAppendTime"
    assert int(made["max.message.bytes"]) >= 2_000_000


def test_a_topic_the_cluster_will_not_make_is_told_with_a_remedy(url: str, open_: Open) -> None:
    with pytest.raises(LogError, match="DAVY_KAFKA_REPLICATION"):
        append(open_(url, kafka__replication=3), "a")


@pytest.mark.parametrize(
    ("made", "state", "told"),
    [
        ({"cleanup.policy": "compact"}, "wrong", "cleanup.policy=delete"),
        ({"max.message.bytes": "1000000"}, "wrong", "max.message.bytes=33619968"),
        ({"retention.ms": "3600000"}, "wrong", "retention.ms=604800000"),
    ],
    ids=["compacted", "small messages", "short retention"],
)
def test_topics_that_somebody_else_made_are_looked_over(
    url: str, open_: Open, made: dict[str, str], state: str, told: str
) -> None:
    log = open_(url)
    assert isinstance(log, ClusterLog)
    good = {"max.message.bytes": "40000000", "retention.ms": "-1", "cleanup.policy": "delete"}
    log._admin().create([INFERENCES], 4, 1, {**good, **made})
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


def test_a_message_that_is_too_large_is_refused_before_anything_is_sent(url: str, open_: Open) -> None:
    log = open_(url, kafka__message_bytes=10_000)
    with pytest.raises(Refused, match="DAVY_KAFKA_MESSAGE_BYTES"):
        append(log, "small", bytes(10_001))
    append(log, "next")
    assert values(log) == ["next"]


def test_a_message_that_the_topic_does_not_take_is_refused(url: str, open_: Open) -> None:
    append(open_(url, kafka__message_bytes=10_000), "a")
    log = open_(url)
    with pytest.raises(Refused, match=r"max\.message\.bytes"):
        append(log, os.urandom(1_000_000))


def test_the_sdk_drops_what_is_refused_and_goes_on(url: str, open_: Open) -> None:
    code = """
import davy, numpy as np
davy.capture("m:1", {"x": np.random.default_rng(1).random(10_000)}, {})
assert davy.flush(30)
davy.capture("m:1", {"y": 1.0}, {})
assert davy.flush(30)
found = davy.stats()
assert found["dropped"] == {"refused": 1}, found
assert found["sent"] == 1, found
"""
    append(open_(url), "first")  # another process, with other settings, made the topic
    env_url = f"{url}&message_bytes=20000"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "DAVY_URL": env_url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_both_client_libraries_put_a_key_into_the_same_partition(kafka_broker: Cluster, open_: Open) -> None:
    prefix = fresh_prefix()
    logs = [open_(f"{scheme}://{kafka_broker.servers}/{prefix}?partitions=16") for scheme in SCHEMES]
    keys = ["", "é", *(f"m:{number}" for number in range(30))]
    for log in logs:
        with closing(log.producer()) as producer:
            producer.append([message("a", key=key) for key in keys])
    found = defaultdict(list)
    for record in read(logs[0]):
        found[record.key].append(record.partition)
    assert {key: len(places) for key, places in found.items()} == dict.fromkeys(keys, 2)
    assert all(len(set(places)) == 1 for places in found.values())


def test_what_somebody_else_wrote_is_read_as_well_as_it_can_be(
    url: str, open_: Open, kafka_broker: Cluster
) -> None:
    log = open_(url)
    append(log, "ours")
    topic = url.rpartition("/")[2].partition("?")[0] + f".{INFERENCES}"
    theirs = confluent_kafka.Producer({"bootstrap.servers": kafka_broker.servers})
    theirs.produce(topic, value=None, key=b"\xff", headers=[("trace", b"\xfe"), ("none", None)], partition=0)
    assert theirs.flush(10) == 0
    with closing(log.consumer([INFERENCES], "detect")) as consumer:
        found: list[Record] = []
        while len(found) < 2:
            found += consumer.poll(timeout=10)
    (theirs_read,) = [record for record in found if record.value != b"ours"]
    assert (theirs_read.value, theirs_read.key) == (b"", "\ufffd")
    assert dict(theirs_read.headers) == {"trace": "\ufffd", "none": ""}


def test_logs_under_two_prefixes_do_not_meet(scheme: str, kafka_broker: Cluster, open_: Open) -> None:
    first, second = (open_(f"{scheme}://{kafka_broker.servers}/{fresh_prefix()}") for _ in range(2))
    append(first, "a")
    append(second, "b", "c")
    assert first.retain(max_bytes=0) == 1
    assert (values(first), values(second)) == ([], ["b", "c"])
