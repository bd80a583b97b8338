"""A deployment grows old: nothing that has a bound grows after its third month."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FIGURES = ("memory_mb", "store_kb", "log_kb", "scrape_kb", "models_shown", "incidents_kept")
SLACK = 1.25
"""What later months may have beyond the largest of the first ones: incidents come and go by chance."""


@pytest.fixture
def year(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.age import Life, live

    return list(live(Life(models=3, inferences=30, junk=30, bound=40), tmp_path))


@pytest.mark.timeout(900)
def test_nothing_that_has_a_bound_grows_after_the_third_month(year: list[dict[str, Any]]) -> None:
    from benchmarks.age import KEPT, SETTLED

    for name in FIGURES:
        settled = max(month[name] for month in year[:SETTLED])
        assert max(month[name] for month in year[SETTLED:]) <= SLACK * settled, name
    for collection in year[-1]["store_by_collection"].keys() - KEPT:
        sizes = [month["store_by_collection"].get(collection, 0) for month in year]
        early, late = max(sizes[:SETTLED]), max(sizes[-3:])
        assert late <= 2 * early + 8192, collection
    kept = [month["kept_for_good_kb"] for month in year]
    assert kept == sorted(kept), "what people answered stays"
    assert year[-1]["incidents_kept"] > 0
