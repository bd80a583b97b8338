"""What is captured of calls as teams write them is watched under the names one expects, and a shift has that name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.sdk_rig import envelopes_in
from torch import nn

import davy
from davy.config import DetectSettings
from davy.event import Envelope
from davy_detectors.batch import Batch
from davy_detectors.checks import watch
from davy_detectors.drift import ScoreDictionaryDetector
from davy_detectors.reference import Reference

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
ROWS, SETTINGS = 1_024, DetectSettings()
ANSWER = {"outputs.confidence", "outputs.entropy", "outputs.label"}
SCORERS = {"entropy", "margin", "msp"}
Serve = Callable[[torch.Tensor], Any]


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


def in_batches(call: Callable[[torch.Tensor], Any]) -> Serve:
    return lambda rows: [call(batch) for batch in rows.split(64)]


def one_by_one(call: Callable[[torch.Tensor], Any]) -> Serve:
    return lambda rows: [call(row) for row in rows]


def alone(module: Callable[[torch.Tensor], Any]) -> Serve:
    return one_by_one(lambda row: module(row[None]))


def batches_as(make: Callable[[torch.Tensor], Any], module: Any) -> Serve:
    return in_batches(lambda rows: module(make(rows)))


class Named(nn.Module):
    """Takes a mapping and answers with one, with things beside that belong to no row."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = net()

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, Any]:
        logits = self.inner(batch["x"])
        return {
            "logits": logits,
            "aux": {"risk": logits.sum(1)},
            "loss": logits.mean(),
            "hidden_states": (logits,),
        }


def softmax_of(module: nn.Module) -> Callable[[torch.Tensor], Any]:
    return lambda x: module(x[None]).softmax(1).detach()


CASES: dict[str, tuple[Callable[[str], Serve], str, set[str]]] = {
    "compiled": (
        lambda model: in_batches(davy.watch(torch.compile(net(), backend="eager"), model, output="logits")),
        "input", ANSWER,
    ),
    "DataParallel": (
        lambda model: in_batches(davy.watch(nn.DataParallel(net()), model, output="logits")), "input", ANSWER,
    ),
    "scripted": (
        lambda model: in_batches(davy.watch(torch.jit.script(net()), model, output="logits")), "input", ANSWER,
    ),
    "bfloat16": (
        lambda model: batches_as(
            torch.Tensor.bfloat16, davy.watch(nn.Sequential(net(), nn.Softmax(1)).bfloat16(), model)
        ),
        "input", ANSWER,
    ),
    "one request": (lambda model: one_by_one(davy.watch(softmax_of(net()), model)), "x", ANSWER),
    "one row": (lambda model: alone(davy.watch(net(), model, output="logits")), "input", ANSWER),
    "named": (
        lambda model: batches_as(lambda rows: {"x": rows}, davy.watch(Named(), model)), "x",
        {*ANSWER, "outputs.aux.risk"},
    ),
}  # fmt: skip


def batch(envelopes: list[Envelope]) -> Batch:
    found = Batch.concat([Batch.of(envelope) for envelope in envelopes])
    assert len(found) == ROWS
    return found


@pytest.mark.parametrize("case", CASES)
def test_the_fields_one_expects_are_watched_and_a_shift_is_named(case: str, own_client: str) -> None:
    make, name, answer = CASES[case]
    davy.init(own_client, queue_items=100_000)
    serve, seen = make("net:1"), torch.Generator().manual_seed(1)
    shifted = torch.randn(ROWS, 4, generator=seen)
    shifted[:, 2] += 1.5
    with torch.inference_mode():
        serve(torch.randn(ROWS, 4, generator=seen))
        assert davy.flush(20.0)
        before = envelopes_in(own_client)
        serve(shifted)
    assert davy.flush(20.0)
    normal, live = before, envelopes_in(own_client)[len(before) :]
    reference = Reference.fit("net:1", batch(normal), settings=SETTINGS)
    assert set(reference.streams) == {f"inputs.{name}[{i}]" for i in range(4)} | answer
    assert set(reference.scorers) >= SCORERS
    alarms = watch(ScoreDictionaryDetector(reference, SETTINGS), batch(live), [64])
    assert f"inputs.{name}[2]" in {each.feature for alarm in alarms for each in alarm.features}
