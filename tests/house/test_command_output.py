"""What a command prints arrives, or one line says that it does not: on any output, in any encoding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import pytest

from davy.cli import run_app
from davy.gateway.keys import KeyRing
from davy.runner import open_runtime
from davy.store import Batch

pytestmark = pytest.mark.fast
MODEL = "Betrug-ä:3"
COMMANDS = (
    ("--version",),
    ("--help",),
    ("doctor", "--settings"),
    ("models", "list"),
    ("models", "list", "--json"),
    ("keys", "list"),
)
FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this system")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A deployment with one model, by which no ASCII terminal can call it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAVY_URL", f"sqlite:///{tmp_path}/data")
    with open_runtime() as runtime:
        runtime.store.apply(Batch().put("detect", MODEL, b"\x80"))
    return tmp_path


def full() -> TextIO:
    return FULL.open("w")


def unread_pipe() -> TextIO:
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str]]:
    """Gives exit code and errors of a command that prints to a stream."""

    def running(output: TextIO | None, *arguments: str) -> tuple[int, str]:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", output)
            code = run_app(arguments)
        if output is not None:
            output.close()  # as at the exit of the interpreter
        return code, capsys.readouterr().err

    return running


@needs_full
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_where_it_cannot_be_written_one_line_says_so(
    arguments: tuple[str, ...], here: Path, run: Callable[..., tuple[int, str]]
) -> None:
    del here
    for output, reason in ((full(), "No space left on device"), (None, "Bad file descriptor")):
        code, said = run(output, *arguments)
        assert (code, said.count("\n")) == (2, 1)
        assert said.startswith(f"davy: standard output: '{reason}': cannot be written")


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_reader_that_has_gone_ends_it_quietly(
    arguments: tuple[str, ...], here: Path, run: Callable[..., tuple[int, str]]
) -> None:
    del here
    assert run(unread_pipe(), *arguments) == (141, "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_an_encoding_lacks_is_printed_as_an_escape(
    encoding: str, here: Path, run: Callable[..., tuple[int, str]]
) -> None:
    output = (here / "printed").open("w", encoding=encoding)
    assert run(output, "models", "list") == (0, "")
    shown = MODEL.encode(encoding, "backslashreplace").decode(encoding)
    assert shown in (here / "printed").read_text(encoding=encoding)
    output = (here / "printed").open("w", encoding=encoding)
    assert run(output, "models", "list", "--json") == (0, "")
    (one,) = json.loads((here / "printed").read_text(encoding=encoding))["models"]
    assert one["model"] == MODEL


@needs_full
@pytest.mark.parametrize("output", [full, unread_pipe])
def test_no_key_is_whose_secret_nobody_saw(
    output: Callable[[], TextIO], here: Path, run: Callable[..., tuple[int, str]]
) -> None:
    del here
    with open_runtime() as runtime:
        ring = KeyRing(runtime.store)
        ring.create("shop", ["write"])
        (before,) = ring.listed()
        for arguments in (("create", "other"), ("rotate", before.id)):
            for option in ((), ("--json",)):
                assert run(output(), "keys", *arguments, *option)[0] in {2, 141}
                assert ring.listed() == [before]


def test_a_key_that_is_shown_is_good(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del here
    assert run_app(["keys", "create", "shop", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert run_app(["keys", "rotate", made["id"], "--json"]) == 0
    with open_runtime() as runtime:
        old, new = KeyRing(runtime.store).listed()
    assert old.ends_at > 0 == new.ends_at
    shown = json.loads(capsys.readouterr().out)
    assert (made["id"], shown["id"]) == (old.id, new.id)
    assert shown["key"].startswith(f"davy_{new.id}_")


@needs_full
def test_a_process_ends_with_that_line_whatever_it_was_started_with(here: Path) -> None:
    """Also at the exit of the interpreter, and with nothing to say it on."""
    del here
    command = [sys.executable, "-m", "davy", "--version"]
    with FULL.open("w") as nowhere:
        done = subprocess.run(command, stdout=nowhere, stderr=subprocess.PIPE, timeout=60, check=False)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)

    def close() -> None:
        os.close(1)
        os.close(2)

    assert subprocess.run(command, preexec_fn=close, timeout=60, check=False).returncode == 2
