"""Which axis of what a module takes and answers is the inferences: none, the first, or another."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.sdk_rig import inferences_in
from torch import nn

import davy

torch.set_num_threads(1)


def captured(url: str) -> list[Any]:
    assert davy.flush()
    return inferences_in(url)


def shapes(fields: Any) -> dict[str, tuple[int, ...]]:
    return {name: getattr(value, "shape", ()) for name, value in fields.items() if name != "class_names"}


class Pool(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :3].mean(0, keepdim=True).softmax(-1)


class Wave(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(-1)[:3][None].softmax(-1)


class Tags(nn.Module):
    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return torch.ones(1, len(ids), 5) * 3


@pytest.mark.parametrize(
    ("module", "argument", "outputs"),
    [
        (Pool(), torch.randn(7, 6), {"probs": (3,)}),
        (Wave(), torch.randn(100), {"probs": (3,)}),
        (Tags(), torch.arange(9), {"value": (9, 5)}),
    ],
)
def test_an_answer_of_one_row_that_shares_no_axis_loses_it(
    module: nn.Module, argument: Any, outputs: Any, own_client: str
) -> None:
    watched = davy.watch(module, "pool:1", class_names=["a", "b", "c"])
    for _ in range(4):  # the short way reads alike
        watched(argument)
    found = captured(own_client)
    assert [shapes(one.outputs) for one in found] == [outputs] * 4
    assert [shapes(one.inputs).popitem()[1] for one in found] == [tuple(argument.shape)] * 4


def test_a_module_that_answers_a_row_a_thing_found_keeps_the_axis(own_client: str) -> None:
    class Finds(nn.Module):
        def forward(self, x: torch.Tensor, count: int) -> torch.Tensor:
            return x.new_ones(count, 6)

    watched = davy.watch(Finds(), "m:1")
    for count in (4, 1, 2, 1):
        watched(torch.randn(3, 8, 8), count)
    assert [one.outputs["value"].shape for one in captured(own_client)] == [(4, 6), (1, 6), (2, 6), (1, 6)]


def packed(*lengths: int, features: int = 4) -> Any:
    sequences = [
        torch.arange(float(n * features)).reshape(n, features) + 100 * i for i, n in enumerate(lengths)
    ]
    return sequences, nn.utils.rnn.pack_sequence(sequences, enforce_sorted=False)


def doubled(x: Any) -> Any:
    return nn.utils.rnn.PackedSequence(x.data * 2, x.batch_sizes, x.sorted_indices, x.unsorted_indices)


class Doubles(nn.Module):
    def forward(self, x: Any) -> Any:
        return doubled(x)


@pytest.mark.parametrize("lengths", [(2, 4, 3), (9,), (3, 3, 3), (1, 5)])
def test_packed_sequences_are_the_rows_in_the_order_they_were_given_in(
    lengths: tuple[int, ...], own_client: str
) -> None:
    sequences, given = packed(*lengths)
    davy.watch(Doubles(), "m:1")(given)
    davy.watch(doubled, "m:2", batched=True)(given)
    found = captured(own_client)
    assert len(found) == 2 * len(lengths)
    for one, sequence in zip(found, sequences * 2, strict=True):
        assert [*one.inputs, *one.outputs] == ["x", "value"]
        assert (one.inputs["x"] == sequence.numpy()).all()
        assert (one.outputs["value"] == 2 * sequence.numpy()).all()


def test_packed_sequences_are_one_field_of_one_request(own_client: str) -> None:
    sequences, given = packed(2, 3)
    davy.watch(lambda x: 0.5, "m:1")(given)
    (found,) = captured(own_client)
    assert [*found.inputs] == ["x"]
    assert [part.tolist() for part in found.inputs["x"]] == [each.tolist() for each in sequences]


def test_a_classifier_of_packed_sequences_answers_a_row_a_sequence(own_client: str) -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(4, 5)

        def forward(self, x: Any) -> Any:
            return self.lstm(x)[1][0][-1][:, :3].softmax(-1)

    davy.watch(Reads(), "m:1")(packed(2, 4)[1])
    found = captured(own_client)
    assert [shapes(one.inputs) for one in found] == [{"x": (2, 4)}, {"x": (4, 4)}]
    assert [shapes(one.outputs) for one in found] == [{"probs": (3,)}] * 2


X = torch.randn(9, 4, 8)  # nine steps of four sequences
STEPS = {
    "lstm": (nn.LSTM(8, 6), (X,), {"output_0": (9, 6), "output_1.0": (1, 6), "output_1.1": (1, 6)}),
    "two layers": (
        nn.LSTM(8, 6, 2, bidirectional=True),
        (X, (torch.zeros(4, 4, 6), torch.zeros(4, 4, 6))),
        {"output_0": (9, 12), "output_1.0": (4, 6), "output_1.1": (4, 6)},
    ),
    "gru": (nn.GRU(8, 6), (X,), {"output_0": (9, 6), "output_1": (1, 6)}),
    "rnn, as many steps as sequences": (
        nn.RNN(8, 6),
        (X[:4],),
        {"output_0": (4, 6), "output_1": (1, 6)},
    ),
    "attention": (
        nn.MultiheadAttention(8, 2),
        (X, X[:5], X[:5]),
        {"output_0": (9, 8), "output_1": (9, 5)},
    ),
    "attention over as many": (
        nn.MultiheadAttention(8, 2),
        (X[:4], X[:4], X[:4]),
        {"output_0": (4, 8), "output_1": (4, 4)},
    ),
    "transformer": (nn.Transformer(8, 2, 1, 1, 16), (X, X[:5]), {"value": (5, 8)}),
    "encoder": (
        nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 1, enable_nested_tensor=False),
        (X,),
        {"value": (9, 8)},
    ),
}


@pytest.mark.parametrize("kind", STEPS)
def test_modules_that_take_steps_first_give_a_row_a_sequence(kind: str, own_client: str) -> None:
    module, given, outputs = STEPS[kind]
    module = module.eval()
    davy.watch(module, "m:1")(*given)
    found = captured(own_client)
    assert [shapes(one.outputs) for one in found] == [outputs] * 4
    for place, one in enumerate(found):
        assert (next(iter(one.inputs.values())) == given[0][:, place].numpy()).all()
    assert davy.stats()["left_out"] == {}


def test_the_state_of_packed_sequences_goes_with_them(own_client: str) -> None:
    _, given = packed(2, 3)
    lstm = davy.watch(nn.LSTM(4, 6), "m:1")
    _, (h, _) = lstm(given)
    found = captured(own_client)
    assert [shapes(one.outputs) for one in found] == [
        {"output_0": (length, 6), "output_1.0": (1, 6), "output_1.1": (1, 6)} for length in (2, 3)
    ]
    assert [one.outputs["output_1.0"].tolist() for one in found] == h.transpose(0, 1).tolist()


@pytest.mark.parametrize("rows", [1, 4])
def test_a_module_of_ones_own_says_by_batch_first_what_it_takes(rows: int, own_client: str) -> None:
    class Tagger(nn.Module):
        batch_first = False

        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(10, 8)
            self.lstm = nn.LSTM(8, 6)

        def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> Any:
            states, _ = self.lstm(self.embed(ids))
            return {"tags": states, "probs": states[-1].softmax(-1)}

    watched = davy.watch(Tagger(), "m:1", embedding="lstm")
    ids = torch.arange(9 * rows).reshape(9, rows) % 10
    for _ in range(2):
        watched(ids, torch.full((rows,), 9))
    davy.watch(Tagger().forward, "m:2")(ids, torch.full((rows,), 9))
    found = captured(own_client)
    assert len(found) == 3 * rows
    for place, one in enumerate(found):
        assert shapes(one.outputs) == {"tags": (9, 6), "probs": (6,)}
        assert one.inputs["ids"].tolist() == ids[:, place % rows].tolist()
        assert one.inputs["lengths"] == 9
    assert {one.embedding.shape for one in found if one.model == "m:1"} == {(6,)}


def test_a_sequence_without_a_batch_is_one_inference(own_client: str) -> None:
    davy.watch(nn.LSTM(8, 6), "m:1")(X[:, 0])
    (found,) = captured(own_client)
    assert shapes(found.inputs) == {"input": (9, 8)}
    assert found.outputs["output_0"].shape == (9, 6)


def test_what_takes_the_batch_first_is_read_so(own_client: str) -> None:
    davy.watch(nn.LSTM(8, 6, batch_first=True), "m:1")(X)
    assert [shapes(one.outputs) for one in captured(own_client)] == [{"value": (4, 6)}] * 9


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_the_state_beside_sequences_that_come_first_is_no_part_of_them(
    kind: Any, layers: int, rows: int, own_client: str
) -> None:
    state = torch.zeros(layers, rows, 6)
    module = davy.watch(kind(8, 6, layers, batch_first=True), "m:1")
    answer, _ = module(X[:rows], (state, state) if kind is nn.LSTM else state)
    found = captured(own_client)
    assert [(shapes(one.inputs), shapes(one.outputs)) for one in found] == [
        ({"input": (4, 8)}, {"value": (4, 6)})
    ] * rows
    assert [one.outputs["value"].tolist() for one in found] == answer.tolist()
    parts = (".0", ".1") if kind is nn.LSTM else ("",)
    assert davy.stats()["left_out"] == {
        f"m:1 {name}{part}: length": rows for part in parts for name in ("inputs.hx", "outputs.output_1")
    }


def test_the_state_that_a_module_of_ones_own_answers_beside_two_sequences_is_no_row(own_client: str) -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(8, 6, batch_first=True)

        def forward(self, x: torch.Tensor, state: Any = None) -> Any:
            return self.lstm(x, state)

    watched = davy.watch(Reads(), "m:1")
    watched(X[:2], (torch.zeros(1, 2, 6), torch.zeros(1, 2, 6)))
    found = captured(own_client)
    assert [(shapes(one.inputs), shapes(one.outputs)) for one in found] == [
        ({"x": (4, 8)}, {"value": (4, 6)})
    ] * 2


@pytest.mark.parametrize(
    "answer", [[], {"boxes": []}, {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0)}]
)
def test_an_empty_list_is_no_inference(answer: Any, own_client: str) -> None:
    class Detector(nn.Module):
        def forward(self, images: Any) -> Any:
            return [{"boxes": torch.zeros(2, 4)} for _ in images] or answer

    detect = davy.watch(Detector(), "m:1")
    detect([])
    detect([torch.zeros(3, 8, 8)])
    detect([])
    davy.watch(Detector().forward, "m:2")([])
    davy.watch(lambda images: answer, "m:3", batched=True)([])
    assert [(one.model, [*one.outputs]) for one in captured(own_client)] == [("m:1", ["boxes"])]
    assert (davy.stats()["incomplete"], davy.stats()["dropped"]) == ({}, {})


def test_one_picture_with_nothing_found_is_an_inference(own_client: str) -> None:
    class Finds(nn.Module):
        def forward(self, x: torch.Tensor, prompts: list[str]) -> torch.Tensor:
            return x.new_ones(0, 4)

    davy.watch(Finds(), "m:1")(torch.zeros(3, 8, 8), [])
    assert len(captured(own_client)) == 1


@pytest.mark.parametrize(
    "name", ["__getattr__", "__getattribute__", "__repr__", "__len__", "__iter__", "__array__"]
)
def test_a_module_whose_answer_raises_when_it_is_looked_at_keeps_its_inputs(
    name: str, own_client: str
) -> None:
    def method(*_: Any, **__: Any) -> Any:
        raise MemoryError

    answer = type("Answer", (), {name: method})()

    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return answer

    davy.watch(Odd(), "m:1")(X[0])
    found = captured(own_client)
    assert sum(one.inputs["x"].size for one in found) == X[0].numel()
    assert davy.stats()["dropped"] == {}
    (left_out,) = davy.stats()["left_out"]
    assert left_out.startswith("m:1 outputs.")


def test_a_module_names_the_items_of_mappings_alike_in_every_call(own_client: str) -> None:
    class Towers(nn.Module):
        def forward(self, user: Any = None, item: Any = None) -> torch.Tensor:
            return sum(each["age"] for each in (user, item) if each is not None)

    watched, age = davy.watch(Towers(), "m:1"), {"age": torch.ones(2, 3)}
    for arguments in ({"user": age}, {"item": age}, {"user": age}, {"user": age, "item": age}):
        watched(**arguments)
    names = [[*one.inputs] for one in captured(own_client)][::2]
    assert names == [["age"], ["item.age"], ["user.age"], ["user.age", "item.age"]]


class Ensemble(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x[:, :3]] * 5).softmax(-1)


class Steps(nn.Module):
    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.transpose(0, 1), lengths


def test_an_answer_whose_second_axis_alone_is_the_batch_is_counted(own_client: str) -> None:
    davy.watch(Ensemble(), "many:1")(torch.randn(2, 8))
    davy.watch(Ensemble(), "said:1", batched=False)(torch.randn(2, 8))
    assert len(captured(own_client)) == 2
    assert davy.stats()["misread"] == {"many:1: batch_as_row": 1}


def test_lengths_beside_logits_of_another_length_are_no_label(own_client: str) -> None:
    davy.watch(Steps(), "steps:1")(torch.randn(2, 15, 7), torch.tensor([15, 12]))
    found = captured(own_client)
    assert [dict(one.outputs) for one in found] == [{"output_1": 15}, {"output_1": 12}]
    assert davy.stats()["left_out"] == {"steps:1 outputs.output_0: length": 2}
