"""`davy.testing.capturing`: whatever captures is captured, in memory, and everything is as it was afterwards."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.sdk_rig import inferences_in, nothing_is_swallowed, own_client

import davy
import davy.testing
from davy.errors import SettingError
from davy.event import BlobRef, Inference
from davy.integrations.starlette import DavyMiddleware
from davy.sdk.home import HOME
from davy.testing import capturing

__all__ = ["nothing_is_swallowed", "own_client"]

pytestmark = pytest.mark.fast


def xs(captured: davy.testing.Captured) -> list[object]:
    return [one.inputs["x"] for one in captured.inferences]


def test_the_issue_reads_as_it_was_written() -> None:
    app = davy.watch(lambda x: {"value": 2 * x}, "double:1")
    with capturing() as captured:
        app(x=1)
        assert captured.inferences[0].inputs["x"] == 1
    assert captured.inferences[0].outputs["value"] == 2
    assert captured.problems == {}


def test_inferences_of_many_models_and_shapes_stay_in_their_order() -> None:
    with capturing() as captured:
        for number in range(500):
            fields = {"x": number} | ({"y": "text"} if number % 3 else {"z": [1.0, 2.0]})
            davy.capture(f"m:{number % 7}", fields, {"value": float(number)})
    assert xs(captured) == list(range(500))


def test_feedback_names_its_inference() -> None:
    with capturing() as captured:
        id = davy.capture("m:1", {"x": 1}, {"label": "a"})
        davy.feedback(id, "b", kind="override")
        (told,) = captured.feedback
    assert (told.id.hex(), told.truth, told.kind) == (id, "b", "override")


def test_a_large_value_is_a_payload_to_look_up() -> None:
    picture = np.arange(200_000, dtype=np.uint16)
    with capturing() as captured:
        davy.capture("m:1", {"x": picture}, {})
    (field,) = xs(captured)
    assert isinstance(field, BlobRef)
    assert captured.blobs[field.hash].endswith(picture.tobytes())
    assert captured.problems == {}


def test_a_batch_a_method_and_an_async_function_are_captured() -> None:
    class Model:
        def predict(self, x: np.ndarray) -> np.ndarray:
            return x.sum(axis=1)

    @davy.watch(model="async:1")
    async def answer(x: int) -> int:
        return x + 1

    with capturing() as captured:
        davy.watch(Model(), "rows:1", batched=True).predict(x=np.ones((3, 2)))
        assert asyncio.run(answer(7)) == 8
    assert [one.model for one in captured.inferences] == ["rows:1"] * 3 + ["async:1"]


def test_what_a_middleware_gives_an_id_is_captured_with_it() -> None:
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    app = FastAPI()
    app.add_middleware(DavyMiddleware)

    @app.post("/double")
    @davy.watch(model="double:1")
    def double(x: int) -> dict[str, int]:
        return {"value": 2 * x}

    with capturing() as captured, TestClient(app) as client:
        told = client.post("/double", params={"x": 4}).headers["X-Davy-Id"]
    (found,) = captured.inferences
    assert (found.id.hex(), found.inputs["x"], found.tags["route"]) == (told, 4, "/double")


def test_a_shadow_is_waited_for() -> None:
    go_on = threading.Event()

    def slow(x: int) -> dict[str, int]:
        go_on.wait(10)
        return {"value": 3 * x}

    watched = davy.watch(lambda x: {"value": 2 * x}, "double:1", shadow={"triple:1": slow})
    with capturing() as captured:
        watched(x=2)
        go_on.set()
        (found,) = captured.inferences
    assert found.alternatives == {"triple:1": {"value": 6}}


def test_threads_and_tasks_are_captured_by_the_block_around_them() -> None:
    async def task(number: int) -> None:
        await asyncio.sleep(0)
        davy.capture("m:1", {"x": number}, {})

    async def tasks() -> None:
        await asyncio.gather(*(task(number) for number in range(100, 200)))

    with capturing() as captured, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: davy.capture("m:1", {"x": number}, {}), range(100)))
        asyncio.run(tasks())
        pool.submit(lambda: xs(captured)).result()
    assert sorted(xs(captured)) == list(range(200))


def test_blocks_nest_and_what_was_there_before_is_back(own_client: str) -> None:
    davy.capture("m:1", {"x": "before"}, {})
    before = HOME.client
    with capturing() as outer:
        davy.capture("m:1", {"x": "outer"}, {})
        with capturing() as inner:
            davy.capture("m:1", {"x": "inner"}, {})
            assert xs(outer) == ["outer"]
            assert xs(inner) == ["inner"]
        davy.capture("m:1", {"x": "outer again"}, {})
    assert HOME.client is before
    davy.capture("m:1", {"x": "after"}, {})
    assert davy.flush()
    assert (xs(outer), xs(inner)) == (["outer", "outer again"], ["inner"])
    assert [one.inputs["x"] for one in inferences_in(own_client)] == ["before", "after"]


def test_blocks_may_end_in_any_order() -> None:
    with ExitStack() as one, ExitStack() as other:
        first, second = one.enter_context(capturing()), other.enter_context(capturing())
        davy.capture("m:1", {"x": 1}, {})
        one.close()
        davy.capture("m:1", {"x": 2}, {})
    assert HOME.client is None
    assert (xs(first), xs(second)) == ([], [1, 2])


def test_an_exception_of_the_test_passes_and_ends_the_block() -> None:
    captured = capturing()

    def a_test() -> None:
        with captured:
            davy.capture("m:1", {"x": 1}, {})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        a_test()
    assert HOME.client is None
    assert xs(captured) == [1]


def test_the_app_may_configure_davy_before_the_block_or_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scrubbed(inference: Inference) -> Inference:
        return replace(inference, inputs={**inference.inputs, "name": "?"})

    monkeypatch.chdir(tmp_path)
    (tmp_path / "davy.toml").write_text('[sdk]\nfields = "inputs.secret_plan=drop"\nsample_rate = 0.0\n')
    davy.init("memory://before", before_capture=scrubbed)
    with capturing() as captured:
        davy.capture("m:1", {"x": 1, "name": "Ann", "secret_plan": "none"}, {})
        davy.init("http://127.0.0.1:9", sample_rate=0.0, spool=str(tmp_path / "spool"))
        davy.capture("m:1", {"x": 2, "name": "Bob", "secret_plan": "none"}, {})
    assert [one.inputs for one in captured.inferences] == [{"x": 1, "name": "?"}, {"x": 2, "name": "Bob"}]
    assert not (tmp_path / "spool").exists()


def test_a_sampling_rate_is_the_tests_own() -> None:
    with capturing(sample_rate=0.0) as captured:
        davy.capture("m:1", {"x": 1}, {})
    assert captured.inferences == []


@pytest.mark.swallows
def test_what_goes_wrong_is_said_with_its_exception() -> None:
    with capturing() as captured:
        davy.capture("no version", {"x": 1}, {})
        davy.capture("m:1", {"x": 1, "y": object()}, {})
        davy.feedback(None, 1)
        assert davy.watch(7, "m:1") == 7
        davy.shutdown()
        davy.capture("m:1", {"x": 2}, {})
    assert captured.problems == {
        "dropped: invalid_model": 1,
        "dropped: shutdown": 1,
        "feedback dropped: no_id": 1,
        "left_out: m:1 inputs.y: type": 1,
        "not_watchable": 1,
    }
    assert [type(error).__name__ for error in captured.errors] == ["InvalidModel"]


def test_a_shadow_that_never_answers_is_said_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("davy.testing._captured._SECONDS", 0.05)
    go_on = threading.Event()
    watched = davy.watch(lambda x: x, "m:1", shadow=lambda x: go_on.wait(30))
    with pytest.raises(TimeoutError, match="shadow"), capturing():
        watched(1)
    assert HOME.client is None
    go_on.set()
    assert davy.flush()


@pytest.mark.parametrize(
    "setting", [{"url": "x"}, {"spool": "x"}, {"sdk.spool": "x"}, {"sample_rate": 2}, {"n": 1}]
)
def test_a_wrong_setting_is_refused_and_nothing_is_changed(setting: dict[str, object]) -> None:
    with pytest.raises(SettingError, match=next(iter(setting))), capturing(**setting):
        pass
    assert HOME.client is None
    davy.capture("m:1", {"x": 1}, {})
    assert davy.flush()


def test_no_thread_no_file_and_no_connection_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        pytest.fail("a socket was opened")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAVY_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("DAVY_SDK_SPOOL", str(tmp_path / "spool"))
    monkeypatch.setattr(socket.socket, "connect", refused)
    before, files = set(threading.enumerate()), len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with capturing() as captured:
            davy.capture("m:1", {"x": np.zeros(200_000)}, {})
            assert len(captured.blobs) == 1
    assert set(threading.enumerate()) == before
    assert len(list(Path("/proc/self/fd").iterdir())) == files
    assert list(tmp_path.iterdir()) == []


def test_it_needs_no_more_than_the_sdk_does() -> None:
    code = (
        "import sys; import davy.testing; found = {name.partition('.')[0] for name in sys.modules};"
        "print(sorted(found & {'prometheus_client', 'scipy', 'rich', 'httpx', 'typer', 'pyarrow'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_blocks_of_several_threads_account_for_everything_between_them() -> None:
    begin = threading.Barrier(4)

    def one(_: int) -> int:
        begin.wait(10)
        with capturing() as captured:
            for number in range(50):
                davy.capture("m:1", {"x": number}, {})
        # Another thread's block may end between the moment a capture begins there and the moment it is queued.
        return len(captured.inferences) + captured.problems.get("dropped: shutdown", 0)

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(one, range(4))) == 200
    assert HOME.client is None
