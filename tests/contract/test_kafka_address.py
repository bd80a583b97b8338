"""Addresses of Kafka: what they may say, what is wrong with one, and that no password is shown."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from davy._urls import without_password
from davy.config import Settings, describe, load
from davy.errors import DavyError, SettingError
from davy.log import open_log
from davy.log._kafka.address import KafkaAddress
from davy.runner import beside_the_log
from davy.sdk.sink import prepare

pytestmark = pytest.mark.fast


def parse(url: str, **overrides: object) -> KafkaAddress:
    return KafkaAddress.parse(
        url, load(env={}, overrides={f"kafka.{name}": value for name, value in overrides.items()})
    )


def test_a_url_names_brokers_prefix_user_and_settings() -> None:
    found = parse("kafka://me:s%40cret@one,two:9093,[::1]:9094/team.a?mechanism=SCRAM-SHA-256&partitions=3")
    assert found.servers == ("one:9092", "two:9093", "[::1]:9094")
    assert (found.settings.user, found.settings.password) == ("me", "s@cret")
    assert (found.settings.mechanism, found.settings.partitions) == ("SCRAM-SHA-256", 3)
    assert (found.topic("davy.flags"), found.plain("team.a.davy.flags")) == (
        "team.a.davy.flags",
        "davy.flags",
    )
    assert found.group("detect") == "team.a.davy.detect"
    assert (found.owns("team.a.davy.flags"), found.owns("davy.flags"), found.owns("team.a.b")) == (
        True,
        False,
        False,
    )


def test_a_url_without_a_prefix_has_topics_of_davys_names() -> None:
    found = parse("kafka://one")
    assert (found.topic("davy.flags"), found.group("mine")) == ("davy.flags", "davy.mine")


def test_the_url_wins_over_the_settings() -> None:
    assert parse("kafka://you:b@one", user="me", password="a").settings.user == "you"
    assert parse("kafka://you@one", user="me", password="a").settings.password == "a"


@pytest.mark.parametrize(
    ("url", "security"),
    [
        ("kafka://one", "PLAINTEXT"),
        ("kafka://me:a@one", "SASL_SSL"),
        ("kafka://me:a@one?security=SASL_PLAINTEXT", "SASL_PLAINTEXT"),
        ("kafka://one?security=SSL", "SSL"),
    ],
)
def test_a_password_goes_over_an_encrypted_connection_unless_the_settings_say_otherwise(
    url: str, security: str
) -> None:
    assert parse(url).security == security


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("kafka://", "use kafka://host1:9092"),
        ("kafka://one,,two", "use kafka://host1:9092"),
        ("kafka://one:99999", "use kafka://host1:9092"),
        ("kafka://one/a/b", "prefix"),
        ("kafka://one?speed=high", "no such setting"),
        ("kafka://one?partitions=many", "whole number"),
        ("kafka://one?partitions=0", "at least 1"),
        ("kafka://one?security=tls", "must be one of"),
        ("kafka://one?compression=best", "must be one of"),
        ("kafka://me:a@one?mechanism=GSSAPI", "must be one of"),
        ("kafka://one?security=SASL_SSL", "DAVY_KAFKA_USER"),
        ("kafka://me@one", "missing for the user"),
        ("kafka://me:a@one?security=SSL", "logs nobody in"),
        ("kafka://one?password=a", "no place for a password"),
        ("kafka://one?security=SSL&ca_file=/no/such/file", "cannot be read"),
    ],
)
@pytest.mark.parametrize("scheme", ["kafka", "kafka+librdkafka"])
def test_a_wrong_address_is_told_with_a_remedy_before_anything_is_connected(
    scheme: str, url: str, remedy: str
) -> None:
    with pytest.raises(SettingError, match=remedy):
        open_log(url.replace("kafka", scheme, 1))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("kafka://me:secret@one:1,two:2/x?y=z", "kafka://me@one:1,two:2/x?y=z"),
        ("kafka://me:se:cr@et@one", "kafka://me@one"),
        ("redis://:secret@one/0", "redis://one/0"),
        ("no answer from http://a:b@c/d and s3://k:s@b", "no answer from http://a@c/d and s3://k@b"),
        ("sqlite:///a:b/c@d", "sqlite:///a:b/c@d"),
        ("kafka://one:9092/x", "kafka://one:9092/x"),
        ("http://host:80/a?b=c@d", "http://host:80/a?b=c@d"),
    ],
)
def test_urls_are_shown_without_their_passwords(text: str, shown: str) -> None:
    assert without_password(text) == shown


def test_errors_and_settings_show_no_password() -> None:
    url = "kafka://me:hunter2@one"
    error = DavyError("url", url, "is wrong")
    assert "hunter2" not in f"{error} {error.value}"
    listed = describe(replace(Settings(), url=url, store_url="redis://:hunter2@one"))
    assert "hunter2" not in "".join(str(one.shown) for one in listed)
    assert "hunter2" not in open_log(url).url


@pytest.mark.parametrize("missing", ["store_url", "blob_url"])
def test_a_log_on_kafka_needs_a_store_and_a_place_for_payloads(missing: str) -> None:
    given = {"url": "kafka://one", "store_url": "sqlite:///s", "blob_url": "file:///b"}
    whole = Settings(**given)
    assert beside_the_log(whole) == whole
    with pytest.raises(SettingError, match=f"DAVY_{missing.upper()}"):
        beside_the_log(replace(whole, **{missing: ""}))


@pytest.mark.parametrize(
    ("scheme", "library", "extra"),
    [("kafka", "kafka", "cluster"), ("kafka+librdkafka", "confluent_kafka", "librdkafka")],
)
def test_a_client_library_that_is_not_installed_is_named_with_its_extra(
    scheme: str, library: str, extra: str
) -> None:
    program = f"""
import sys
sys.modules["{library}"] = None
from davy.config import Settings
from davy.errors import SettingError
from davy.log import open_log
from davy.sdk.sink import prepare
for opening in (lambda: open_log("{scheme}://one"), lambda: prepare(Settings(url="{scheme}://one"))):
    try:
        opening()
    except SettingError as error:
        assert "{library}" in error.remedy and "davy[{extra}]" in error.remedy, error
    else:
        raise AssertionError
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)


def test_the_sdk_imports_a_client_library_only_for_its_url(tmp_path: Path) -> None:
    program = """
import sys
import davy
davy.init("memory://x")
assert not {"kafka", "confluent_kafka"} & sys.modules.keys()
davy.init("kafka://localhost:1")
assert "kafka" in sys.modules
assert "confluent_kafka" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60, cwd=tmp_path)


def test_the_sdk_refuses_a_wrong_address_when_it_starts_and_connects_to_nothing() -> None:
    with pytest.raises(SettingError, match="prefix"):
        prepare(Settings(url="kafka://one/a/b"))
    prepare(Settings(url="kafka://no.such.host/x"))()


def test_client_libraries_are_quiet_unless_somebody_set_their_level() -> None:
    for scheme in ("kafka", "kafka+librdkafka"):
        open_log(f"{scheme}://one")
    assert not logging.getLogger("kafka.net.manager").isEnabledFor(logging.ERROR)
    assert not logging.getLogger("davy.log.librdkafka").isEnabledFor(logging.ERROR)
