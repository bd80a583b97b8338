"""What does not exist is an error, what reads makes nothing, and no name steers a terminal."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from support.streams import BEGIN, envelopes, id_of, rows

from davy import console
from davy.cli import app, run_app
from davy.codec import Encoder, dump, pack
from davy.errors import InvalidInference
from davy.event import INFERENCES, Flag
from davy.gateway.columns import model_name
from davy.log import Message
from davy.logs import TextFormatter
from davy.runner import open_runtime
from davy.sdk.client import _MODEL
from davy.store import Batch
from davy_miner.candidates import Candidate, candidate_id

pytestmark = pytest.mark.fast
NASTY = "fr\x1b[2Jaud:3\x07\x9b\u202eevil\ndavy: all is well"
MODEL = "fraud:3"
KEY = candidate_id(MODEL, id_of(1))
MISSPELT = (
    ("incidents", "--model", "fruad:3"),
    ("incidents", "--wait", "--timeout", "5", "--model", "fruad:3"),
    ("reference", "show", "--model", "fruad:3"),
    ("recount", "--model", "fruad:3"),
    ("mine", "--model", "fruad:3"),
    ("candidates", "--model", "fruad:3"),
    ("candidates", "retry", "--model", "fruad:3"),
    ("labels", "quality", "--model", "fruad:3"),
    ("labels", "agreement", "--model", "fruad:3"),
    ("dataset", "build", "--model", "fruad:3"),
    ("dataset", "list", "--model", "fruad:3"),
)
READING = (
    *MISSPELT,
    ("doctor",),
    ("incidents",),
    ("incidents", "show", "abc"),
    ("replay",),
    ("recount",),
    ("reference", "list"),
    ("reference", "fit", "--model", MODEL, "--from-log"),
    ("candidates",),
    ("candidates", "reject", "abc"),
    ("labels", "import", "labels.jsonl"),
    ("dataset", "list"),
    ("dataset", "show", "v1-0"),
    ("dataset", "diff", "v1-0", "v2-0"),
    ("keys", "list"),
    ("keys", "revoke", "abc"),
    ("dlq", "list"),
    ("dlq", "replay", "--topic", INFERENCES),
    ("forget", "--id", "00" * 16),
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAVY_URL", f"sqlite:///{tmp_path}/davy-data")
    return tmp_path


@pytest.fixture
def told(here: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """A deployment with one model, one candidate and one key; gives what a refused command says."""
    with open_runtime() as runtime:
        candidate = Candidate(KEY, MODEL, id_of(1), BEGIN, "waiting", [], {}, b"")
        runtime.store.apply(Batch().put("models", MODEL, b"").put("candidates", KEY, dump(candidate)))

    def refused(*arguments: str) -> str:
        assert run_app(arguments) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("\n") == 1
        return said.err

    return refused


@pytest.mark.parametrize("arguments", MISSPELT, ids=" ".join)
def test_a_model_that_does_not_exist_is_refused_with_near_names(
    arguments: tuple[str, ...], told: Callable[..., str]
) -> None:
    assert f"no such model; did you mean {MODEL}?" in told(*arguments)


def every_command() -> list[tuple[str, ...]]:
    """The names of all commands, those in groups with their group."""
    group = typer.main.get_command(app)
    context = typer.Context(group, info_name="davy")
    found: list[tuple[str, ...]] = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        found += [(name,), *((name, each) for each in getattr(command, "commands", ()))]
    return found


@pytest.mark.parametrize("names", every_command(), ids=" ".join)
def test_a_command_that_is_misspelt_is_refused_with_near_names(
    names: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    *before, name = names
    others = {each[-1] for each in every_command() if len(each) == len(names) and [*each[:-1]] == before}
    swapped = {name[:-2] + name[-1] + name[-2]} if len(name) > 2 else set()
    for wrong in {name[:-1], f"{name}s", f"x{name}", *swapped} - others:
        assert run_app([*before, wrong, "--json"]) == 2
        said = capsys.readouterr().err
        listing = " ".join(["davy", *before, "--help"])
        assert re.fullmatch(
            rf"davy: command: '{wrong}': no such command; did you mean .*\b{name}\b.*\? `{listing}` lists all\n",
            said,
        )


@pytest.mark.parametrize("names", every_command(), ids=" ".join)
def test_a_command_is_documented_with_all_its_options_and_those_that_take_seconds_say_so(
    names: tuple[str, ...],
) -> None:
    command: Any = typer.main.get_command(app)
    for name in names:
        command = command.get_command(typer.Context(command), name)
    if getattr(command, "commands", {}) and not command.invoke_without_command:
        return  # a group, which does nothing by itself
    text = Path(__file__).parents[2].joinpath("docs/cli.md").read_text(encoding="utf-8")
    rows = [line.split(" | ", 1) for line in text.splitlines() if line.startswith("| `davy")]
    (row,) = [said for shown, said in rows if f"`davy {' '.join(names)}`" in shown]
    for option in command.params:
        for flag in option.opts:
            if flag.startswith("--") and flag != "--help":
                assert f"`{flag}`" in row
                if flag == "--wait":
                    assert (f"`{flag}` SECONDS" in row) is not option.is_flag


def test_a_command_whose_extra_is_missing_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "davy_detectors.stream.recount", None)
    assert run_app(["recount"]) == 2
    assert "'recount': needs what cannot be imported: pip install 'davy[server]'" in capsys.readouterr().err
    assert run_app(["recont"]) == 2
    assert "did you mean recount?" in capsys.readouterr().err


EMPTY = (
    ("recount", "--model", ""),
    ("recount", "--model="),
    ("mine", "--model", ""),
    ("incidents", "--model", ""),
    ("candidates", "reject", "--model", ""),
    ("forget", "--tag", ""),
    ("reference", "fit", "--from-log", "--model", MODEL, "--since", ""),
)


@pytest.mark.parametrize("arguments", EMPTY, ids=" ".join)
def test_an_option_that_is_given_and_empty_is_refused(
    arguments: tuple[str, ...], told: Callable[..., str]
) -> None:
    (option,) = {word.rstrip("=") for word in arguments[-2:] if word.startswith("--")}
    assert told(*arguments).startswith(f"davy: {option}: ")
    assert "is empty" in told(*arguments)
    assert "argument: '': is empty" in told("models", "retire", "")


def test_no_budget_is_refused_and_not_taken_for_the_usual_one(told: Callable[..., str]) -> None:
    assert "--budget: 0: give at least 1" in told("mine", "--budget", "0")
    with open_runtime() as runtime:
        assert runtime.store.count("rounds") == 0


def test_so_are_candidates_incidents_keys_and_versions(told: Callable[..., str]) -> None:
    assert f"no such candidate; did you mean {KEY}?" in told("candidates", "reject", f"{KEY[:-1]}x")
    assert "no such incident" in told("incidents", "show", "abc")
    assert "no such key" in told("keys", "revoke", "abc")
    assert "no such version" in told("dataset", "show", "v1-0")
    assert "no such topic" in told("dlq", "list", "--topic", "davy.inference")


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_a_directory_that_holds_nothing_of_davys_is_refused_and_left_as_it_was(
    arguments: tuple[str, ...],
    told: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DAVY_URL", f"sqlite:///{tmp_path}/davy-dada")
    assert f"did you mean {tmp_path}/davy-data?" in told(*arguments)
    assert {path.name for path in tmp_path.iterdir()} == {"davy-data"}
    (tmp_path / "davy-dada").mkdir()
    told(*arguments)
    assert list((tmp_path / "davy-dada").iterdir()) == []


@pytest.mark.parametrize("variable", ["DAVY_STORE_URL", "DAVY_BLOB_URL"])
def test_so_is_the_directory_of_a_store_or_of_payloads(
    variable: str, told: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheme = "sqlite" if variable == "DAVY_STORE_URL" else "file"
    monkeypatch.setenv(variable, f"{scheme}:///{tmp_path}/elsewhere")
    assert told("doctor").startswith(f"davy: {variable}")
    assert not (tmp_path / "elsewhere").exists()


REFUSED = (
    ("keys", "create", ""),
    ("keys", "create", " "),
    ("keys", "create", "shop", "--scope", "everything"),
    ("run", "nosuch"),
    ("reference", "fit", "--model", MODEL),
    ("reference", "fit", "--model", MODEL, "--file", "missing.csv"),
    ("reference", "fit", "--model", MODEL, "--file", "few.csv", "--ignore", "nosuch"),
)


@pytest.mark.parametrize("arguments", REFUSED, ids=" ".join)
def test_what_is_refused_makes_no_directory(
    arguments: tuple[str, ...], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "few.csv").write_text("inputs.a\n1.0\n2.0\n")
    assert run_app(arguments) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "None" not in said
    assert [path.name for path in here.iterdir()] == ["few.csv"]


def unsafe(text: str, *, lines: int) -> list[str]:
    """What of a text a terminal would act on, but for the ends of so many lines, tabs and the colours of a table."""
    assert text.count("\n") == lines
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return [each for each in text if each not in "\n\t" and console.printable(each) != each]


@pytest.mark.parametrize("tty", [False, True])
def test_a_name_cannot_steer_a_terminal(
    tty: bool, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is in the log as an old version of Davy, or somebody's own writer, would have put it there."""
    with open_runtime() as runtime:
        chunk = Encoder().encode(NASTY, id_of(1), BEGIN, {"x": 1.0}, {"label": 1})
        runtime.log.producer().append([Message(INFERENCES, NASTY, pack([chunk]))])
        flag = Flag("f", id_of(1), NASTY, BEGIN, [], {}, pack([chunk]), None)
        candidate = Candidate(KEY, NASTY, flag.inference_id, BEGIN, "waiting", [], {}, b"")
        runtime.store.apply(Batch().put("models", NASTY, b"").put("candidates", KEY, dump(candidate)))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: tty, raising=False)
    for arguments in (
        ("doctor",),
        ("candidates",),
        ("incidents", "--model", NASTY),
        ("mine", "--model", f"{NASTY}x"),
    ):
        run_app(arguments)
        said = capsys.readouterr()
        for text in (said.out, said.err):
            assert unsafe(text, lines=text.count("\n")) == []
            assert not any(line.startswith("davy: all is well") for line in text.splitlines())


