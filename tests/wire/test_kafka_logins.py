"""Brokers that ask who is there, and brokers that show who they are."""

from __future__ import annotations

from contextlib import closing
from urllib.parse import quote

import pytest
from support.kafka_rig import Open, append, values
from support.kafka_server import PASSWORD, USER, Cluster, fresh_prefix, needs_brokers

from davy.errors import LogError, SettingError
from davy.event import INFERENCES

pytestmark = needs_brokers()


@pytest.fixture
def sasl(scheme: str, kafka_broker: Cluster) -> str:
    return f"{kafka_broker.servers_of('sasl')}/{fresh_prefix()}?security=SASL_PLAINTEXT"


def test_a_user_logs_in_from_the_url(scheme: str, sasl: str, open_: Open) -> None:
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


def test_a_wrong_password_is_named_and_not_shown(scheme: str, sasl: str, open_: Open) -> None:
    log = open_(f"{scheme}://{USER}:sesame@{sasl}")
    with pytest.raises(LogError, match=r"user .*password") as caught:
        append(log, "a", timeout=8)
    assert "sesame" not in f"{caught.value} {caught.value.value}"


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
