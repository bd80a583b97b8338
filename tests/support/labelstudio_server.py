"""The real Label Studio, started once for all tests that need it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from davy_miner.labelstudio import LocalLabelStudio
from support.services import service_or_skip

_ENVIRONMENT = Path(__file__).parents[2] / ".labelstudio"


def needs_label_studio() -> Any:
    """Return the marks of a module whose tests use the fixture `labelstudio`."""
    present = LocalLabelStudio(_ENVIRONMENT).installed
    # The first start of all makes the empty database: half a minute and more.
    return [
        *service_or_skip("labelstudio", present, "make .labelstudio/.installed"),
        pytest.mark.timeout(300),
    ]


@pytest.fixture(scope="session")
def labelstudio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalLabelStudio]:
    """A Label Studio with an empty database and a user of its own."""
    with LocalLabelStudio(_ENVIRONMENT) as server:
        server.start(tmp_path_factory.mktemp("labelstudio"))
        yield server
