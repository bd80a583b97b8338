"""Every way in of this group is captured, watched and named as docs/integrations.md says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.integration_rows import ROWS, Row, become_of, require_same

sys.path.insert(0, str(Path(__file__).parent))

import rows_media  # noqa: F401 - registers its rows
import rows_modules  # noqa: F401
import rows_transformers  # noqa: F401


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_way_in_is_captured_watched_and_named_as_the_page_says(row: Row, own_client: str) -> None:
    found, alarmed = become_of(row, own_client)
    require_same(found, row)
    assert any(name.startswith(row.named) for name in alarmed), alarmed
