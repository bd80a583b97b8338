"""The caller never waits, memory stays bounded, and what is captured is what the caller saw."""

from __future__ import annotations

import socket
import threading
import time
import tracemalloc

import numpy as np
import pytest
from support.sdk_rig import ALWAYS_IN, Store, balanced, http_server, refuse, start, stuck

import davy
from davy.sdk.http_sink import HttpSink

pytestmark = pytest.mark.alone
FEATURES = {f"f{number}": float(number) for number in range(30)}


def percentile_of_captures(count: int, share: float) -> float:
    took = np.empty(count)
    for number in range(count):
        begun = time.perf_counter()
        davy.capture("m:1", FEATURES, {"value": 0.5})
        took[number] = time.perf_counter() - begun
    return float(np.quantile(took, share))


def test_captures_stay_fast_while_the_sink_never_answers() -> None:
    with stuck() as sink:
        start(sink, exit_seconds=0.0)
        assert percentile_of_captures(20_000, 0.99) < 0.001
        assert davy.stats()["thinned"] > 0
        davy.shutdown()


def test_captures_stay_fast_while_the_sink_refuses() -> None:
    start(Store(refuse), exit_seconds=0.0)
    assert percentile_of_captures(20_000, 0.99) < 0.001


@pytest.mark.parametrize("listening", [True, False], ids=["silent", "refused"])
def test_captures_stay_fast_while_the_gateway_is_gone(listening: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if not listening:
            server.close()
        davy.init(f"http://127.0.0.1:{port}", exit_seconds=0.0)
        assert percentile_of_captures(20_000, 0.99) < 0.001
        davy.shutdown()


def test_the_queue_is_bounded_in_inferences() -> None:
    with stuck() as sink:
        start(sink, queue_items=100, exit_seconds=0.0)
        for _ in range(1_000):
            davy.capture("m:1", FEATURES, {}, id=ALWAYS_IN)
        stats = davy.stats()
        assert (stats["depth"], stats["dropped"]) == (100, {"queue_full": 900})
        davy.shutdown()
        assert balanced(davy.stats())


def test_the_queue_is_bounded_in_bytes() -> None:
    with stuck() as sink:
        start(sink, queue_bytes=10_000, exit_seconds=0.0)
        for _ in range(1_000):
            davy.capture("m:1", {"x": np.zeros(100)}, {}, id=ALWAYS_IN)
        stats = davy.stats()
        assert stats["depth_bytes"] <= 10_000
        assert stats["depth"] == 10_000 // 840
        assert stats["dropped"] == {"bytes_full": 1_000 - stats["depth"]}
        davy.shutdown()


@pytest.mark.swallows
def test_memory_does_not_grow_once_the_queue_is_full() -> None:
    with stuck() as sink:
        start(sink, queue_items=1_000, exit_seconds=0.0)
        davy.capture("bad model", FEATURES, {})  # under overload most of these are thinned out unseen
        for _ in range(2_000):
            davy.capture("m:1", FEATURES, {})
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for number in range(20_000):
                davy.capture("m:1", FEATURES, {})
                davy.capture(f"bad model {number}", FEATURES, {}) if number % 100 == 0 else None
            assert tracemalloc.get_traced_memory()[0] - before < 300_000
        finally:
            tracemalloc.stop()
        davy.shutdown()


def test_memory_does_not_grow_with_ever_new_models_and_fields() -> None:
    start(Store(refuse), queue_items=10, exit_seconds=0.0)

    def many(first: int) -> None:
        for number in range(first, first + 3_000):
            davy.capture(f"m:{number}", {f"x{number}": 1.0}, {})

    many(0)
    tracemalloc.start()
    try:
        many(3_000)
        before = tracemalloc.get_traced_memory()[0]
        many(6_000)
        assert tracemalloc.get_traced_memory()[0] - before < 2_000_000
    finally:
        tracemalloc.stop()


def test_an_array_may_change_right_after_it_was_captured() -> None:
    sink = Store()
    start(sink, flush_seconds=60.0)
    single, batch, nested = np.arange(3.0), np.arange(6.0).reshape(3, 2), {"a": [1, 2]}
    davy.capture("m:1", {"x": single, "n": nested}, {"value": single[:1]})
    davy.watch(lambda x: x[:, 0], "m:2", batched=True)(batch)
    single[:], batch[:] = -1, -1
    nested["a"].append(3)
    davy.flush()
    first, *rest = sink.inferences
    assert first.inputs["x"].tolist() == [0, 1, 2]
    assert first.inputs["n.a"].tolist() == [1, 2]
    assert first.outputs["value"].tolist() == [0]
    assert [one.inputs["x"].tolist() for one in rest] == [[0, 1], [2, 3], [4, 5]]


def test_everything_captured_is_sent_or_counted_whatever_the_gateway_answers() -> None:
    rng = np.random.default_rng(1)
    answers = [(int(status), {}) for status in rng.choice([202, 500, 503, 400, 429], 60)]
    with http_server(*answers) as server:
        url = server.url

        class Gateway:
            def open(self) -> HttpSink:
                return HttpSink(url)

        start(Gateway(), envelope_rows=10, queue_items=500, exit_seconds=5.0)
        threads = [
            threading.Thread(target=lambda: [davy.capture("m:1", FEATURES, {}) for _ in range(500)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        davy.flush(20)
        davy.shutdown()
    stats = davy.stats()
    assert stats["captured"] + stats["thinned"] == 2_000
    assert (balanced(stats), stats["depth"]) == (True, 0)
    assert stats["sent"] > 0
    assert stats["dropped"]["refused"] > 0
    assert stats["retries"] > 0
