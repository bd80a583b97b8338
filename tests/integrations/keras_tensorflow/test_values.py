"""Values of tensorflow are what docs/fields.md says."""

from __future__ import annotations

import pytest
from fields.kinds import Kind
from support.integration_values import kinds_of, require_kept


@pytest.mark.parametrize("kind", kinds_of("tensorflow"))
def test_values_are_kept_as_the_page_says(kind: Kind) -> None:
    require_kept(kind)
