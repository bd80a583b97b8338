"""Methods of a module beside `forward`: one inference a call that the app makes, whatever it does inside."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from support.sdk_rig import inferences_in

import davy
from davy.sdk.home import HOME


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Linear(8, 4)
        self.head = torch.nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))

    @torch.no_grad()
    def predict(self, x: torch.Tensor) -> torch.Tensor:
        return self(x).softmax(-1)

    def predict_proba(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x)).softmax(-1)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


class Inside(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Linear(8, 4)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.encode(x).sum(-1)


def names(url: str) -> list[tuple[Any, bool]]:
    davy.flush()
    return [([*one.outputs], one.embedding is not None) for one in inferences_in(url)]


def test_each_call_of_the_app_is_one_inference(own_client: str) -> None:
    net = davy.watch(Net().eval(), "net:1")
    x = torch.randn(2, 8)
    assert torch.equal(net.predict(x), net.predict_proba(x))
    net(x)
    net.encode(x)
    assert names(own_client) == [(["probs"], False)] * 4 + [(["value"], False)] * 2 + [([], True)] * 2
    assert all([*one.inputs] == ["x"] for one in inferences_in(own_client))


def test_a_call_that_fails_leaves_nothing_behind(own_client: str) -> None:
    net = davy.watch(Net().eval(), "net:1")
    with pytest.raises(RuntimeError):
        net.predict(torch.randn(2, 5))
    net(torch.randn(1, 8))
    net.predict(torch.randn(1, 8))
    assert len(names(own_client)) == 2


def test_copies_and_pickles_are_captured_and_states_are_the_same(own_client: str) -> None:
    plain = Net().eval()
    net = davy.watch(copy.deepcopy(plain), "net:1")
    assert net.state_dict().keys() == plain.state_dict().keys()
    copied = copy.deepcopy(net)
    saved = io.BytesIO()
    torch.save(net, saved)
    saved.seek(0)
    loaded = torch.load(saved, weights_only=False)
    with torch.no_grad():
        copied.head.bias += 1
        loaded.head.bias += 2
    x = torch.randn(1, 8)
    answers = [each.predict_proba(x) for each in (net, copied, loaded)]
    for each, answer in zip((net, copied, loaded), answers, strict=True):
        assert torch.equal(answer, each.head(each.body(x)).softmax(-1))
    assert len(names(own_client)) == 3


@pytest.mark.parametrize("kind", [Net, Inside])
def test_scripts_and_compiled_modules_answer_as_before(kind: Any, own_client: str) -> None:
    plain = kind().eval()
    net = davy.watch(copy.deepcopy(plain), "net:1")
    x = torch.randn(2, 8)
    assert torch.equal(torch.jit.script(net)(x), plain(x))
    assert torch.allclose(torch.compile(net, backend="eager", fullgraph=False)(x), plain(x))
    assert len(names(own_client)) == 4


def test_what_forward_goes_through_is_said_and_forward_is_captured_once(own_client: str) -> None:
    net = davy.watch(Inside(), "net:1")
    assert HOME.integration_failed == 1
    net(torch.randn(2, 8))
    net.encode(torch.randn(2, 8))
    assert len(names(own_client)) == 2
