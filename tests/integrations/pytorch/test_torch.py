"""PyTorch: the module stays what it was, and its calls are captured."""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch
from support.sdk_rig import Store, inferences_in, start
from torch import nn

import davy

torch.set_num_threads(1)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 5)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.fc2 = nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.drop(self.relu(self.fc1(x))))


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(1), requires_grad=True)


def test_the_module_stays_the_module(net: Net, x: torch.Tensor) -> None:
    before = set(net.state_dict())
    watched = davy.watch(net, "net:1", embedding="fc1")
    assert watched is net
    assert isinstance(watched, Net)
    assert set(net.state_dict()) == before
    answer = watched(x)
    assert answer.requires_grad
    answer.sum().backward()
    assert net.fc1.weight.grad is not None
    assert nn.Sequential(net, nn.Softmax(1))(x).shape == (6, 3)
    assert net.train().training
    twin = Net()
    twin.load_state_dict(net.state_dict())


def test_tensors_with_gradients_are_captured_by_row_with_the_layer_as_embedding(
    net: Net, x: torch.Tensor, own_client: str
) -> None:
    answer = davy.watch(net, "net:1", embedding="fc1", output="logits")(x)
    davy.flush()
    found = inferences_in(own_client)
    np.testing.assert_array_equal([one.inputs["x"] for one in found], x.detach())
    np.testing.assert_array_equal([one.outputs["logits"] for one in found], answer.detach())
    hidden = net.fc1(x).detach()
    assert (hidden < 0).any(), "the layer after it works in place"
    np.testing.assert_array_equal([one.embedding for one in found], hidden)
    assert all(one.latency_ms is not None and one.latency_ms > 0 for one in found)


def test_members_answer_as_alternatives_and_are_not_captured_themselves(
    net: Net, x: torch.Tensor, own_client: str
) -> None:
    torch.manual_seed(1)
    other, dropout = Net().eval(), copy.deepcopy(net).train()
    davy.watch(other, "other:1")
    davy.watch(net, "net:1", output="logits", members={"net:2": other, "net:1-dropout": dropout})(x)
    davy.flush()
    found = inferences_in(own_client)
    assert {one.model for one in found} == {"net:1"} | {"other:1"}
    own = [one for one in found if one.model == "net:1"]
    expected = Net.forward(other, x).detach()
    np.testing.assert_array_equal([one.alternatives["net:2"]["logits"] for one in own], expected)
    assert own[0].alternatives.keys() == {"net:2", "net:1-dropout"}


@pytest.mark.parametrize("copied", [False, True])
def test_a_hook_that_is_registered_later_and_replaces_the_answer_is_captured(
    copied: bool, net: Net, x: torch.Tensor, own_client: str
) -> None:
    watched: Any = davy.watch(net, "net:1")
    watched.register_forward_hook(lambda module, args, result: result * 0 + 1)
    watched = copy.deepcopy(watched) if copied else watched
    for _ in range(2):
        assert (watched(x[:1]) == 1).all()
    watched.register_forward_hook(lambda module, args, result: result + 1)
    watched(x[:1])
    values = [one.outputs["value"].tolist() for one in inferences_in(own_client)] if davy.flush() else []
    assert [set(value) for value in values] == [{1.0}, {1.0}, {2.0}]


def test_members_in_a_list_are_numbered(net: Net, x: torch.Tensor, own_client: str) -> None:
    davy.watch(net, "net:1", members=[net, copy.deepcopy(net)])(x)
    davy.flush()
    found = inferences_in(own_client)
    assert len(found) == 6, "a member that is the module itself is not captured again"
    assert set(found[0].alternatives) == {"net:1-member-1", "net:1-member-2"}


@pytest.mark.swallows
def test_a_member_that_fails_is_counted_and_the_rest_captured(net: Net, x: torch.Tensor) -> None:
    davy.watch(net, "net:1", members=[nn.Linear(9, 9)])(x)
    assert (davy.stats()["captured"], davy.stats()["integration_failed"]) == (6, 1)


def test_one_sample_without_a_batch_is_one_inference(net: Net, x: torch.Tensor, own_client: str) -> None:
    davy.watch(net, "net:1", embedding="fc1")(x[0])
    davy.flush()
    (one,) = inferences_in(own_client)
    assert (one.inputs["x"].shape, one.outputs["value"].shape, one.embedding.shape) == ((4,), (3,), (5,))


def saved(net: Net) -> Any:
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net)), saved])
def test_a_copied_or_saved_module_is_watched_as_well(
    duplicate: Any, net: Net, x: torch.Tensor, own_client: str
) -> None:
    again = duplicate(davy.watch(net, "net:1", embedding="fc1"))
    assert again is not net
    again(x)
    davy.flush()
    found = inferences_in(own_client)
    assert len(found) == 6
    assert found[0].embedding is not None


def test_watched_twice_under_one_name_is_captured_once(net: Net, x: torch.Tensor) -> None:
    davy.watch(davy.watch(net, "net:1", embedding="fc1"), "net:1", embedding="fc2")(x)
    assert davy.stats()["captured"] == 6
    assert len(net.fc1._forward_hooks) == 0


@pytest.fixture
def compiler() -> Iterator[Any]:
    torch._dynamo.reset()
    yield lambda module, **how: torch.compile(module, backend="eager", **how)
    torch._dynamo.reset()


def test_a_module_compiled_before_or_after_is_captured(
    net: Net, x: torch.Tensor, compiler: Any, own_client: str
) -> None:
    after = compiler(davy.watch(net, "net:1"))
    np.testing.assert_array_equal(after(x).detach(), net.forward(x).detach())
    after(x)
    before = davy.watch(compiler(Net().eval(), fullgraph=True), "net:2")
    before(x)
    assert isinstance(before, torch._dynamo.OptimizedModule)
    assert before.state_dict().keys() == {f"_orig_mod.{name}" for name in net.state_dict()}
    davy.flush()
    models = [one.model for one in inferences_in(own_client)]
    assert (models.count("net:1"), models.count("net:2")) == (12, 6)


