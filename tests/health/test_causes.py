"""A cause is told once, by a name that deploy.md explains, however much fails because of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NoReturn

import pytest
from support.gateway_rig import LocalClient, opened

from davy.errors import LogError, StoreError
from davy.gateway.app import make_health_app
from davy.health import Check, Health
from davy.health.check import told_once
from davy.runtime import Runtime

pytestmark = pytest.mark.fast
DEPLOY = Path(__file__).parents[2] / "docs" / "deploy.md"
FULL = "cannot be written (database or disk is full): free space on that disk"


def failing(monkeypatch: pytest.MonkeyPatch, place: object, error: Exception, *methods: str) -> None:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise error

    for method in methods:
        monkeypatch.setattr(place, method, refuse)


def findings(runtime: Runtime) -> list[dict[str, str]]:
    runtime.pulse.begin("detect", ["davy.inferences"])
    with LocalClient(make_health_app(runtime)) as client:
        found: list[dict[str, str]] = client.get("/readyz").json()["findings"]
    return [one for one in found if not one["what"].startswith(("role", "disk"))]


def test_a_store_that_fails_is_told_by_its_own_name_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened() as runtime:
        error = StoreError("store", runtime.store.url, FULL)
        failing(monkeypatch, runtime.store, error, "probe", "items", "apply", "get")
        found = findings(runtime)
    assert [(one["what"], one["state"], one["remedy"]) for one in found] == [("store", "wrong", FULL)]


def test_a_log_that_fails_is_told_by_its_own_name_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened() as runtime:
        error = LogError("log", runtime.log.url, FULL)
        failing(monkeypatch, runtime.log, error, "probe", "start", "end", "waiting")
        found = findings(runtime)
    assert [(one["what"], one["state"], one["remedy"]) for one in found] == [("log", "wrong", FULL)]


def test_what_fails_while_the_store_is_well_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened() as runtime:
        failing(monkeypatch, runtime.store, StoreError("store", "shelf", FULL), "apply")
        assert [(one["what"], one["state"]) for one in findings(runtime)] == [("heartbeat", "wrong")]


def test_of_two_reasons_that_differ_both_are_told() -> None:
    one = Check("disk", "wrong", "0.00 GiB free on the disk of /a", "free space")
    other = Check("disk of log", "wrong", "0.00 GiB free on the disk of /data/a", "free space")
    assert told_once([one, other]) == [one, other]


def test_every_finding_of_readyz_is_explained() -> None:
    with opened() as runtime:
        names = {one.what for one in Health(runtime)._watched}
    table = re.findall(r"^\| (`.+?) \|", DEPLOY.read_text(encoding="utf-8"), re.MULTILINE)
    explained = {name for cell in table for name in re.findall(r"`([^`]+)`", cell)}
    named = {
        "files": "log file",
        "mine": "labelling",
        "labelstudio": "Label Studio",
        "gateway": "gateway key",
    }
    assert {named.get(name, name) for name in names} <= explained
