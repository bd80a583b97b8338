"""PyTorch as teams serve it: whatever wraps, compiles or scripts a module, its whole inference is captured."""

from __future__ import annotations

import copy
import functools
import io
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.sdk_rig import inferences_in
from torch import nn

import davy
from davy.event import Inference

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
X = torch.randn(16, 4, generator=torch.Generator().manual_seed(1))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        return self.head(self.body(x).relu()) * scale


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(autouse=True)
def compiler() -> Iterator[None]:
    yield
    torch._dynamo.reset()


def captured(url: str) -> list[Inference]:
    assert davy.flush()
    return inferences_in(url)


def loaded(net: nn.Module) -> Any:
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(net), file)
    file.seek(0)
    return torch.jit.load(file)


def decorated(net: nn.Module) -> nn.Module:
    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = net

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return self.inner(*args, **kwargs)

    return Wrapper().eval()


WRAPPED: dict[str, Callable[[Net], Any]] = {
    "itself": lambda net: net,
    "compiled, eager": functools.partial(torch.compile, backend="eager"),
    "compiled, aot_eager": functools.partial(torch.compile, backend="aot_eager"),
    "compiled whole": functools.partial(torch.compile, backend="eager", fullgraph=True),
    "DataParallel": nn.DataParallel,
    "AveragedModel": torch.optim.swa_utils.AveragedModel,
    "DataParallel, compiled": lambda net: torch.compile(nn.DataParallel(net), backend="eager"),
    "forward(*args, **kwargs)": decorated,
    "traced": lambda net: torch.jit.trace(net, X),
    "scripted": torch.jit.script,
    "scripted, saved and loaded": loaded,
    "exported": lambda net: torch.export.export(net, (X,)).module(),
    "fx": torch.fx.symbolic_trace,
}


@pytest.mark.parametrize("wrapper", WRAPPED)
@pytest.mark.parametrize("gradients", [True, False])
def test_inputs_and_rows_are_captured_whatever_is_around_the_module(
    wrapper: str, gradients: bool, net: Net, own_client: str
) -> None:
    expected = net(X).detach()
    wrapped = WRAPPED[wrapper](net)
    watched = davy.watch(wrapped, "net:1", output="logits")
    assert watched is wrapped
    with torch.set_grad_enabled(gradients):
        answer = watched(X)
        if wrapper != "exported":  # it was made for sixteen
            watched(X[:1])
    assert isinstance(answer, torch.Tensor)
    np.testing.assert_allclose(answer.detach(), expected, rtol=1e-5, atol=1e-6)
    found = captured(own_client)
    rows = 16 if wrapper == "exported" else 17
    assert [len(found), davy.stats()["dropped"], davy.stats()["incomplete"]] == [rows, {}, {}]
    np.testing.assert_array_equal([one.inputs["x"] for one in found[:16]], X)
    np.testing.assert_array_equal([one.outputs["logits"] for one in found[:16]], answer.detach())
    assert {one.inputs["x"].shape for one in found} == {(4,)}
    assert {one.outputs["logits"].shape for one in found} == {(2,)}


@pytest.mark.parametrize(
    "function",
    [
        lambda net: net.forward,
        lambda net: functools.partial(net, scale=2.0),
        lambda net: functools.partial(net.forward, scale=2.0),
    ],
)
def test_a_partial_and_a_method_of_a_module_are_read_like_it(
    function: Any, net: Net, own_client: str
) -> None:
    watched = davy.watch(function(net), "net:1")
    watched(X)
    watched(X[:1])
    found = captured(own_client)
    assert len(found) == 17
    assert {(one.inputs["x"].shape, one.outputs["value"].shape) for one in found} == {((4,), (2,))}


@pytest.mark.parametrize(
    "function",
    [
        lambda net: torch.compile(net.forward, backend="eager"),
        lambda net: torch.no_grad()(lambda x: 2 * net(x)),
        lambda net: torch.jit.trace(lambda x: x * 2, X),
        lambda net: torch.vmap(lambda x: 2 * net.body(x)),
    ],
    ids=["compiled", "decorated", "traced", "vmap"],
)
def test_functions_that_were_compiled_or_decorated_name_their_arguments(
    function: Any, net: Net, own_client: str
) -> None:
    davy.watch(function(net), "m:1", batched=True)(X)
    found = captured(own_client)
    assert (len(found), {tuple(one.inputs)[-1] for one in found}) == (16, {"x"})


