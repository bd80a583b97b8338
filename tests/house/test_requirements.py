"""What a role or a command needs is said in pyproject.toml alone, and is looked at before it starts."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, entry_points, version
from pathlib import Path

import pytest

from davy import requirements
from davy.cli import run_app
from davy.runner import open_runtime, require_roles, targets

pytestmark = pytest.mark.fast
ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
USERS = set(PROJECT["optional-dependencies"]) - {"dev"}
POINTS = [
    point
    for group in ("targets", "commands", "keepers", "checks", "health", "pages")
    for point in entry_points(group=f"davy.{group}")
]
Without = Callable[..., None]


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Iterator[Without]:
    """Yield a function that makes packages seem not to be installed, or to be there in another version."""
    real = importlib.metadata.distribution

    def hide(*names: str, version: str | None = None) -> None:
        class Old(Distribution):
            read_text = locate_file = None  # type: ignore[assignment]
            version = ""
            requires = None

        def distribution(name: str) -> Distribution:
            if name not in names:
                return real(name)
            if version is None:
                raise PackageNotFoundError(name)
            found = Old()
            found.version = version  # type: ignore[misc]
            return found

        monkeypatch.setattr(importlib.metadata, "distribution", distribution)
        requirements._absent.cache_clear()

    yield hide
    requirements._absent.cache_clear()


def test_users_choose_among_four_extras_at_most() -> None:
    assert {"server", "cluster", "librdkafka", "demo"} == USERS


@pytest.mark.parametrize("point", POINTS, ids=lambda point: f"{point.group} {point.name}")
def test_every_part_names_what_it_needs_and_has_it_here(point: EntryPoint) -> None:
    assert point.extras
    assert set(point.extras) <= USERS
    assert requirements.absent(point) == ()


@pytest.mark.parametrize("role", sorted(targets()))
def test_a_role_does_not_start_without_all_it_needs_and_says_what_to_install(
    role: str,
    without: Without,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    without("scipy")
    assert run_app(["run", role]) == 2
    assert capsys.readouterr().err == f"davy: target: '{role}': needs scipy: pip install 'davy[server]'\n"
    assert list(tmp_path.iterdir()) == []


def test_up_leaves_no_role_out_that_lacks_something(
    without: Without, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    without("scipy", "pyarrow")
    assert run_app(["up"]) == 2
    assert capsys.readouterr().err.endswith("needs pyarrow, scipy: pip install 'davy[server]'\n")
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_is_too_old_counts_as_missing(without: Without) -> None:
    without("scipy", version="1.0")
    assert requirements.absent(targets()["detect"]) == ("scipy>=1.14",)


def test_a_command_names_what_it_lacks_and_the_others_stay(
    without: Without, capsys: pytest.CaptureFixture[str]
) -> None:
    without("scikit-learn")
    assert run_app(["demo"]) == 2
    assert capsys.readouterr().err == "davy: command: 'demo': needs scikit-learn: pip install 'davy[demo]'\n"
    assert run_app(["--help"]) == 0
    listed = capsys.readouterr().out
    assert "incidents" in listed
    assert "\n  demo " not in listed


def test_doctor_tells_of_roles_that_cannot_run(
    without: Without, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAVY_URL", f"sqlite:///{tmp_path}")
    with open_runtime():
        pass  # makes the place
    without("scipy")
    assert run_app(["doctor", "--json"]) == 1
    shown = capsys.readouterr().out
    assert shown.count("needs scipy: pip install 'davy[server]'") == len(targets())


def test_the_demo_needs_what_the_servers_need_and_what_an_extra_names_is_followed(without: Without) -> None:
    (demo,) = entry_points(group="davy.commands", name="demo")
    without("uvicorn", "scikit-learn")
    assert requirements.absent(demo) == ("uvicorn", "scikit-learn")


def test_a_base_install_has_no_command_line_and_says_how_to_get_it() -> None:
    program = "import sys; sys.modules['typer'] = None; from davy.__main__ import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr == "davy: the command line needs typer: pip install 'davy[server]'\n"


def test_a_base_install_tells_its_version() -> None:
    program = (
        "import sys; sys.modules['typer'] = None; sys.argv[1:] = ['--version'];"
        " from davy.__main__ import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"davy {version('davy')}\n", "")


def test_a_role_that_is_broken_in_another_way_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "davy_detectors.stream.role", None)
    with pytest.raises(requirements.SettingError, match=r"'detect': needs davy_detectors\.stream\.role"):
        require_roles(["detect"])


def test_whatever_is_said_to_be_installed_is_an_extra() -> None:
    rooms = [ROOT / room for room in ("collector", "detectors", "miner", "dashboards")]
    files = [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *(path for room in rooms for path in room.rglob("*.py")),
    ]
    said = [
        found
        for path in files
        for found in re.findall(r"davy\[([\w,]+)\]'", path.read_text(encoding="utf-8"))
    ]
    assert said
    assert {extra for one in said for extra in one.split(",")} <= USERS
