"""A key that ends under traffic loses nothing: what was captured is stored or counted, nothing is refused for good."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "name",
    [
        "rotated, the old one ends before the app has the new, without the spool",
        "revoked, the app started anew meanwhile, with the spool",
    ],
)
def test_nothing_is_lost_while_an_app_has_no_good_key(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import keys

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(keys, "EXPIRES_AFTER", 0.5)
    found = keys.measure(keys.CASES[name], seconds=6, change_at=1, file_at=4)
    assert found["captured"] == found["stored"] >= 1_000
    assert (found["dropped_and_counted"], found["refused_for_good"]) == (0, 0)
    assert found["waited_at_most"] > 100  # the key did end meanwhile