def test_a_module_that_names_nothing_has_its_arguments_numbered(own_client: str) -> None:
    class Anything(nn.Module):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return args[0] + args[1] + kwargs["bias"]

    davy.watch(Anything(), "any:1")(X, X, bias=X)
    found = captured(own_client)
    assert (len(found), set(found[0].inputs)) == (16, {"args_0", "args_1", "bias"})


def test_scripting_a_module_under_watch_works_and_what_it_gives_is_watched(net: Net, own_client: str) -> None:
    watched = davy.watch(net, "net:1", embedding="body")
    scripted = torch.jit.script(watched)
    np.testing.assert_allclose(scripted(X).detach(), Net.forward(net, X).detach(), rtol=1e-6)
    assert len(captured(own_client)) == 16
    watched(X)
    found = captured(own_client)
    assert len(found) == 32
    assert [one.embedding is None for one in found] == [True] * 16 + [False] * 16
    assert davy.stats()["left_out"] == {"net:1 embedding: compiled": 16}
    file = io.BytesIO()
    torch.jit.save(scripted, file)
    assert file.tell()


def test_scripting_around_a_module_under_watch_works_and_is_said_to_hide_it(net: Net) -> None:
    around = torch.jit.script(nn.Sequential(davy.watch(net, "net:1"), nn.Softmax(1)))
    assert around(X).shape == (16, 2)
    assert (davy.stats()["captured"], davy.stats()["integration_failed"]) == (0, 1)
    net(X)
    assert davy.stats()["captured"] == 16


def test_another_hook_of_the_app_is_scripted_as_ever() -> None:
    net = Net().eval()
    assert torch.jit.script(net)(X).shape == (16, 2)
    net.register_forward_hook(lambda *_: None)
    with pytest.raises(Exception, match="single top-level function"):
        torch.jit.script(davy.watch(net, "net:1"))


@pytest.mark.parametrize("name", ["body", "_orig_mod.body"])
def test_a_layer_that_the_compiler_hides_is_counted(name: str, net: Net, own_client: str) -> None:
    davy.watch(torch.compile(net, backend="eager"), "net:1", embedding=name)(X)
    assert len(captured(own_client)) == 16
    assert davy.stats()["left_out"] == {"net:1 embedding: compiled": 16}


@pytest.mark.parametrize("wrapper", [nn.DataParallel, torch.optim.swa_utils.AveragedModel])
def test_a_layer_inside_of_a_wrapper_gives_the_embedding(wrapper: Any, net: Net, own_client: str) -> None:
    davy.watch(wrapper(net), "net:1", embedding="body")(X)
    assert {one.embedding.shape for one in captured(own_client)} == {(8,)}


@pytest.mark.parametrize("compiled", ["after", "in place"])
def test_the_latency_of_a_module_compiled_under_watch_is_missing_and_not_nothing(
    compiled: str, net: Net, own_client: str
) -> None:
    watched = davy.watch(net, "net:1")
    if compiled == "after":
        torch.compile(watched, backend="eager")(X)
    else:
        watched.compile(backend="eager")
        watched(X)
    assert [one.latency_ms for one in captured(own_client)] == [None] * 16


