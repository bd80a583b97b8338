"""Models under watch are given to pools of processes like plain ones, and what they answer there is captured."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.pooled import Model, renamed
from support.sdk_rig import inferences_in

import davy


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_methods_and_functions_under_watch_go_to_other_processes(
    start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}"
    monkeypatch.setenv("DAVY_URL", url)
    context: Any = multiprocessing.get_context(start)
    model = davy.watch(Model(), "object:1")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        assert pool.submit(model.predict, 1.0).result() == {"value": 2.0}
        assert pool.submit(renamed, 1.0).result() == 2.0
    with context.Pool(1) as processes:
        assert processes.map(model.predict, [2.0, 3.0]) == [{"value": 4.0}, {"value": 6.0}]
        processes.close()
        processes.join()
    assert Counter(one.model for one in inferences_in(url)) == {"object:1": 3, "function:1": 1}