@given(st.text())
def test_what_is_printable_stays_so_and_is_one_line(text: str) -> None:
    shown = console.printable(text)
    assert console.printable(shown) == shown
    assert len(shown.splitlines()) <= 1


def test_markup_in_a_name_is_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    console.show([{"[b]model": "[/red]x:1[red]"}], title="[/b]")
    said = capsys.readouterr().out
    assert "[/red]x:1[red]" in said
    assert "[b]model" in said


def test_what_roles_log_is_one_line_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(TextFormatter("%(levelname)s %(message)s"))
    logger = logging.getLogger("test_commands_tell_the_truth")
    logger.addHandler(handler)
    logger.propagate = False
    logger.warning("testing %s goes on", NASTY)
    try:
        raise ValueError(NASTY)
    except ValueError:
        logger.exception("died")
    first, second, *rest = capsys.readouterr().out.rstrip("\n").split("\n")
    assert (first.startswith("WARNING testing fr\\x1b[2J"), second) == (True, "ERROR died")
    assert all(line.startswith("  ") for line in rest)
    assert unsafe("".join(rest), lines=0) == []


def test_json_holds_no_control_character(capsys: pytest.CaptureFixture[str]) -> None:
    console.show_one({"model": f"{NASTY}\x7f"}, title="", as_json=True)
    said = capsys.readouterr().out
    assert unsafe(said, lines=1) == []
    assert json.loads(said) == {"model": f"{NASTY}\x7f"}


@pytest.mark.parametrize("part", ["\x1b", "\x00", "\x9b", "\u202e", "\u2066", "\u200b", " ", "\n"])
def test_a_name_that_could_is_refused_where_it_comes_in(part: str) -> None:
    with pytest.raises(InvalidInference):
        model_name(f"fraud{part}:3", "")
    assert _MODEL.fullmatch(f"fraud:3{part}") is None
    assert _MODEL.fullmatch("Betrug-ä:3:é") is not None


def test_a_command_on_a_log_without_a_store_reads_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from davy.log import open_log

    log = open_log(f"sqlite:///{here}/davy-data")
    log.producer().append([Message(INFERENCES, MODEL, one) for one in envelopes(rows(10, 1), [10])])
    log.close()
    assert run_app(["dlq", "list"]) == 0
    assert capsys.readouterr().out == "dead letters: none\n"
