"""Starting, misconfiguring, switching off, starting again."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from support.sdk_rig import Store, balanced, inferences_in, start

import davy
from davy.event import INFERENCES
from davy.log import open_log
from davy.sdk import guard

pytestmark = pytest.mark.fast


def test_init_is_optional_and_starts_no_thread(own_client: str) -> None:
    before = threading.active_count()
    davy.init()
    assert threading.active_count() == before
    davy.capture("m:1", {"x": 1.0}, {})
    assert threading.active_count() == before + 1


def test_init_takes_a_url_and_settings_of_the_sdk(own_client: str) -> None:
    davy.init(own_client + "-other", sample_rate=0.0)
    assert davy.capture("m:1", {"x": 1.0}, {}) is None
    assert davy.stats()["sampled_out"] == 1
    davy.init(own_client + "-other", **{"sdk.envelope_rows": 1})
    davy.capture("m:1", {"x": 1.0}, {})
    davy.flush()
    assert len(inferences_in(own_client + "-other")) == 1
    assert inferences_in(own_client) == []


def test_init_again_sends_what_was_waiting(own_client: str) -> None:
    davy.capture("m:1", {"x": 1.0}, {})
    davy.init(own_client + "-other")
    davy.capture("m:1", {"x": 2.0}, {})
    davy.flush()
    assert [one.inputs["x"] for one in inferences_in(own_client)] == [1.0]
    assert [one.inputs["x"] for one in inferences_in(own_client + "-other")] == [2.0]


def test_the_sqlite_log_is_a_sink(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log"
    davy.init(url)
    davy.capture("m:1", {"x": 1.0}, {})
    davy.shutdown(timeout=10)
    log = open_log(url)
    assert len(list(log.read(INFERENCES, 0, log.start(INFERENCES)[INFERENCES, 0]))) == 1
    log.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://x"},
        {"url": "nonsense"},
        {"url": "sqlite://"},
        {"sample_rate": "often"},
        {"sample_rate": -1},
        {"no_such_setting": 1},
    ],
)
def test_a_wrong_setting_is_said_once_and_disables_the_sdk(
    wrong: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    davy.init(**wrong)
    for _ in range(3):
        assert davy.capture("m:1", {"x": 1.0}, {}) is None
    davy.watch(lambda x: x, "m:1", batched=True)([1.0, 2.0])
    davy.feedback("ab" * 16, 1)
    stats = davy.stats()
    assert (stats["dropped"], stats["feedback"]["dropped"]) == ({"disabled": 5}, {"disabled": 1})
    assert balanced(stats)
    assert [record.name for record in caplog.records] == ["davy"]
    assert "SettingError" in caplog.text


def test_a_wrong_environment_disables_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAVY_SDK_QUEUE_ITEMS", "many")
    davy.capture("m:1", {"x": 1.0}, {})
    assert davy.stats()["dropped"] == {"disabled": 1}


def test_switched_off_it_counts_says_nothing_and_starts_nothing(caplog: pytest.LogCaptureFixture) -> None:
    before = threading.active_count()
    davy.init(enabled=False)
    assert davy.capture("m:1", {"x": 1.0}, {}) is None
    assert davy.watch(lambda x: x, "m:1")(3) == 3
    assert davy.stats()["dropped"] == {"disabled": 2}
    assert threading.active_count() == before
    assert caplog.records == []


def test_after_shutdown_captures_are_counted_until_init(own_client: str) -> None:
    davy.capture("m:1", {"x": 1.0}, {})
    davy.shutdown()
    assert davy.capture("m:1", {"x": 2.0}, {}) is None
    assert davy.stats()["dropped"] == {"shutdown": 1}
    davy.init()
    assert davy.capture("m:1", {"x": 3.0}, {}) is not None
    davy.flush()
    assert [one.inputs["x"] for one in inferences_in(own_client)] == [1.0, 3.0]


def test_shutdown_and_flush_before_anything_are_harmless() -> None:
    davy.shutdown()
    assert davy.flush()
    assert davy.stats()["captured"] == 0


def test_first_captures_of_many_threads_make_one_client() -> None:
    gate, clients = threading.Barrier(8), set[int]()

    def first() -> None:
        gate.wait()
        davy.capture("m:1", {"x": 1.0}, {})
        clients.add(id(davy.sdk.home.HOME.client))

    threads = [threading.Thread(target=first) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(clients) == 1
    assert davy.stats()["captured"] == 8


@pytest.mark.swallows
def test_a_reason_is_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(guard.time, "monotonic", lambda: now[0])
    with guard.Guard("one"):
        raise ValueError("payload")
    for _ in range(3):
        now[0] += 10
        with guard.Guard("one"):
            raise ValueError("payload")
    with guard.Guard("other"):
        raise ValueError("payload")
    now[0] += 31
    with guard.Guard("one"):
        raise ValueError("payload")
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["one", "other", "one"]
    assert "payload" not in caplog.text


def test_a_handler_of_the_app_that_raises_does_no_harm() -> None:
    class Broken(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise RuntimeError("handler")

    handler = Broken()
    logging.getLogger("davy").addHandler(handler)
    try:
        start(Store())
        assert davy.capture("m:1", {"x": object()}, {})
    finally:
        logging.getLogger("davy").removeHandler(handler)


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit])
def test_what_is_meant_for_the_app_passes_the_guard(error: type[BaseException]) -> None:
    with pytest.raises(error), guard.Guard("test"):
        raise error
