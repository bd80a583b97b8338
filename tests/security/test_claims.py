"""Every claim of the threat model is proved by tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.fast
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
CLAIMS = [line for line in PAGE.splitlines() if line.startswith("| ") and "`tests/" in line]


def test_the_page_makes_claims() -> None:
    assert len(CLAIMS) > 15


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda line: line.split("|")[1].strip()[:60])
def test_a_claim_names_tests_that_exist(claim: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", claim)
    assert named
    for file, test in named:
        text = (ROOT / file).read_text(encoding="utf-8")
        assert not test or re.search(rf"def {test}\(", text), f"{file} has no {test}"
