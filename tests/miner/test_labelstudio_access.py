"""Reaching Label Studio: what is wrong with address or token is named, a secret is not shown, no POST is repeated."""

from __future__ import annotations

import logging

import pytest
from support.fake_labelstudio import LEGACY_KEY, FakeLabelStudio
from support.labelstudio_world import SETTLE, World

from davy.errors import LabelError, SettingError
from davy_miner.labelstudio import LabelStudio, client

pytestmark = pytest.mark.fast


def imports(fake: FakeLabelStudio) -> int:
    return sum(path.endswith("/import") for _, path in fake.requests)


def test_an_unreachable_label_studio_is_named_and_nothing_is_changed(world: World) -> None:
    with FakeLabelStudio() as gone:
        url = gone.url
    with World(None, url=url) as alone:
        (key,) = alone.select(1)
        with pytest.raises(LabelError, match="gave no answer"):
            alone.process().push()
        assert alone.candidates()[key].state == "selected"


def test_without_its_client_the_role_says_so_at_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "find_spec", lambda name: None)
    with pytest.raises(SettingError, match=r"needs label-studio-sdk: pip install 'davy\[server\]'.*3\.13"):
        client.SdkTool("http://127.0.0.1:1", LEGACY_KEY, timeout=1)


@pytest.mark.parametrize(
    ("key", "legacy", "told"),
    [
        ("f" * 40, True, "legacy token.*copy it again"),
        (LEGACY_KEY, False, "legacy token.*LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN"),
        ("PAT", True, "personal access token.*make a new one"),
    ],
)
def test_a_refused_token_is_named_by_kind_and_never_shown(
    fake: FakeLabelStudio, key: str, legacy: bool, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    fake.legacy_enabled = legacy
    if key == "PAT":
        key, fake.refresh_token = fake.refresh_token, "revoked"
    with World(fake, api_key=key) as world:
        world.select(1)
        with pytest.raises(LabelError, match=told) as raised:
            world.process().push()
    assert key not in str(raised.value) + caplog.text
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None


@pytest.mark.filterwarnings("ignore:The .parse_obj. method is deprecated")  # called by the SDK
def test_a_personal_access_token_survives_the_five_minutes_of_its_access_tokens(
    fake: FakeLabelStudio,
) -> None:
    with World(fake, api_key=fake.refresh_token) as world:
        process = world.process()
        for first in (0, 10, 20):
            ids = world.select(10, first=first)
            assert process.push() == 10
            assert [len(fake.tasks_of(key)) for key in ids] == [1] * 10
            fake.expire_access_tokens()


@pytest.mark.parametrize(
    ("url", "key", "told"), [("localhost:8080", "k", "http://"), ("http://h", "", "API_KEY")]
)
def test_missing_settings_are_told_at_the_start(url: str, key: str, told: str) -> None:
    world = World(None, url=url, api_key=key)
    with pytest.raises(SettingError, match=told):
        LabelStudio(world.runtime())


def test_no_post_is_ever_repeated_by_the_sdk(fake: FakeLabelStudio, world: World) -> None:
    world.select(1)
    for vice in ("error before", "reset before", "silence before"):
        fake.vices.append(vice)
        before = imports(fake)
        world.process().push()
        assert imports(fake) == before + 1
        world.pass_time(SETTLE)
