"""What the tests on real brokers share: an address of their own, by each client library, and logs that get closed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest
from support.kafka_rig import SCHEMES, Open, settings
from support.kafka_server import Cluster, fresh_prefix

from davy.log import open_log


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
