"""Frameworks that serve models on their way to a person; their workers have clients of their own."""

from __future__ import annotations

import os
from typing import Any

import bentoml
import litserve
import ray
from fastapi import FastAPI
from fastapi.testclient import TestClient
from litserve.utils import wrap_litserve_start
from ray import serve
from support.integration_loop import captures, main, model_of

import davy
from davy.integrations.fastapi import DavyMiddleware as ForFastAPI
from davy.integrations.starlette import DavyMiddleware

BENTOML, LITSERVE, RAY = "BentoML", "LitServe", "Ray Serve"
ASKED = [float(at) for at in range(6)]


@bentoml.service
class Sizes:
    """Stand in for a classifier."""

    def __init__(self) -> None:
        self.predict = davy.watch(_size, model_of(BENTOML))

    @bentoml.api
    def answer(self, x: float) -> dict[str, Any]:
        return self.predict(x)


def _size(x: float) -> dict[str, Any]:
    large = 1 / (1 + 2.0 ** (2.5 - x))
    return {"probs": {"small": 1 - large, "large": large}}


Sizes.add_asgi_middleware(DavyMiddleware)


@captures(BENTOML)
def bentoml_(model: str) -> list[Any]:
    with TestClient(Sizes.to_asgi()) as client:
        found = [client.post("/answer", json={"x": x}).json()["probs"] for x in ASKED]
    return [max(each, key=each.get) for each in found]


class Replies(litserve.LitAPI):
    """Stand in for a model of language."""

    def setup(self, device: str) -> None:
        del device
        self.model = davy.watch(lambda x: {"text": f"It is {x:g} degrees outside."}, model_of(LITSERVE))

    def predict(self, x: dict[str, float]) -> dict[str, str]:
        found = self.model(x["x"])
        davy.flush()  # the worker is ended, not asked to end
        return found


@captures(LITSERVE)
def litserve_(model: str) -> list[Any]:
    server = litserve.LitServer(Replies(), accelerator="cpu")
    with wrap_litserve_start(server) as started, TestClient(started.app) as client:
        return [client.post("/predict", json={"x": x}).json()["text"] for x in ASKED]


api = FastAPI()
api.add_middleware(ForFastAPI)


@serve.deployment
@serve.ingress(api)
class Doubler:
    """Stand in for a regression."""

    def __init__(self, model: str) -> None:
        self.predict = davy.watch(lambda x: {"value": 2 * x}, model)

    @api.get("/predict")
    def answer(self, x: float) -> dict[str, float]:
        found = self.predict(x)
        davy.flush()  # the replica is ended, not asked to end
        return found


@captures(RAY)
def ray_(model: str) -> list[Any]:
    import httpx

    wanted = ("DAVY_URL", "PYTHONPATH")
    variables = {name: os.environ[name] for name in wanted if name in os.environ}
    ray.init(num_cpus=2, include_dashboard=False, runtime_env={"env_vars": variables}, log_to_driver=False)
    try:
        serve.run(Doubler.bind(model), route_prefix="/")
        return [httpx.get("http://127.0.0.1:8000/predict", params={"x": x}).json()["value"] for x in ASKED]
    finally:
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main()
