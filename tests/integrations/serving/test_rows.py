"""Every way in of this group is captured, watched and named as docs/integrations.md says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.integration_rows import ROWS, Row, become_of, require_same

sys.path.insert(0, str(Path(__file__).parent))

import rows_serving  # noqa: F401 - registers its rows


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_way_in_is_captured_watched_and_named_as_the_page_says(
    row: Row, own_client: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del own_client  # which is this process's alone
    url = f"sqlite:///{tmp_path / 'log'}"
    monkeypatch.setenv("DAVY_URL", url)
    found, alarmed = become_of(row, url)
    require_same(found, row)
    assert any(name.startswith(row.named) for name in alarmed), alarmed
