"""A log of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.kafka_server import KAFKA, fresh_prefix
from support.logs import Remembering

from davy.log import Log

ADAPTERS = [
    pytest.param("memory", marks=pytest.mark.fast),
    pytest.param("sqlite", marks=pytest.mark.fast),
    pytest.param("kafka", marks=KAFKA.marks()),
    pytest.param("kafka+librdkafka", marks=KAFKA.marks()),
]


@pytest.fixture(params=ADAPTERS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "memory":
        return f"memory://{tmp_path}"
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/log"
    servers = request.getfixturevalue("kafka_servers")
    return f"{request.param}://{servers}/{fresh_prefix()}?partitions=3"


@pytest.fixture
def log(url: str) -> Iterator[Log]:
    log = Remembering(url)
    yield log  # type: ignore[misc]
    log.close_all()