def test_a_graph_compiled_whole_works_and_is_said_to_be_unseen(
    net: Net, x: torch.Tensor, compiler: Any
) -> None:
    expected = net(x)
    whole = compiler(davy.watch(net, "net:1"), fullgraph=True)
    np.testing.assert_array_equal(whole(x).detach(), expected.detach())
    assert davy.stats()["captured"] == 0
    assert davy.stats()["integration_failed"] == 1


@pytest.mark.parametrize(
    "export",
    [
        lambda net, x: torch.export.export(net, (x,)),
        pytest.param(
            lambda net, x: torch.jit.trace(net, x, check_trace=False),
            marks=pytest.mark.filterwarnings("error::torch.jit.TracerWarning"),
        ),
        lambda net, x: torch.fx.symbolic_trace(net),
        lambda net, x: copy.deepcopy(net).to("meta")(x.to("meta")),
    ],
    ids=["export", "trace", "fx", "meta"],
)
def test_exporting_captures_nothing_and_counts_no_failure(export: Any, net: Net, x: torch.Tensor) -> None:
    export(davy.watch(net, "net:1", embedding="fc1"), x.detach())
    stats = davy.stats()
    assert (stats["captured"], stats["integration_failed"]) == (0, 0)


def test_calls_at_once_keep_their_own_embedding(net: Net, own_client: str) -> None:
    """Eight threads meet inside the module, between the layer and the answer."""
    meeting = Barrier(8)

    def meet(*_: Any) -> None:
        meeting.wait(10)

    net.relu.register_forward_hook(meet)
    davy.watch(net, "net:1", embedding="fc1")
    xs = torch.eye(8, 4)
    with ThreadPoolExecutor(8) as pool, torch.no_grad():
        list(pool.map(net, xs))
    davy.flush()
    found = inferences_in(own_client)
    assert len(found) == 8
    for one in found:
        expected = net.fc1(torch.from_numpy(one.inputs["x"].copy())).detach()
        np.testing.assert_array_equal(one.embedding, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_every_kind_of_float_travels(dtype: torch.dtype, x: torch.Tensor, own_client: str) -> None:
    answer = davy.watch(nn.Linear(4, 2).to(dtype), "net:1")(x.to(dtype))
    davy.flush()
    found = inferences_in(own_client)
    np.testing.assert_array_equal([one.outputs["value"] for one in found], answer.detach().double())


def test_answers_with_names_keep_them_and_detections_stay_together(own_client: str) -> None:
    class Named(nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"logits": x @ x.T, "embedding": x, "loss": x.sum()}

    class Detector(nn.Module):
        def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
            return [{"boxes": torch.zeros(i, 4), "scores": torch.ones(i)} for i in range(len(images))]

    davy.watch(Named(), "named:1")(torch.eye(3))
    davy.watch(Detector(), "boxes:1")([torch.zeros(3, 8, 8), torch.zeros(3, 4, 6)])
    davy.flush()
    found = inferences_in(own_client)
    assert [set(one.outputs) for one in found[:3]] == [{"logits"}] * 3
    np.testing.assert_array_equal([one.embedding for one in found[:3]], np.eye(3))
    assert [one.outputs["boxes"].shape for one in found[3:]] == [(0, 4), (1, 4)]
    assert [one.inputs["images"].shape for one in found[3:]] == [(3, 8, 8), (3, 4, 6)]


def test_what_the_module_raises_passes(net: Net, x: torch.Tensor) -> None:
    watched = davy.watch(net, "net:1")
    with pytest.raises(RuntimeError):
        watched(x[:, :2])
    watched(x)
    assert davy.stats()["captured"] == 6


@pytest.mark.swallows
def test_a_layer_that_does_not_exist_leaves_the_module_watched_as_any_object(
    net: Net, x: torch.Tensor
) -> None:
    watched = davy.watch(net, "net:1", embedding="fc9")
    assert isinstance(watched, Net)
    assert watched(x).shape == (6, 3)
    assert davy.stats()["integration_failed"] >= 1


def test_sampling_holds_for_modules(net: Net, x: torch.Tensor) -> None:
    start(Store(), sample_rate=0.0)
    davy.watch(net, "net:1")(x)
    assert davy.stats()["sampled_out"] == 6
    assert davy.stats()["captured"] == 0


def test_a_shadow_answers_beside_the_module_and_the_embedding_stays(
    own_client: str, net: Net, x: torch.Tensor
) -> None:
    torch.manual_seed(3)
    other = Net().eval()
    watched = davy.watch(net, "net:1", embedding="fc1", output="logits", shadow={"net:2": other})
    answer = watched(x)
    assert davy.flush()
    found = inferences_in(own_client)
    with torch.no_grad():
        expected, embedding = other(x).numpy(), net.fc1(x).numpy()
    np.testing.assert_array_equal([one.outputs["logits"] for one in found], answer.detach().numpy())
    np.testing.assert_allclose([one.alternatives["net:2"]["logits"] for one in found], expected, rtol=1e-5)
    np.testing.assert_allclose([one.embedding for one in found], embedding, rtol=1e-5)
    assert other.fc1.weight.grad is None


def test_watching_a_module_does_not_import_the_compiler() -> None:
    code = """
import subprocess
import sys, torch, davy
davy.watch(torch.nn.Linear(4, 3), "net:1")(torch.ones(2, 4))
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
