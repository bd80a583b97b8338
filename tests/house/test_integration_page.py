"""The table of docs/integrations.md is what the tests of the integrations found."""

from __future__ import annotations

import pytest
from support.integration_page import PAGE, filled

pytestmark = pytest.mark.fast


def test_the_table_of_ways_in_is_what_the_tests_found() -> None:
    page = PAGE.read_text()
    assert filled(page) == page, "run make generate"
