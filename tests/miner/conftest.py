"""A fake Label Studio, and candidates around it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.fake_labelstudio import FakeLabelStudio
from support.labelstudio_world import World


@pytest.fixture
def fake() -> Iterator[FakeLabelStudio]:
    with FakeLabelStudio() as server:
        yield server


@pytest.fixture
def world(fake: FakeLabelStudio) -> Iterator[World]:
    with World(fake) as made:
        yield made
