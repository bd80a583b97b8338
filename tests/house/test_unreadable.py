"""What this user may not read is one line with the path and a way out, and a table from `davy doctor`."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from davy.cli import run_app
from davy.config import load
from davy.errors import SettingError
from davy.runner import open_runtime
from davy.store import Batch

pytestmark = [
    pytest.mark.fast,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells who may read what"),
]
MODEL = "fraud:3"
_VERSION_3 = 0x20080522
_READING_ANYTHING = 1 << 1 | 1 << 2
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH (capabilities(7)): what makes root pass over the mode of a file."""


@contextmanager
def like_anybody() -> Iterator[None]:
    """Let the modes of files hold for this thread, and those it starts, also where root runs the tests."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, before = (ctypes.c_uint32 * 2)(_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, before) == 0
    less = (ctypes.c_uint32 * 6)(*before)
    less[0] &= ~_READING_ANYTHING  # the effective ones; those that are permitted can be taken up again
    assert libc.capset(header, less) == 0
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAVY_URL", f"sqlite:///{tmp_path}/data")
    with open_runtime() as runtime:
        runtime.store.apply(Batch().put("models", MODEL, b""))
    return tmp_path


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., str]]:
    """Gives what a command says while some paths have another mode."""
    changed: dict[Path, int] = {}

    def running(path: Path, mode: int, *arguments: str) -> str:
        changed.setdefault(path, path.stat().st_mode)
        path.chmod(mode)
        with like_anybody():
            code = run_app(arguments)
        path.chmod(changed[path])
        said = capsys.readouterr()
        assert (code, said.out, said.err.count("\n")) == (2, "", 1)
        return said.err

    yield running
    for path, mode in changed.items():
        path.chmod(mode)


COMMANDS = (
    ("incidents",),
    ("models", "list"),
    ("reference", "fit", "--model", MODEL, "--from-log"),
    ("recount",),
    ("mine", "--model", MODEL),
    ("candidates",),
    ("dataset", "list"),
    ("keys", "list"),
    ("keys", "create", "shop"),
    ("dlq", "list"),
    ("forget", "--id", "00" * 16),
    ("replay",),
)


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_directory_that_may_not_be_read_is_named_with_a_remedy(
    arguments: tuple[str, ...], here: Path, refused: Callable[..., str]
) -> None:
    for mode in (0o000, 0o400, 0o600):
        said = refused(here / "data", mode, *arguments)
        assert f"{here}/data" in said
        assert "give this user write permission" in said
    assert str(here) in refused(here, 0o000, *arguments)
    assert f"{here}/data/store.db" in refused(here / "data" / "store.db", 0o000, *arguments)


@pytest.mark.parametrize("path", ["data", "data/store.db", "data/log.db"])
def test_doctor_shows_a_table_all_the_same(path: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (here / path).stat().st_mode
    (here / path).chmod(0o000)
    try:
        with like_anybody():
            assert run_app(["doctor", "--json"]) == 1
    finally:
        (here / path).chmod(before)
    rows = json.loads(capsys.readouterr().out)
    wrong = [row for row in rows if row["state"] == "wrong" and row["what"] in {"log", "store"}]
    assert wrong
    assert all("permission" in row["remedy"] for row in wrong)


@pytest.mark.parametrize(
    "arguments", [*COMMANDS, ("doctor",), ("doctor", "--settings"), ("up",)], ids=" ".join
)
def test_so_is_a_settings_file(arguments: tuple[str, ...], here: Path, refused: Callable[..., str]) -> None:
    file = here / "davy.toml"
    file.write_text('url = "memory://"\n')
    said = refused(file, 0o000, *arguments)
    assert f"settings file: '{file}': Permission denied: be the user it belongs to" in said
    file.unlink()
    file.mkdir()
    assert f"'{file}': Is a directory: move it away" in refused(file, 0o700, *arguments)


def test_a_settings_file_that_is_a_circle_of_links_is_no_missing_one(tmp_path: Path) -> None:
    (tmp_path / "davy.toml").symlink_to("davy.toml")
    with pytest.raises(SettingError, match="links lead in a circle"):
        load(env={}, file=tmp_path / "davy.toml")


@pytest.mark.parametrize(
    "arguments",
    [
        ("labels", "import", "given"),
        ("reference", "fit", "--model", MODEL, "--file", "given.csv"),
        ("replay", "--detectors", "given"),
    ],
    ids=" ".join,
)
def test_so_is_a_file_that_is_given(
    arguments: tuple[str, ...], here: Path, refused: Callable[..., str]
) -> None:
    file = here / arguments[-1]
    file.write_text("x")
    assert arguments[-1] in refused(file, 0o000, *arguments)


def test_a_neighbour_that_may_not_be_read_hides_no_near_name(
    here: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "secret").mkdir()
    monkeypatch.setenv("DAVY_URL", f"sqlite:///{here}/dada")
    assert f"did you mean {here}/data?" in refused(here / "secret", 0o000, "incidents")
    assert not any((here / "secret").iterdir())
