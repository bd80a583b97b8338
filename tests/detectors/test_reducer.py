"""How often the testing half looks, and what it asks of the store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.streams import MODEL, envelopes, give_reference, make_runtime, pass_time, rows, send

from davy.codec import load_any
from davy.config import DetectSettings
from davy.runtime import Runtime
from davy.store import Store
from davy_detectors.stream import coordinator
from davy_detectors.stream.role import DetectTarget

pytestmark = pytest.mark.fast


class Counted:
    """A store that remembers what it was asked for."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.asked: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)

        def ask(*arguments: Any, **more: Any) -> Any:
            self.asked.append((name, arguments))
            return found(*arguments, **more)

        return ask


def counted_events(runtime: Runtime, model: str = MODEL) -> int:
    """Return how many inferences of a model the testing half has taken in."""
    return int(load_any(runtime.store.get("detect", model) or b"")["events"])


def asked_when_idle(folder: Path, models: int) -> int:
    """Return how often a process asks the store in ten turns, two seconds apart, in which nothing comes."""
    runtime = make_runtime("memory", folder, DetectSettings())
    names = [f"risk:{number}" for number in range(models)]
    for number, model in enumerate(names):
        give_reference(runtime, model=model)
        send(runtime, list(envelopes(rows(200, 7), [200], model=model, first=200 * number)), model=model)
    store = Counted(runtime.store)
    target = DetectTarget(replace(runtime, store=store))  # type: ignore[arg-type]
    target.counting.drain()
    pass_time(runtime, 20.0)
    target.testing.turn()
    assert [counted_events(runtime, model) for model in names] == [200] * models
    store.asked.clear()
    for _ in range(10):
        pass_time(runtime, 2.0)
        target.testing.turn()
    asked = len(store.asked)
    target.close()
    return asked


def test_what_detection_asks_of_the_store_when_nothing_comes_does_not_grow_with_the_models(
    tmp_path: Path,
) -> None:
    assert asked_when_idle(tmp_path / "few", 2) == asked_when_idle(tmp_path / "many", 20) > 0


def test_a_new_partial_aggregate_is_taken_in_whatever_came_before(tmp_path: Path) -> None:
    memory = make_runtime("memory", tmp_path, DetectSettings())
    target = DetectTarget(memory)
    for turn in range(4):
        send(memory, list(envelopes(rows(100, turn), [50], first=100 * turn)))
        target.counting.drain()
        pass_time(memory, 20.0)
        target.testing.turn()
        assert counted_events(memory) == 100 * (turn + 1)
        assert memory.store.count(f"partials/{MODEL}") == 0
    target.close()


def test_testing_takes_half_of_the_time_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, turns = [100.0], list[float]()
    target = DetectTarget(make_runtime("memory", tmp_path, DetectSettings()))

    def turn(patience: float) -> None:
        turns.append(now[0])
        now[0] += patience + 1.0  # a look cannot be left half done

    monkeypatch.setattr(coordinator.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(target.testing, "turn", turn)
    while now[0] < 130.0:
        target.testing.step()
        now[0] += 0.5
    monkeypatch.undo()
    target.close()
    assert turns == [100.0, 106.0, 112.0, 118.0, 124.0]
