"""The log on Kafka by kafka-python: nothing to compile, and the least to install in a serving app."""

from __future__ import annotations

from davy.config import Settings
from davy.log._kafka.library import Library
from davy.log._kafka.log import ClusterLog
from davy.log._kafka_python.admin import Admin
from davy.log._kafka_python.reading import Member, Reader
from davy.log._kafka_python.sender import Sender


class KafkaLog(ClusterLog):
    """A log on a Kafka cluster, ``kafka://host1:9092,host2:9092/prefix``; see docs/kafka.md.

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
    >>> KafkaLog("kafka://davy:secret@broker/team").url
    'kafka://davy@broker/team'
    """

    def __init__(self, url: str, settings: Settings | None = None) -> None:
        super().__init__(Library(Admin, Sender, Member, Reader), url, settings)
