"""How an integration is found, and what happens when it fails."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest
from support.sdk_rig import inferences_in

import davy
from davy.sdk.integrations import TABLE

pytestmark = pytest.mark.fast


class Net:
    def __call__(self, x: float) -> float:
        return 2 * x


def test_watching_imports_no_framework_and_no_integration() -> None:
    code = """
import sys, davy
davy.watch(type("Model", (), {"predict": lambda self, x: x})(), "m:1").predict(1)
from davy.sdk.integrations import TABLE
loaded = [name for row in TABLE for name in row if name in sys.modules]
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)


def test_integrations_import_without_their_frameworks() -> None:
    code = """
import importlib, sys
from davy.sdk.integrations import TABLE
for _, integration in TABLE:
    importlib.import_module(integration)
loaded = [name for name, _ in TABLE if name in sys.modules]
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)


@pytest.mark.swallows
# Models of these two are known by the name of their class, which asks nothing of the package.
@pytest.mark.parametrize("framework", sorted({name for name, _ in TABLE} - {"mmdet", "ultralytics"}))
def test_a_framework_of_another_shape_costs_nothing_but_a_count(
    framework: str, monkeypatch: pytest.MonkeyPatch, own_client: str
) -> None:
    monkeypatch.setitem(sys.modules, framework, ModuleType(framework))
    watched = davy.watch(Net(), "m:1")
    assert watched(2.0) == 4.0
    assert davy.stats()["integration_failed"] == 1
    davy.flush()
    assert [one.outputs["value"] for one in inferences_in(own_client)] == [4.0]


def test_an_option_that_means_nothing_here_is_counted() -> None:
    assert davy.watch(Net(), "m:1", embedding="fc1")(1.0) == 2.0
    assert davy.stats()["integration_failed"] == 1


def test_an_answer_can_be_named(own_client: str) -> None:
    davy.watch(lambda x: [x, -x], "m:1", output="logits")(1.0)
    davy.flush()
    assert [list(one.outputs) for one in inferences_in(own_client)] == [["logits"]]
