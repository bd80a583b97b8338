"""The log on real Kafka brokers: what they do, and what they fail to do, reaches nobody but as promised."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import confluent_kafka
import pytest
from support.kafka_rig import LATE_SECONDS, SCHEMES, Open, append, lasting, message, read, values
from support.kafka_server import Cluster, fresh_prefix, needs_brokers
from support.streams import make_runtime

from davy.codec import decode
from davy.config import DetectSettings
from davy.consume import Failures, Outbox
from davy.errors import LogError, Refused
from davy.event import INFERENCES, LABELS, dead_letters
from davy.log import Record
from davy.store import Batch

pytestmark = needs_brokers()


@pytest.mark.alone
def test_an_append_to_brokers_that_never_answer_is_over_in_time(scheme: str, open_: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        log = open_(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}")
        with lasting(1.0), pytest.raises(LogError, match="within reach"):
            append(log, "a", timeout=1.0)


@pytest.mark.alone
def test_an_append_to_brokers_that_are_not_there_is_over_in_time(scheme: str, open_: Open) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        log = open_(f"{scheme}://127.0.0.1:{unused.getsockname()[1]}")
        with lasting(1.0), pytest.raises(LogError, match="within reach"):
            append(log, "a", timeout=1.0)


@pytest.mark.alone
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


@pytest.mark.alone
def test_closing_a_producer_whose_broker_stalls_is_over_in_time(
    url: str, open_: Open, kafka_broker: Cluster
) -> None:
    producer = open_(url).producer()
    producer.append([message("a")])
    with kafka_broker.brokers[0].stalled(), lasting(0.5):
        producer.close(timeout=0.5)


@pytest.mark.alone
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


@pytest.mark.alone
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


@pytest.mark.parametrize("told", [True, False], ids=["by the client", "by the broker"])
def test_a_role_goes_on_when_a_message_of_its_outbox_is_refused(url: str, open_: Open, told: bool) -> None:
    append(
        open_(url, kafka__message_bytes=10_000), "a", "b", topic=LABELS
    )  # makes the topics, with this limit
    log = open_(url, kafka__message_bytes=10_000) if told else open_(url)
    runtime = replace(make_runtime("memory", Path(), DetectSettings()), log=log)
    lease = runtime.store.acquire("example", "somebody", seconds=60)
    assert lease is not None
    large = os.urandom(100_000)
    messages = [message(value, LABELS) for value in ("c", large, "d", "e")]
    with closing(log.producer()) as producer:
        Outbox(runtime.store, producer, "example", Failures(runtime, "example")).finish(
            Batch(), messages, lease
        )
    assert set(values(log, LABELS)) == {"a", "b", "c", "d", "e"}
    (letter,) = read(log, dead_letters(LABELS))
    assert (letter.headers["davy.error"], letter.headers["davy.topic"]) == ("Refused", LABELS)
    assert letter.value == (b"" if told else large)
    runtime.store.close()


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
