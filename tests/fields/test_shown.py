"""Every kind of value of the table is shown by `davy show`, to a person and to a program."""

from __future__ import annotations

import json
import math
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import davy
from davy.cli import run_app
from davy.codec import decode
from davy.event import INFERENCES, Inference
from davy.fields import is_missing, plain
from davy.log import open_log

from .catalogue import KINDS
from .kinds import Kind
from .sources import STEADY, Sample

pytestmark = pytest.mark.fast
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_ROWS = 4


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A deployment of which an app sends."""
    found = f"sqlite:///{tmp_path_factory.mktemp('shown')}/davy"
    davy.init(found)
    yield found
    davy.shutdown()


def sent(kind: Kind, url: str) -> tuple[list[Any], list[Inference]]:
    """Capture some values of a kind; return them and what the log has of them."""
    sample, model = Sample.draw(kind, 3, _ROWS), f"m:{uuid.uuid4().hex}"
    for value, steady in zip(sample.values, sample.steady, strict=True):
        davy.capture(model, *sample.sections(value, steady))
    assert davy.flush(timeout=30)
    log = open_log(url)
    found = [decode(record.value) for record in log.read(INFERENCES, 0, 0) if record.key == model]
    log.close()
    return list(sample.values), [each.inference(row) for each in found for row in range(each.count)]


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, id=f"{kind.group}: {kind.name}") for kind in KINDS if kind.here]
)
def test_every_kind_of_value_is_shown(
    kind: Kind, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAVY_URL", url)
    values, kept = sent(kind, url)
    assert len(kept) == len(values)
    section, _, name = kind.field.partition(".")
    for value, inference in zip(values, kept, strict=True):
        assert run_app(["show", inference.id.hex(), "--json"]) == 0
        found = json.loads(
            capsys.readouterr().out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON")
        )
        assert set(found["inputs"]) == set(inference.inputs)
        assert set(found["outputs"]) == set(inference.outputs)
        travels = plain(value)
        if isinstance(travels, (bool, int, float, str)) and name in found[section]:
            shown = found[section][name]
            if is_missing(travels):
                assert shown in {None, "NaN"}
            elif isinstance(travels, float):
                assert math.isclose(float(shown), travels, rel_tol=1e-6)
            else:
                assert shown == travels
        elif isinstance(travels, np.ndarray) and isinstance(found[section].get(name), dict):
            assert found[section][name]["shape"] == list(travels.shape)
        assert run_app(["show", inference.id.hex()]) == 0
        said = capsys.readouterr().out
        assert not CONTROL.search(said)
        for shown in {*inference.inputs, *inference.outputs} - {STEADY}:
            assert shown in said
