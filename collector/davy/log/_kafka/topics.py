"""The topics Davy needs: made when they are missing, and looked over when somebody else made them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from davy.errors import LogError
from davy.event import TOPICS
from davy.log._kafka.address import KafkaAddress
from davy.log._kafka.library import Admin, Topic, left

_ROOM: Final = 64 * 1024
"""What Kafka puts around the bytes of a message at most, as far as we make them."""
_LOOK_AGAIN_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Finding:
    """What is to be said about a topic; `remedy` is empty when all is well."""

    topic: str
    state: Literal["ok", "warning", "wrong"]
    found: str
    remedy: str = ""


def largest_record(address: KafkaAddress) -> int:
    """Return the bytes of the largest record with everything around it."""
    return address.settings.message_bytes + _ROOM


def ensure(admin: Admin, address: KafkaAddress, names: Sequence[str], deadline: float) -> None:
    """Make the topics that are missing, and wait until brokers know them.

    The broker's clock stamps the records: one clock for all, so that age means the same to everybody.

    Raises
    ------
    LogError
        The cluster refuses, or took longer than `deadline`.
    """
    missing = set(names) - admin.topics(names).keys()
    if not missing:
        return
    settings = {
        "cleanup.policy": "delete",
        "max.message.bytes": str(largest_record(address)),
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": str(address.keep_ms),
    }
    if address.settings.replication >= 3:
        settings["min.insync.replicas"] = "2"
    admin.create(sorted(missing), address.settings.partitions, address.settings.replication or -1, settings)
    while missing := missing - admin.topics(sorted(missing)).keys():
        if not left(deadline):
            raise LogError("topic", min(missing), "was made, but the brokers do not know it yet; try again")
        time.sleep(_LOOK_AGAIN_SECONDS)


def look_over(admin: Admin, address: KafkaAddress) -> Iterator[Finding]:
    """Say what is wrong with the topics, and which are still to be made."""
    found = admin.topics()
    settings = admin.settings_of(sorted(found))
    brokers = admin.brokers()
    for name in sorted({*TOPICS, *found}):
        if name not in found:
            text = f"not there yet; will be made with {address.settings.partitions} partitions"
            yield Finding(name, "ok", text)
            continue
        faults = list(_faults(found[name], settings[name], address, brokers))
        yield from (Finding(name, *fault) for fault in faults)
        if not faults:
            yield Finding(
                name, "ok", f"{found[name].partitions} partitions, {found[name].replication} copies"
            )


_Fault = tuple[Literal["warning", "wrong"], str, str]


def _faults(
    topic: Topic, settings: Mapping[str, str], address: KafkaAddress, brokers: int
) -> Iterator[_Fault]:
    largest, limit = largest_record(address), int(settings["max.message.bytes"])
    keep, wanted = int(settings["retention.ms"]), address.settings.partitions
    alter = "kafka-configs.sh --alter --entity-type topics --add-config"
    if "compact" in settings["cleanup.policy"]:
        remedy = f"compaction keeps one record a model: {alter} cleanup.policy=delete"
        yield "wrong", f"cleanup.policy={settings['cleanup.policy']}", remedy
    if limit < largest:
        remedy = f"{alter} max.message.bytes={largest}, or lower DAVY_KAFKA_MESSAGE_BYTES"
        yield "wrong", f"takes messages up to {limit:,} bytes, DAVY_KAFKA_MESSAGE_BYTES allows more", remedy
    if 0 <= keep < address.keep_ms:
        found = f"brokers delete after {keep / 3_600_000:g} h, before DAVY_LOG_KEEP_HOURS"
        yield "wrong", found, f"{alter} retention.ms={address.keep_ms}"
    if (most := int(settings["retention.bytes"])) >= 0:
        found = f"brokers delete beyond {most:,} bytes a partition, whatever DAVY_LOG_KEEP_HOURS says"
        yield "warning", found, f"{alter} retention.bytes=-1: DAVY_LOG_KEEP_BYTES bounds the log"
    if topic.partitions < wanted:
        remedy = (
            f"kafka-topics.sh --alter --partitions {wanted}, at a quiet time: keys move to other partitions"
        )
        yield "warning", f"{topic.partitions} partitions, DAVY_KAFKA_PARTITIONS says {wanted}", remedy
    if topic.replication == 1 and brokers > 1:
        remedy = "a broker lost is data lost: kafka-reassign-partitions.sh, and set DAVY_KAFKA_REPLICATION=3"
        yield "warning", "one copy", remedy
    if topic.replication > 2 and int(settings["min.insync.replicas"]) < 2:
        remedy = f"one broker's word is enough for an append: {alter} min.insync.replicas=2"
        yield "warning", f"{topic.replication} copies, min.insync.replicas=1", remedy
