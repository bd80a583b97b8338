"""Settings: where they come from, and what a wrong one is told."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from davy.blobs import open_blobs
from davy.cli import run_app
from davy.config import Settings, describe, load
from davy.errors import SettingError
from davy.store import open_store

pytestmark = pytest.mark.fast


def test_environment_wins_over_file_and_arguments_win_over_both(tmp_path: Path) -> None:
    file = tmp_path / "davy.toml"
    file.write_text(
        'url = "memory://file"\n[detect]\npoll_records = 10\nquiet_events = 11\n[mine]\nbudget = 12\n'
    )
    found = load(
        env={"DAVY_DETECT_POLL_RECORDS": "20", "DAVY_DETECT_QUIET_EVENTS": "21"},
        file=file,
        overrides={"detect.quiet_events": 31},
    )
    assert found.url == "memory://file"
    assert (found.mine.budget, found.detect.poll_records, found.detect.quiet_events) == (12, 20, 31)


@pytest.mark.parametrize(
    ("variable", "value", "remedy"),
    [
        ("DAVY_DETECT_POLL_RECORDS", "many", "whole number"),
        ("DAVY_DETECT_POLL_RECORDS", "0", "at least 1"),
        ("DAVY_DETECT_FLAG_SHARE", "nan", "must be a number"),
        ("DAVY_DETECT_FLAG_SHARE", "inf", "must be a number"),
        ("DAVY_DETECT_FLAG_SHARE", "-Infinity", "must be a number"),
        ("DAVY_LOG_KEEP_BYTES", "1000000", "must be at least 1_048_576$"),
        ("DAVY_MINE_GREEDY_SHARE", "1.5", "at most 1"),
        ("DAVY_GATEWAY_PORT", "65536", "at most 65_535"),
        ("DAVY_SDK_ENABLED", "perhaps", "true or false"),
        ("DAVY_DETECT_POLLRECORDS", "5", "no such setting; did you mean DAVY_DETECT_POLL_RECORDS"),
    ],
)
def test_a_wrong_variable_is_named_with_its_value_and_a_remedy(
    variable: str, value: str, remedy: str
) -> None:
    with pytest.raises(SettingError, match=remedy) as caught:
        load(env={variable: value})
    assert caught.value.field.replace(".", "_").upper() in variable


WRONG = (
    (
        "detect.fields",
        {"x": "categoricl"},
        "x=categoricl",
        "detect.fields.x: 'categoricl': must be one of ignore, cat",
    ),
    ("detect.fields", {"": "text"}, "=text", "detect.fields: '': is empty"),
    (
        "detect.fields",
        {"a": "text", "m:1/x": "Text"},
        "a=text, m:1/x=Text",
        "detect.fields.m:1/x: 'Text': must be",
    ),
    (
        "sdk.fields",
        {"inputs.x": "drp"},
        "inputs.x=drp",
        "sdk.fields.inputs.x: 'drp': must be one of inline, blob, ",
    ),
    ("sdk.fields", {"x": "drop"}, "x=drop", "sdk.fields: 'x': must begin with one of inputs, outputs"),
    ("sdk.fields", {"x@m:*": "drop"}, "x@m:*=drop", "sdk.fields: 'x@m:*': must begin with one of inputs"),
    ("sdk.fields", {"*.x": "blob:gif"}, "*.x=blob:gif", "sdk.fields.*.x: 'blob:gif': must be one of inline"),
    ("sdk.oversize", "blub", "blub", "sdk.oversize: 'blub': must be one of blob, summary"),
    ("mine.last_word", "mine", "mine", "mine.last_word: 'mine': must be one of majority"),
    ("kafka.compression", "best", "best", "kafka.compression: 'best': must be one of none, gzip"),
    ("kafka.security", "tls", "tls", "kafka.security: 'tls': must be one of empty, PLAINTEXT"),
    ("kafka.mechanism", "plain", "plain", "kafka.mechanism: 'plain': must be one of PLAIN"),
    ("archive.url", "ftp://x", "ftp://x", "archive.url: 'ftp://x': must begin with file:// or s3://"),
    (
        "gateway.public_url",
        "davy.example",
        "davy.example",
        "gateway.public_url: 'davy.example': must begin with http",
    ),
    ("labelstudio.public_url", "ls:80", "ls:80", "labelstudio.public_url: 'ls:80': must begin with http"),
)


@pytest.mark.parametrize(("key", "value", "text", "said"), WRONG, ids=[one[2] for one in WRONG])
def test_what_a_setting_does_not_know_is_refused_from_wherever_it_comes(
    key: str,
    value: str | dict[str, str],
    text: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    section, _, name = key.partition(".")
    inside = [f'"{found}" = "{role}"' for found, role in value.items()] if isinstance(value, dict) else []
    lines = [f"[{key}]", *inside] if inside else [f"[{section}]", f'{name} = "{value}"']
    file, variable = tmp_path / "davy.toml", f"DAVY_{section}_{name}".upper()
    for command in (["doctor"], ["up"], ["doctor", "--settings"]):
        file.write_text("\n".join(lines))
        assert run_app(command) == 2
        assert capsys.readouterr().err.startswith(f"davy: {said}")
        file.unlink()
        with monkeypatch.context() as patch:
            patch.setenv(variable, text)
            assert run_app(command) == 2
        assert capsys.readouterr().err.startswith(f"davy: {said}")
    with pytest.raises(SettingError, match=re.escape(said)):
        load(env={}, overrides={key: value})
    assert list(tmp_path.iterdir()) == []


def test_every_setting_that_knows_only_some_values_is_among_them() -> None:
    limited = {
        f"{section.name}.{one.name}"
        for section in fields(Settings())
        if is_dataclass(getattr(Settings(), section.name))
        for one in fields(getattr(Settings(), section.name))
        if one.metadata["one_of"] or one.metadata["begins"]
    }
    assert limited == {key for key, *_ in WRONG}


@pytest.mark.parametrize("text", ["[detect", "[detect]\nwrong = 1\n", "detect = 3\n"])
def test_a_wrong_file_is_refused_with_a_remedy(tmp_path: Path, text: str) -> None:
    file = tmp_path / "davy.toml"
    file.write_text(text)
    with pytest.raises(SettingError):
        load(env={}, file=file)


def test_a_file_that_was_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="does not exist"):
        load(env={}, file=tmp_path / "absent.toml")


def test_every_setting_has_a_variable_of_its_own_and_a_help_text() -> None:
    described = describe(Settings())
    assert len({one.variable for one in described}) == len(described)
    assert all(one.help for one in described)


def test_every_default_is_accepted_as_its_own_variable() -> None:
    env = {one.variable: str(one.default) for one in describe(Settings())}
    assert load(env=env) == Settings()


def test_a_shown_setting_tells_no_secret_and_no_password_of_a_url() -> None:
    settings = load(
        env={
            "DAVY_STORE_URL": "redis://davy:s3cret@redis.example/0",
            "DAVY_GATEWAY_API_KEY": "s3cret",
            "DAVY_MINE_BUDGET": "7",
        }
    )
    shown = {one.key: one.shown for one in describe(settings)}
    assert shown["store_url"] == "redis://davy@redis.example/0"
    assert shown["gateway.api_key"] == "set"
    assert shown["mine.budget"] == 7


@pytest.mark.parametrize(
    ("module", "open_it", "extra"),
    [
        ("davy.store.redis", lambda: open_store("redis://:s3cret@host"), "davy[cluster]"),
        ("davy.blobs.objects", lambda: open_blobs("s3://bucket"), "davy[cluster]"),
    ],
)
def test_an_address_whose_extra_is_missing_says_which(
    module: str, open_it: Callable[[], object], extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SettingError, match=re.escape(f"pip install '{extra}'")) as caught:
        open_it()
    assert "s3cret" not in str(caught.value)


def test_a_bound_is_written_as_a_setting_may_be_written() -> None:
    for one in describe(Settings()):
        for bound in re.findall(r"at (?:least|most) (\S+)", one.bounds):
            load(env={}, overrides={one.key: bound})


@pytest.mark.parametrize(
    ("name", "value", "shown", "near"),
    [
        ("gateway.prot", 1, "1", "gateway.port"),
        ("log.keep_byts", 7, "7", "log.keep_bytes"),
        ("stor_url", "redis://davy:lamp@redis/0", "redis://davy@redis/0", "store_url"),
        ("gateway.api_ky", "lamp", "", "gateway.api_key"),
        ("kafka.passwrd", "lamp", "", "kafka.password"),
        ("labelstudio.tokn_secret", "lamp", "", ""),
        ("nowhere.near", "x", "x", ""),
    ],
)
def test_a_mistyped_setting_is_told_with_names_that_are_near_and_no_secret(
    name: str, value: Any, shown: str, near: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    section, _, last = name.rpartition(".")
    line = f"{last} = {json.dumps(value)}"
    (tmp_path / "davy.toml").write_text(f"[{section}]\n{line}" if section else line)
    with pytest.raises(SettingError) as of_file:
        load(env={})
    (tmp_path / "davy.toml").unlink()
    variable = f"DAVY_{name.upper().replace('.', '_')}"
    with pytest.raises(SettingError) as of_environment:
        load(env={variable: str(value)})
    for found, meant in ((of_file, near), (of_environment, f"DAVY_{near.upper().replace('.', '_')}")):
        assert str(found.value.value) == shown
        assert "lamp" not in str(found.value)
        assert len(str(found.value)) < 250
        assert not near or f"did you mean {meant}" in str(found.value)
    assert of_file.value.field == name
    assert of_environment.value.field == variable
