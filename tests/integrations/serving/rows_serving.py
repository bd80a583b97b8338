"""Frameworks that serve models as ways in: a number each request, and a classifier by Triton's interface."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import bentoml
import litserve
import numpy as np
import triton_stand_in as pb
from litserve.utils import wrap_litserve_start
from ray import serve
from starlette.testclient import TestClient
from support.integration_rows import USUAL, Answer, way_in

import davy
from davy.integrations import triton
from davy.integrations.starlette import DavyMiddleware

GROUP = "serving"


def numbers(count: int, *, shifted: bool) -> list[float]:
    return (np.random.default_rng(1 + shifted).normal(size=count) + 3.0 * shifted).tolist()


def size(x: float) -> dict[str, Any]:
    large = 1 / (1 + 2.0**-x)
    return {"probs": {"small": 1 - large, "large": large}}


@way_in(GROUP, "BentoML", "a function that is watched", named="inputs.x")
def bento(model: str) -> Answer:
    class Sizes:
        def __init__(self) -> None:
            self.predict = davy.watch(size, model)

        def answer(self, x: float) -> dict[str, Any]:
            return self.predict(x)

    Sizes.answer = bentoml.api(Sizes.answer)
    service = bentoml.service(Sizes)
    service.add_asgi_middleware(DavyMiddleware)

    client = TestClient(service.to_asgi())
    client.__enter__()  # what it measures by is made once a process

    def served(count: int, shifted: bool) -> None:
        for x in numbers(count, shifted=shifted):
            assert client.post("/answer", json={"x": x}).status_code == 200

    return served


def _both(x: np.ndarray) -> np.ndarray:
    large = 1 / (1 + 2.0**-x)
    return np.stack([1 - large, large], axis=1)


class Scores(litserve.LitAPI):
    """A number a request, in a process of its own; batches of eight."""

    def setup(self, device: str) -> None:
        del device
        self.model = davy.watch(_both, os.environ["LITSERVE_MODEL"], batched=True)

    def decode_request(self, request):
        return request["x"]

    def batch(self, inputs: Any) -> Any:
        return np.array(inputs)

    def predict(self, x: Any) -> Any:
        found = self.model(x)
        if davy.stats()["captured"] % USUAL == 0:
            davy.flush()  # the worker is ended, not asked to end
        return found

    def unbatch(self, output: Any) -> Any:
        return [*output]

    def encode_response(self, output: Any) -> Any:
        return {"probs": output.tolist()}


@way_in(GROUP, "LitServe", "a batch of eight, `batched=True`", named="inputs.x")
def lit(model: str) -> Answer:
    os.environ["LITSERVE_MODEL"] = model

    def served(count: int, shifted: bool) -> None:
        server = litserve.LitServer(Scores(max_batch_size=8, batch_timeout=0.01), accelerator="cpu")
        with wrap_litserve_start(server) as started, TestClient(started.app) as client:
            asked = ({"x": x} for x in numbers(count, shifted=shifted))
            with ThreadPoolExecutor(8) as pool:
                answers = [*pool.map(lambda one: client.post("/predict", json=one), asked)]
            assert {one.status_code for one in answers} == {200}

    return served


@way_in(GROUP, "Ray Serve", "a deployment", named="inputs.x")
def ray_serve(model: str) -> Answer:
    @serve.deployment
    class Doubler:
        def __init__(self) -> None:
            self.predict = davy.watch(lambda x: {"value": 2 * x}, model)

        def __call__(self, x: float) -> dict[str, float]:
            return self.predict(x)

    handle = serve.run(Doubler.bind(), _local_testing_mode=True)

    def served(count: int, shifted: bool) -> None:
        for x in numbers(count, shifted=shifted):
            handle.remote(x).result()

    return served


@way_in(GROUP, "Triton", "`@davy.integrations.triton.watch`", named="inputs.X")
def triton_model(model: str) -> Answer:
    @triton.watch(model, class_names=["low", "high"])
    class TritonPythonModel:
        def execute(self, requests: Any) -> Any:
            answers = []
            for request in requests:
                (x,) = (each.as_numpy() for each in request.inputs())
                weight = 1 / (1 + np.exp(-x.sum(axis=1, keepdims=True)))
                probs = np.concatenate([1 - weight, weight], axis=1).astype(np.float32)
                answers.append(pb.InferenceResponse([pb.Tensor("PROBS", probs)]))
            return answers

    def served(count: int, shifted: bool) -> None:
        rng = np.random.default_rng(1 + shifted)
        x = (rng.normal(size=(count, 4)) + 2.0 * shifted).astype(np.float32)
        requests = [pb.InferenceRequest([pb.Tensor("X", x[at : at + 8])]) for at in range(0, count, 8)]
        TritonPythonModel().execute(requests)

    return served
