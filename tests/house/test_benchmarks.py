"""The benchmarks count like what they measure, and their page says what they found."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.fast


@pytest.fixture(autouse=True)
def _benchmarks_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.mark.parametrize("block", [1, 1000])
def test_peers_bin_every_value_of_every_row(block: int) -> None:
    script = runpy.run_path(str(ROOT / "benchmarks" / "scale" / "streams.py"))
    values = np.random.default_rng(3).standard_normal((2500, 4))
    edges = np.quantile(values, [0.1, 0.5, 0.9], axis=0).T
    histograms = script["Histograms"](edges, len(values), block)
    more = [histograms.add(dict(enumerate(row))) for row in values.tolist()]
    assert more == [True] * 2499 + [False]
    assert histograms.counts.tolist() == [[250, 1000, 1000, 250]] * 4


def test_what_redis_did_is_the_difference_of_what_it_told() -> None:
    from benchmarks.scale.redis_cost import Work

    done = Work(30, 80, 5000, 700).since(Work(10, 20, 1000, 200))
    assert done.per_thousand(2000) == {
        "requests": 10.0, "commands_inside_scripts": 30.0, "bytes_to_redis": 2000, "bytes_from_redis": 250,
    }  # fmt: skip


def test_a_renamed_reference_is_that_of_the_other_model() -> None:
    from benchmarks.scale.traffic import reference, renamed

    from davy_detectors.reference import Reference

    fitted = reference(3, probabilities=False)
    other = Reference.from_bytes(renamed(fitted.to_bytes(), "bench:2"))
    assert (other.model, other.streams) == ("bench:2", fitted.streams)


def test_the_page_has_the_recorded_figures_of_scale() -> None:
    from benchmarks.page import PAGE, RESULTS
    from benchmarks.scale.page import body

    figures = json.loads((RESULTS / "scale.json").read_text(encoding="utf-8"))["figures"]
    assert body(figures) in PAGE.read_text(encoding="utf-8")
