"""What every test shares: the real services, started when a test asks for them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings
from support.prometheus_server import PrometheusServer

from davy.logs import Sparing

pytest_plugins = [
    "support.kafka_server",
    "support.labelstudio_server",
    "support.parallel",
    "support.redis_server",
    "support.s3_server",
]
# How long an example takes is the machine's matter. In CI the examples are the same every time; people look for others.
settings.register_profile("davy", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("davy")
RULES = Path(__file__).parents[1] / "dashboards" / "alerts" / "davy.yml"


@pytest.fixture
def prometheus_for(tmp_path: Path) -> Iterator[Callable[[list[str]], PrometheusServer]]:
    """Start a real Prometheus with Davy's rules that scrapes the targets it is given."""
    with ExitStack() as stack:
        yield lambda targets: stack.enter_context(PrometheusServer(targets, [RULES], tmp_path))


@pytest.fixture
def spared(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Capture what a role's process writes of what is logged: repeats are spared."""
    sparing = Sparing()
    caplog.handler.addFilter(sparing)
    yield caplog
    caplog.handler.removeFilter(sparing)


@pytest.fixture(autouse=True)
def the_log_is_left_open() -> Iterator[None]:
    """Fail a test after which Davy's warnings reach nobody, rather than a later one that waits for one of them."""
    yield
    logger = logging.getLogger("davy")
    if not (logger.propagate and logger.isEnabledFor(logging.WARNING)):
        found = (
            f"propagates {logger.propagate}, disabled {logger.disabled}, level {logger.level}, "
            f"below {logger.manager.disable} disabled"
        )
        logger.propagate, logger.disabled = True, False
        logger.setLevel(logging.NOTSET)
        logging.disable(logging.NOTSET)
        pytest.fail(f"the logger of Davy was left shut: {found}")
