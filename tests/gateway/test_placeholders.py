"""What an example leaves to be changed is refused as a secret, by every server and by doctor."""

from __future__ import annotations

from pathlib import Path

import pytest

from davy.cli import run_app
from davy.runner import open_runtime

pytestmark = pytest.mark.fast
GIVEN = {
    "DAVY_GATEWAY_API_KEY": "change-me",
    "DAVY_LABELSTUDIO_API_KEY": "change-me",
    "DAVY_KAFKA_PASSWORD": "change-me",
}


@pytest.fixture(autouse=True)
def _a_log_in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_runtime():
        pass


@pytest.mark.parametrize("command", [["up"], ["run", "gateway"], ["run", "detect"]], ids=" ".join)
@pytest.mark.parametrize("variable", GIVEN)
def test_no_server_starts_with_the_secret_of_an_example(
    variable: str, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, GIVEN[variable])
    monkeypatch.setenv("DAVY_LABELSTUDIO_URL", "http://127.0.0.1:9")
    assert run_app(command) == 2
    told = capsys.readouterr().err
    assert variable in told
    assert "is still the example's 'change-me': make one of your own, with `openssl rand -hex 20`" in told
    assert told.count("\n") == 1


def test_nor_with_one_in_the_file_of_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key").write_text("change-me\n")
    monkeypatch.setenv("DAVY_GATEWAY_API_KEY_FILE", str(tmp_path / "key"))
    assert run_app(["run", "gateway"]) == 2
    assert "DAVY_GATEWAY_API_KEY_FILE" in capsys.readouterr().err


def test_doctor_calls_it_wrong_and_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DAVY_GATEWAY_API_KEY", "change-me")
    assert run_app(["doctor"]) == 1
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "setting gateway.api_key" in line]
    assert "wrong" in row
    assert "openssl rand -hex 20" in row