class Answers(nn.Module):
    """Answers with what a function makes of its arguments."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


def read(function: Callable[..., Any], argument: Any, url: str) -> tuple[int, dict[str, Any], dict[str, Any]]:
    davy.watch(Answers(function), "m:1")(argument)
    found = captured(url)
    last = found[-1] if found else Inference(bytes(16), 0, "", {}, {})
    shapes = [{name: np.shape(value) for name, value in side.items()} for side in (last.inputs, last.outputs)]
    return len(found), *shapes


CASES: dict[str, tuple[Callable[..., Any], Any, int, dict[str, Any], dict[str, Any]]] = {
    "dict batch": (lambda b: b["x"], {"x": X, "kind": torch.arange(16)}, 16, {"x": (4,), "kind": ()}, {"value": (4,)}),
    "nested": (
        lambda x: {"aux": {"deep": x}, "list": [x, x]}, X, 16, {"x": (4,)},
        {"aux.deep": (4,), "list.0": (4,), "list.1": (4,)},
    ),
    "tuple in a tuple": (lambda x: (x, (x, x)), X, 16, {"x": (4,)},
                         {"output_0": (4,), "output_1.0": (4,), "output_1.1": (4,)}),
    "images": (
        lambda x: [{"boxes": torch.rand(2, 4), "scores": torch.rand(2)} for _ in x],
        [torch.rand(3, 8, 8), torch.rand(3, 4, 6), torch.rand(3, 4, 6)], 3, {"x": (3, 4, 6)},
        {"boxes": (2, 4), "scores": (2,)},
    ),
    "texts": (lambda x: torch.rand(len(x), 5), ["a", "b", "c", "d"], 4, {"x": ()}, {"value": (5,)}),
    "records": (
        lambda x: torch.rand(len(x), 5), [{"age": torch.tensor(1.0)}, {"age": torch.tensor(2.0)}], 2, {"age": ()},
        {"value": (5,)},
    ),
    "ids": (lambda x: torch.rand(len(x), 5), torch.arange(9), 9, {"x": ()}, {"value": (5,)}),
    "boxes of each image": (lambda x: [torch.rand(i, 6) for i in range(len(x))], torch.rand(4, 3, 8, 8), 4,
                            {"x": (3, 8, 8)}, {"value": (3, 6)}),
    "one row": (lambda x: x.softmax(1), X[:1], 1, {"x": (4,)}, {"probs": (4,)}),
    "one row of several": (lambda x: {"logits": x, "risk": x[:, 0]}, X[:1], 1, {"x": (4,)},
                           {"logits": (4,), "risk": ()}),
    "no batch": (lambda x: x.mean(), X[0], 1, {"x": (4,)}, {"value": ()}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_arguments_and_answers_of_any_make_are_read(case: str, own_client: str) -> None:
    function, argument, rows, inputs, outputs = CASES[case]
    assert read(function, argument, own_client) == (rows, inputs, outputs)
    assert (davy.stats()["dropped"], davy.stats()["incomplete"], davy.stats()["left_out"]) == ({}, {}, {})


def test_members_without_the_batch_are_left_out_by_name_and_counted(own_client: str) -> None:
    lstm = nn.LSTM(4, 5, num_layers=2, batch_first=True)
    davy.watch(lstm, "lstm:1")(torch.rand(7, 3, 4))
    assert read(lambda x: {"logits": x, "loss": x.sum(), "anchors": torch.rand(9, 4)}, X, own_client) == (
        7 + 16, {"x": (4,)}, {"logits": (4,)},
    )  # fmt: skip
    assert davy.stats()["left_out"] == {
        "lstm:1 outputs.output_1.0: length": 7,
        "lstm:1 outputs.output_1.1: length": 7,
        "m:1 outputs.loss: length": 16,
        "m:1 outputs.anchors: length": 16,
    }


TENSORS: dict[str, Callable[[], torch.Tensor]] = {
    "gradient": lambda: X.clone().requires_grad_(),
    "bfloat16": X.bfloat16,
    "float8": lambda: X.to(torch.float8_e4m3fn),
    "half": X.half,
    "sparse": X.to_sparse,
    "sparse rows": X.to_sparse_csr,
    "quantised": lambda: torch.quantize_per_tensor(X, 0.1, 0, torch.qint8),
    "conjugate": lambda: torch.complex(X, X).conj().imag,
    "turned": lambda: X.T.contiguous().T,
    "a parameter": lambda: nn.Parameter(X.clone()),
}


@pytest.mark.parametrize("kind", TENSORS)
@pytest.mark.parametrize("batched", [True, False])
def test_tensors_of_every_kind_travel_from_functions_and_modules(
    kind: str, batched: bool, own_client: str
) -> None:
    tensor = TENSORS[kind]()
    dense = tensor.dequantize() if tensor.is_quantized else tensor.to_dense()
    expected = dense.detach().float().resolve_neg().numpy()
    davy.watch(lambda x: x, "m:1", batched=batched)(tensor)
    davy.watch(Answers(lambda x: x), "m:2")(tensor)
    davy.watch(lambda x: {"value": x}, "m:3", batched=batched)(tensor)
    assert davy.stats()["dropped"] == {}
    found = captured(own_client)
    for model, rows in (("m:1", 16 if batched else 1), ("m:2", 16), ("m:3", 16 if batched else 1)):
        own = [one for one in found if one.model == model]
        assert len(own) == rows
        for side in (own[0].inputs["x"], own[0].outputs["value"]):
            np.testing.assert_array_equal(side, expected[0] if rows == 16 else expected)


def test_nested_tensors_are_one_array_an_inference(own_client: str) -> None:
    ragged = torch.nested.nested_tensor([torch.rand(2, 4), torch.rand(5, 4)])
    davy.watch(Answers(lambda x: torch.rand(2, 3)), "m:1")(ragged)
    assert [one.inputs["x"].shape for one in captured(own_client)] == [(2, 4), (5, 4)]


def test_a_function_that_answers_one_request_with_a_row_has_probabilities(net: Net, own_client: str) -> None:
    davy.watch(lambda x: net(x).softmax(1).detach(), "m:1")(X[:1])
    davy.watch(lambda x: net(x[None]).softmax(1), "m:2")(X[0])
    davy.watch(lambda x: net(x[None]).softmax(1).tolist(), "m:3")(X[0])
    for one in captured(own_client):
        assert (one.inputs["x"].shape, one.outputs["probs"].shape) == ((4,), (2,))


@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_softmax_in_half_precision_has_one_name_in_all_batches(
    classes: int, dtype: torch.dtype, own_client: str
) -> None:
    torch.manual_seed(0)
    head = nn.Sequential(nn.Linear(10, classes), nn.Softmax(1)).to(dtype)
    watched = davy.watch(head, "m:1")
    with torch.inference_mode():
        for _ in range(20):
            watched(5 * torch.randn(8, 10).to(dtype))
    assert {tuple(one.outputs) for one in captured(own_client)} == {("probs",)}


def test_code_that_is_looked_at_and_not_served_is_no_inference(net: Net) -> None:
    watched = davy.watch(net, "net:1")
    torch.func.vmap(watched)(X)
    torch.func.jacrev(watched)(X)
    torch.export.export(watched, (X,))
    assert (davy.stats()["captured"], davy.stats()["incomplete"]) == (0, {})


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
@pytest.mark.parametrize("wrapper", ["itself", "DataParallel", "forward(*args, **kwargs)"])
def test_copies_and_pickles_of_wrapped_modules_name_their_inputs(
    duplicate: Any, wrapper: str, net: Net, own_client: str
) -> None:
    if wrapper == "forward(*args, **kwargs)" and duplicate is not copy.deepcopy:
        pytest.skip("a class made in a function cannot be pickled")
    watched = davy.watch(WRAPPED[wrapper](net), "net:1")
    before = set(watched.state_dict())
    again = duplicate(watched)
    assert set(again.state_dict()) == before
    again(X)
    found = captured(own_client)
    assert (len(found), {tuple(one.inputs) for one in found}) == (16, {("x",)})


def test_distributed_modules_are_captured_in_each_process(tmp_path: Path) -> None:
    """Two processes by gloo; the first watches around, the second inside."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = Path(__file__).with_name("distributed.py")
    command = [sys.executable, str(script), str(port), str(tmp_path)]
    started = [subprocess.Popen([*command, str(rank)], stderr=subprocess.PIPE) for rank in range(2)]
    for process in started:
        _, said = process.communicate(timeout=100)
        assert process.returncode == 0, said.decode()[-2_000:]
    for rank in range(2):
        found = inferences_in(f"sqlite:///{tmp_path}/{rank}")
        assert len(found) == 16
        np.testing.assert_allclose([one.inputs["input"] for one in found], np.full((16, 4), rank))
        assert {tuple(one.outputs) for one in found} == {("logits",)}
