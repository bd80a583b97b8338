"""From a URL and the settings to a cluster: where it is, who asks, what its topics and groups are called."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from davy._urls import without_password
from davy.config import KafkaSettings, Settings, amend
from davy.errors import SettingError

_PREFIX: Final = re.compile(r"[A-Za-z0-9._-]{0,200}")
_SERVER: Final = re.compile(r"(?P<host>[^:\[\]]+|\[[^\]]+\])(:(?P<port>\d{1,5}))?")
_FORM: Final = "use kafka://host1:9092,host2:9092/prefix"
_PASSWORDS: Final = {"password", "key_password"}


@dataclass(frozen=True, slots=True)
class KafkaAddress:
    """A cluster as Davy uses it.

    `settings` are those of the section ``kafka`` with what the URL says put in; `keep_ms` is how long topics keep
    records, in milliseconds; `shown` is the URL without its password.
    """

    shown: str
    servers: tuple[str, ...]
    prefix: str
    settings: KafkaSettings
    keep_ms: int

    @classmethod
    def parse(cls, url: str, settings: Settings) -> KafkaAddress:
        """Read ``kafka://user:password@host1:9092,host2:9092/prefix?name=value``; all but one host may be left out.

        The query takes every setting of the section ``kafka`` but the passwords.

        Raises
        ------
        SettingError
            Says which part is wrong.

        Examples
        --------
        >>> address = KafkaAddress.parse("kafka://one,two:9093/team?partitions=3", Settings())
        >>> address.servers, address.topic("davy.flags"), address.settings.partitions
        (('one:9092', 'two:9093'), 'team.davy.flags', 3)
        """
        # Not `urlsplit`: from Python 3.14 on it takes a list of hosts with an IPv6 address among them for one host.
        scheme, _, rest = url.partition("#")[0].partition("://")
        rest, _, asked = rest.partition("?")
        at, _, path = rest.partition("/")
        login, _, hosts = at.rpartition("@")
        prefix = path.strip("/")
        if not _PREFIX.fullmatch(prefix):
            raise SettingError("url", url, "the prefix of topics takes letters, digits, '.', '_' and '-'")
        query: dict[str, Any] = dict(parse_qsl(asked, keep_blank_values=True))
        if query.keys() & _PASSWORDS:
            remedy = (
                "its query is no place for a password: use DAVY_KAFKA_PASSWORD or DAVY_KAFKA_KEY_PASSWORD"
            )
            raise SettingError("url", f"{scheme}://{hosts}", remedy)
        if login:
            user, _, password = login.partition(":")
            query |= {"user": unquote(user)} | ({"password": unquote(password)} if password else {})
        return cls(
            shown=without_password(url),
            servers=tuple(_server(host, url) for host in hosts.split(",")),
            prefix=f"{prefix}." if prefix else "",
            settings=_checked(amend(settings.kafka, query, "kafka")),
            keep_ms=max(1, round(settings.log.keep_hours * 3_600_000)),
        )

    def topic(self, name: str) -> str:
        """Return what the cluster calls a topic of Davy's."""
        return self.prefix + name

    def plain(self, topic: str) -> str:
        """Return what Davy calls a topic of the cluster's."""
        return topic.removeprefix(self.prefix)

    def owns(self, topic: str) -> bool:
        """Whether a topic of the cluster is Davy's, under this prefix."""
        return topic.startswith(f"{self.prefix}davy.")

    def group(self, name: str) -> str:
        """Return what the cluster calls a group of Davy's."""
        return f"{self.prefix}davy.{name}"

    @property
    def security(self) -> str:
        """How brokers are spoken to; a password is not sent in the clear unless the settings say so."""
        return self.settings.security or ("SASL_SSL" if self.settings.user else "PLAINTEXT")


def _server(text: str, url: str) -> str:
    found = _SERVER.fullmatch(text)
    if found is None or int(found["port"] or 0) > 65535:
        raise SettingError("url", url, _FORM)
    return f"{found['host']}:{found['port'] or 9092}"


def _checked(settings: KafkaSettings) -> KafkaSettings:
    for name in ("ca_file", "cert_file", "key_file"):
        file = getattr(settings, name)
        if file and not os.access(file, os.R_OK):
            raise SettingError(f"kafka.{name}", file, "cannot be read")
    if settings.security.startswith("SASL") and not (settings.user and settings.password):
        remedy = "needs DAVY_KAFKA_USER and DAVY_KAFKA_PASSWORD"
        raise SettingError("kafka.security", settings.security, remedy)
    if settings.user and settings.security in {"PLAINTEXT", "SSL"}:
        raise SettingError(
            "kafka.security", settings.security, "logs nobody in: use SASL_SSL, or drop the user"
        )
    if settings.user and not settings.password:
        raise SettingError("kafka.password", "", f"is missing for the user {settings.user}")
    return settings
