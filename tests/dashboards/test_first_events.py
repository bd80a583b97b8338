"""Every counter of a model is zero from the first sight of it, so that its first event is a step."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from support import mining
from support.streams import MODEL, detect, envelopes, give_reference, make_runtime, rows, send

from davy.config import DetectSettings
from davy.fields.losses import INCOMPLETE
from davy.meter import Meter
from davy.metrics import CATALOGUE, DROP_REASONS, INCOMPLETE_REASONS, LABELS
from davy_miner.decision import Verdict

pytestmark = pytest.mark.fast
ROOT = Path(__file__).parents[2]
BY_EVENT = {"davy_fields_left_out_total"}
"""Its fields are known by their first event only."""
GATEWAY = {"davy_gateway_inferences_total", "davy_gateway_repeated_inferences_total"}
MINER = {"davy_unlabellable_total", "davy_duplicates_total", "davy_label_tasks_total", "davy_labels_total"}
OF_MODELS = {one.name: one for one in CATALOGUE if one.kind == "counter" and "model" in one.labels}


def shown(meter: Meter) -> dict[str, set[str]]:
    """Return the values of the last label of every counter of a model, its own name where there is no other."""
    found: dict[str, set[str]] = {}
    for name, text in re.findall(r"^(\w+_total)\{(.+)\} \S+$", meter.exposition().decode(), re.MULTILINE):
        if name in OF_MODELS:
            labels = dict(re.findall(r'(\w+)="([^"]*)"', text))
            found.setdefault(name, set()).add(labels[OF_MODELS[name].labels[-1]])
    return found


def known(name: str, model: str) -> set[str]:
    """Return what `shown` must hold of a counter from the first sight of a model on."""
    return set(OF_MODELS[name].known or (model,))


def test_detection_shows_all_it_counts_of_a_model_with_its_first_inference(tmp_path: Path) -> None:
    runtime = make_runtime("memory", tmp_path, DetectSettings())
    give_reference(runtime)
    send(runtime, list(envelopes(rows(1, 1), [1])))
    detect(runtime)
    found = shown(runtime.meter)
    for name in OF_MODELS.keys() - BY_EVENT - GATEWAY - MINER:
        assert found[name] >= known(name, MODEL), name
    assert "score:msp" in found["davy_flags_total"]


def test_and_with_a_reference_before_the_first_one(tmp_path: Path) -> None:
    runtime = make_runtime("memory", tmp_path, DetectSettings())
    give_reference(runtime)
    detect(runtime)
    assert 'davy_inferences_total{model="risk:1"} 0.0' in runtime.meter.exposition().decode()
    assert 'davy_model_state{model="risk:1",state="blind"} 1.0' in runtime.meter.exposition().decode()


def test_the_miner_does_with_the_first_flag() -> None:
    runtime = mining.make_runtime()
    mining.send(runtime, mining.make_flag(1, control=0.02))
    mining.run(runtime)
    found = shown(runtime.meter)
    for name in MINER:
        assert found[name] == known(name, mining.MODEL)


def test_known_reasons_are_those_of_the_code() -> None:
    assert tuple(sorted(INCOMPLETE)) == INCOMPLETE_REASONS
    assert set(LABELS.known) == set(get_args(Verdict)) - {"disputed"}  # which no single label is
    table = (ROOT / "docs" / "sdk.md").read_text(encoding="utf-8")
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "collector/davy/sdk").glob("*.py"))
    for reason in DROP_REASONS:
        assert f"`{reason}`" in table, reason
        assert f'"{reason}"' in code, reason
