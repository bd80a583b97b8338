"""A key file without a key is said wherever one looks, and what was read before goes on to hold."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from support.gateway_rig import LocalClient, opened

from davy.cli import run_app
from davy.gateway import GatewayTarget
from davy.gateway.app import make_app
from davy.gateway.keyfile import checks
from davy.gateway.keys import KeyRing
from davy.secret import Secret

pytestmark = pytest.mark.fast
KEY: Final = "lamp" * 8


def a_directory(path: Path) -> None:
    path.mkdir()


def a_circle(path: Path) -> None:
    path.symlink_to(path)


LACKING: Final[dict[str, Callable[[Path], object]]] = {
    "is not there": lambda _: None,
    "is a directory": a_directory,
    "has no key in its first line": lambda path: path.write_bytes(b"\xef\xbb\xbf\r\n" + KEY.encode()),
    "is not text": lambda path: path.write_bytes(b"\xff\xfe"),
    "cannot be read (": a_circle,
    "is no file": os.mkfifo,
}
EXAMPLE: Final = "still holds the example's 'change-me'"  # with which no gateway starts


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("lack", LACKING)
def test_a_gateway_that_refuses_everybody_says_why(
    lack: str, host: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "key"
    LACKING[lack](path)
    with opened(api_key_file=str(path), host=host, port=0) as runtime:
        target = GatewayTarget(runtime)
        target.close()
        (line,) = [record for record in caplog.records if record.name == "davy.gateway"]
        assert line.levelno == logging.WARNING
        runtime.pulse.begin("gateway", [])
        with LocalClient(make_app(runtime)) as client:
            assert client.get("/status.json", headers={"authorization": f"Bearer {KEY}"}).status_code == 401
            answer = client.get("/readyz")
        (found,) = checks(runtime)
        assert len([record for record in caplog.records if record.name == "davy.gateway"]) == 1
    assert found.state == "wrong"
    assert f"{path} {lack}" in found.found
    assert "everybody is refused" in found.found
    for part in (found.found, "DAVY_GATEWAY_API_KEY_FILE"):
        assert part in line.getMessage()
    assert answer.status_code == 503
    assert found.shown() in answer.json()["findings"]


@pytest.mark.parametrize("content", [b"%s", b"%s\n", b"%s\r\n", b"\xef\xbb\xbf%s\r\n", b" %s \nmore\n"])
def test_marks_and_ends_of_lines_are_no_part_of_a_key(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(content % KEY.encode())
    secret = Secret("", str(tmp_path / "key"))
    assert (secret.current(), secret.trouble) == (KEY, "")


@pytest.mark.parametrize("lack", [*LACKING, EXAMPLE])
def test_what_takes_the_place_of_a_key_file_and_holds_no_key_changes_no_key(
    lack: str, tmp_path: Path
) -> None:
    path = tmp_path / "key"
    path.write_text(KEY)
    secret = Secret("", str(path))
    assert secret.current() == KEY
    path.unlink()
    if lack == EXAMPLE:
        path.write_text("Change-Me\n")
    else:
        LACKING[lack](path)
    assert secret.current() == KEY
    assert secret.trouble.startswith(lack)


def test_a_file_that_is_emptied_or_goes_keeps_its_key_and_each_change_is_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "key"
    path.write_text(KEY)
    caplog.set_level(logging.INFO, "davy.gateway")
    with opened(api_key_file=str(path)) as runtime:
        runtime.pulse.begin("gateway", [])
        assert checks(runtime)[0].state == "ok"
        said = []
        for change in (lambda: path.write_text(""), path.unlink, lambda: path.write_text("another")):
            change()
            for _ in range(3):
                (found,) = checks(runtime)
            said.append((found.state, runtime.key.current()))
    assert said == [("warning", KEY), ("warning", KEY), ("ok", "another")]
    lines = [record.getMessage() for record in caplog.records if record.name == "davy.gateway"]
    assert [line.partition(" (")[0].partition(";")[0] for line in lines] == [
        f"gateway key: {path} has no key in its first line",
        f"gateway key: {path} is not there",
        f"gateway key: {path} holds one again",
    ]


def test_where_other_keys_are_let_in_it_is_a_warning(tmp_path: Path) -> None:
    with opened(api_key_file=str(tmp_path / "none")) as runtime:
        KeyRing(runtime.store).create("fraud", ["write"])
        (found,) = checks(runtime)
    assert (found.state, "`davy keys`" in found.found) == ("warning", True)


def test_doctor_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAVY_GATEWAY_API_KEY_FILE", "none")
    with opened(url=f"sqlite:///{tmp_path / '.davy'}"):
        pass
    assert run_app(["doctor"]) == 1
    (row,) = [
        line for line in capsys.readouterr().out.splitlines() if line.lstrip().startswith("gateway key")
    ]
    assert "wrong" in row
    assert "none is not there; everybody is refused" in row
