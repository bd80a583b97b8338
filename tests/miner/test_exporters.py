"""Exporters are plug-ins: each writes every version beside it, whole or not at all, and fails alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.mining import MODEL, make_candidate, make_flag, make_label, make_runtime, run, send

from davy.plugins import suspensions
from davy.runtime import Runtime
from davy_miner import dataset, plugins
from davy_miner.dataset.removal import traces
from davy_miner.doctor import checks

pytestmark = [pytest.mark.fast, pytest.mark.may_swallow]
Install = Callable[..., None]


class _Failure(Exception):
    pass


class Lines:
    """Writes a version as lines of JSON."""

    name = "lines"

    def export(self, version: dataset.Dataset, directory: Path) -> None:
        assert list(directory.iterdir()) == []
        labels = version.arrays["label"].tolist()
        rows = [{**row, "label": label} for row, label in zip(version.manifest["rows"], labels, strict=True)]
        (directory / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


class Raises(Lines):
    name = "raises"

    def export(self, version, directory):
        super().export(version, directory)
        raise _Failure("half way")


class NotMade(Lines):
    name = "not-made"

    def __init__(self):
        raise _Failure("when made")


class _Point:
    """An entry point of a distribution that is not installed."""

    def __init__(self, kind: type, version: str) -> None:
        self.name, self._kind = kind.name, kind
        self.value = f"third_party:{kind.__name__}"
        self.dist = type("Dist", (), {"version": version, "name": "third-party"})()

    def load(self) -> Any:
        return self._kind

    def __lt__(self, other: Any) -> bool:
        return bool(self.name < other.name)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Have these exporters installed, and no others."""

    def only(*kinds: type, version: str = "1") -> None:
        mine = [_Point(kind, version) for kind in kinds]
        monkeypatch.setattr(plugins, "entry_points", lambda group: mine if group == "davy.exporters" else [])

    return only


def labelled(tmp_path: Path) -> Runtime:
    """A runtime with eight labelled candidates."""
    runtime = make_runtime(datasets=str(tmp_path))
    flags = [make_flag(number, control=0.1) for number in range(8)]
    send(runtime, *flags)
    send(runtime, *(make_label(make_candidate(flag), "3") for flag in flags))
    run(runtime)
    return runtime


def test_every_version_is_written_by_every_exporter(install: Install, tmp_path: Path) -> None:
    install(Lines)
    path = dataset.build(labelled(tmp_path), MODEL)
    assert dataset.exported(path) == ["lines"]
    written = path.parent / "exports" / path.name / "lines" / "rows.jsonl"
    rows = [json.loads(line) for line in written.read_text().splitlines()]
    assert [row["candidate"] for row in rows] == dataset.load(path).arrays["candidate"].tolist()
    assert [found for found, _ in dataset.versions(tmp_path)] == [path]


@pytest.mark.parametrize("kind", [Raises, NotMade])
def test_an_exporter_that_fails_leaves_the_version_and_the_others(
    kind: type, install: Install, tmp_path: Path
) -> None:
    runtime = labelled(tmp_path)
    install(kind, Lines)
    path = dataset.build(runtime, MODEL)
    assert len(dataset.load(path)) == 8
    assert dataset.exported(path) == ["lines"]
    assert not list(path.parent.glob(".building-*"))
    assert [(one.kind, one.name, one.model) for one in suspensions(runtime.store)] == [
        ("exporter", kind.name, MODEL)
    ]
    (told,) = [one for one in checks(runtime) if kind.name in one.what]
    assert told.state == "wrong"
    run(runtime)
    shown = runtime.meter.exposition().decode()
    assert f'davy_plugin_suspended{{kind="exporter",model="{MODEL}",plugin="{kind.name}"}} 1.0' in shown
    once = f'davy_plugin_failures_total{{kind="exporter",plugin="{kind.name}"}} 1.0'
    assert once in shown
    assert dataset.build(runtime, MODEL) == path, "nothing is tried again before an upgrade"
    assert once in runtime.meter.exposition().decode()


def test_an_upgraded_exporter_writes_what_it_could_not(install: Install, tmp_path: Path) -> None:
    runtime = labelled(tmp_path)
    install(Raises)
    path = dataset.build(runtime, MODEL)
    install(type("Mended", (Lines,), {"name": "raises"}), version="2")
    assert dataset.build(runtime, MODEL) == path
    assert dataset.exported(path) == ["raises"]
    assert suspensions(runtime.store) == []


def test_what_is_forgotten_leaves_the_exports_too(install: Install, tmp_path: Path) -> None:
    runtime = labelled(tmp_path)
    install(Lines)
    path = dataset.build(runtime, MODEL)
    gone = dataset.load(path).manifest["rows"][0]["inference_id"]
    for trace in traces(tmp_path, frozenset({bytes.fromhex(gone)}), runtime):
        trace.remove()
    assert len(dataset.load(path)) == 7
    assert not any(gone in file.read_text() for file in path.parent.rglob("*.jsonl"))
