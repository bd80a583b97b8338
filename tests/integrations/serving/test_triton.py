"""A model of Triton's Python backend is captured by request, with the names of its tensors."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.sdk_rig import inferences_in

import davy
from davy.integrations import triton

sys.path.insert(0, str(Path(__file__).parent))

import triton_stand_in as pb

X = np.arange(8, dtype=np.float32).reshape(4, 2)
NAME = "ab" * 16


def probabilities(x: np.ndarray) -> np.ndarray:
    weight = 1 / (1 + np.exp(-x.sum(axis=1, keepdims=True)))
    return np.concatenate([1 - weight, weight], axis=1).astype(np.float32)


@triton.watch("pair:1", class_names=["low", "high"])
class TritonPythonModel:
    def execute(self, requests: Any) -> Any:
        responses = []
        for request in requests:
            (x,) = (each.as_numpy() for each in request.inputs())
            if len(x) == 3:
                responses.append(pb.InferenceResponse(error=pb.TritonError("three")))
            else:
                responses.append(pb.InferenceResponse([pb.Tensor("SCORES", probabilities(x))]))
        return responses


def captured(url: str) -> list[Any]:
    assert davy.flush()
    return inferences_in(url)


def test_every_row_of_every_request_is_an_inference_and_an_error_is_none(own_client: str) -> None:
    requests = [pb.InferenceRequest([pb.Tensor("X", X[:rows])], request_id=NAME) for rows in (2, 3, 1)]
    responses = TritonPythonModel().execute(requests)
    assert [response.has_error() for response in responses] == [False, True, False]
    found = captured(own_client)
    np.testing.assert_array_equal([one.inputs["X"] for one in found], X[[0, 1, 0]])
    np.testing.assert_allclose([one.outputs["probs"] for one in found], probabilities(X[[0, 1, 0]]))
    assert found[0].outputs["class_names"] == ["low", "high"]
    assert found[2].id.hex() == NAME
    assert found[0].id.hex() != NAME


def test_strings_are_text_and_several_tensors_keep_their_names(own_client: str) -> None:
    @triton.watch("texts:1")
    class Model:
        async def execute(self, requests: Any) -> Any:
            answer = np.array([[b"yes"], [b"no"]], object)
            score = np.array([[0.9], [0.4]], np.float32)
            return [
                pb.InferenceResponse([pb.Tensor("TEXT", answer), pb.Tensor("SCORE", score)]) for _ in requests
            ]

    asked = np.array([["Grüße".encode()], [b"no"]], object)
    asyncio.run(Model().execute([pb.InferenceRequest([pb.Tensor("QUESTION", asked)])]))
    found = captured(own_client)
    assert [one.inputs["QUESTION"] for one in found] == ["Grüße", "no"]
    assert [one.outputs["TEXT"] for one in found] == ["yes", "no"]


def test_a_decoupled_model_passes_and_what_it_raises_too(own_client: str) -> None:
    @triton.watch("later:1")
    class Model:
        def execute(self, requests: Any) -> Any:
            if not requests:
                raise ValueError("nothing")

    assert Model().execute([pb.InferenceRequest([pb.Tensor("X", X)])]) is None
    with pytest.raises(ValueError, match="nothing"):
        Model().execute([])
    assert captured(own_client) == []
