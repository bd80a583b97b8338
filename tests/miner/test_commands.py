"""The commands, against a directory of their own, with a miner that runs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.mining import MODEL, make_flag, send
from typer import Typer
from typer.testing import CliRunner

from davy.config import load
from davy.errors import DavyError
from davy.event import LABELS
from davy.runner import open_runtime
from davy.runtime import Runtime
from davy.store import Batch
from davy_miner import commands
from davy_miner.worker import MineTarget

pytestmark = pytest.mark.fast


@pytest.fixture
def miner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    """A running miner with 30 flags, and an environment in which commands find it."""
    monkeypatch.setenv("DAVY_URL", f"sqlite:///{tmp_path}")
    monkeypatch.setenv("DAVY_MINE_ROUND_SECONDS", "0")
    monkeypatch.chdir(tmp_path)
    with open_runtime(load()) as runtime:
        runtime.store.apply(Batch().put("models", MODEL, b""))
        send(runtime, *(make_flag(n, scores={"msp": (n + 1) / 100}, control=0.02) for n in range(30)))
        thread = threading.Thread(target=MineTarget(runtime).run)
        thread.start()
        yield runtime
        runtime.stop.set()
        thread.join(timeout=30)
        assert not thread.is_alive()


def call(app: Typer, *arguments: str) -> Any:
    """Run a command and read its JSON."""
    result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_from_flags_to_a_dataset_by_commands_alone(miner: Runtime, tmp_path: Path) -> None:
    (mined,) = call(commands.mine, "--model", MODEL, "--budget", "10", "--wait", "30")
    assert (mined["greedy"], mined["random"]) == (5, 5)
    chosen = call(commands.candidates, "--model", MODEL, "--state", "selected")
    assert {"id", "model", "inference_id", "state", "reason", "arm", "probability", "scores", "draws", "incident",
            "duplicates", "duplicate_of", "task", "answer", "label", "answers"} == set(chosen[0])  # fmt: skip
    assert len(chosen) == 10
    assert len(call(commands.candidates, "--limit", "3")) == 3
    file = tmp_path / "answers.jsonl"
    lines = [{"candidate": one["id"], "answer": str(one["answer"]), "annotator": "ann"} for one in chosen]
    lines[0]["answer"] = "other"
    file.write_text("\n".join(map(json.dumps, lines)))
    assert call(commands.labels, "import", str(file), "--allow-new")["labels"] == 10
    done = threading.Event()
    while len(call(commands.candidates, "--state", "labelled")) < 10:
        done.wait(0.02)
    assert call(commands.labels, "import", str(file))["labels"] == 0
    quality = call(commands.labels, "quality", "--model", MODEL)
    assert quality["labels"] == 5
    built = call(commands.dataset, "build", "--model", MODEL)
    assert (built["rows"], built["failures"]) == (10, 1)
    assert Path(built["path"]).parent == tmp_path / "datasets" / "digits-1"
    assert [one["version"] for one in call(commands.dataset, "list")] == [built["version"]]
    assert len(call(commands.dataset, "show", built["version"])["rows"]) == 10
    difference = call(commands.dataset, "diff", built["version"], built["version"])
    assert difference == {"added": [], "removed": [], "relabelled": [], "moved": []}
    for app, arguments in (
        (commands.candidates, []),
        (commands.dataset, ["list"]),
        (commands.dataset, ["show", built["version"]]),
        (commands.dataset, ["diff", built["version"], built["version"]]),
    ):
        assert CliRunner().invoke(app, arguments).exit_code == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2"),
        ('{"answer": 3}', "line 2: candidate"),
        ('{"candidate": "GOOD"}', "line 2: answer"),
        ('{"candidate": "nobody", "answer": 3}', "line 2: candidate: 'nobody'"),
        ('{"candidate": "GOOD", "answer": 3}', "answered in line 1"),
        ('{"candidate": "GOOD", "answer": 3, "annotater": "x"}', "line 2: annotater"),
        ('{"candidate": "GOOD", "answer": 3, "annotator": 7}', "line 2: annotator"),
        ("[1]", "line 2"),
    ],
)
def test_one_bad_line_imports_nothing_and_is_named(
    miner: Runtime, tmp_path: Path, line: str, message: str
) -> None:
    call(commands.mine, "--model", MODEL, "--budget", "2", "--wait", "30")
    good = call(commands.candidates, "--state", "selected")[0]["id"]
    before = miner.log.end(LABELS)
    file = tmp_path / "bad.jsonl"
    file.write_text(f'{{"candidate": "{good}", "answer": 3}}\n{line.replace("GOOD", good)}\n')
    result = CliRunner().invoke(commands.labels, ["import", str(file)])
    assert isinstance(result.exception, DavyError)
    assert message in str(result.exception)
    assert miner.log.end(LABELS) == before


def test_chosen_candidates_are_listed_before_those_that_wait(miner: Runtime) -> None:
    call(commands.mine, "--model", MODEL, "--budget", "4", "--wait", "30")
    states = [row["state"] for row in call(commands.candidates)]
    assert states[:4] == ["selected"] * 4
    assert len(states) > 4
    assert "selected" not in states[4:]
    assert {row["state"] for row in call(commands.candidates, "--limit", "4")} == {"selected"}


def test_candidates_are_rejected_by_id_or_by_state(miner: Runtime) -> None:
    call(commands.mine, "--model", MODEL, "--budget", "4", "--wait", "30")
    one, *others = call(commands.candidates, "--state", "selected")
    assert call(commands.candidates, "reject", one["id"]) == {"action": "reject", "candidates": 1}
    assert call(commands.candidates, "reject", "--state", "selected") == {"action": "reject", "candidates": 3}
    gone = call(commands.candidates, "--state", "rejected")
    assert {row["id"] for row in gone} == {one["id"], *(row["id"] for row in others)}
    with pytest.raises(DavyError, match="only what is unlabellable can be sent again"):
        CliRunner().invoke(commands.candidates, ["retry", one["id"]], catch_exceptions=False)
    with pytest.raises(DavyError, match="name ids, or choose with --model or --state"):
        CliRunner().invoke(commands.candidates, ["retry"], catch_exceptions=False)


def test_a_request_nobody_runs_says_how_to_start_a_miner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAVY_URL", f"sqlite:///{tmp_path}")
    monkeypatch.chdir(tmp_path)
    with open_runtime() as runtime:
        runtime.store.apply(Batch().put("models", MODEL, b""))
    result = CliRunner().invoke(commands.mine, ["--model", MODEL, "--wait", "0.1"])
    assert isinstance(result.exception, DavyError)
    assert "davy up" in str(result.exception)
    asked = CliRunner().invoke(commands.mine, ["--model", MODEL, "--wait", "0", "--json"])
    assert json.loads(asked.stdout) == {"round": f"{MODEL}/00000002", "state": "requested"}
