"""The log on Kafka by confluent-kafka, that is librdkafka: faster, and more to install."""

from __future__ import annotations

from davy.config import Settings
from davy.log._kafka.library import Library
from davy.log._kafka.log import ClusterLog
from davy.log._librdkafka.admin import Admin
from davy.log._librdkafka.reading import Member, Reader
from davy.log._librdkafka.sender import Sender


class LibrdkafkaLog(ClusterLog):
    """A log on a Kafka cluster, ``kafka+librdkafka://host1:9092,host2:9092/prefix``; see docs/kafka.md.

    Parameters
    ----------
    url
        Where the cluster is. Its query may hold settings of the section ``kafka``.
    settings
        The sections ``kafka`` and ``log``; the defaults when left out.

    Raises
    ------
    SettingError
        The URL or a setting of the section ``kafka`` is wrong.

    Examples
    --------
    >>> LibrdkafkaLog("kafka+librdkafka://davy:secret@broker/team").url
    'kafka+librdkafka://davy@broker/team'
    """

    def __init__(self, url: str, settings: Settings | None = None) -> None:
        super().__init__(Library(Admin, Sender, Member, Reader), url, settings)
