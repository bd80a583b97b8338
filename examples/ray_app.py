"""A Ray Serve deployment: ``python examples/ray_app.py`` answers one request.

Watch where the model is made, in the constructor of the deployment: every replica has a client of its own.
"""

import os

import ray
from fastapi import FastAPI
from ray import serve

import davy
from davy.integrations.fastapi import DavyMiddleware

api = FastAPI()
api.add_middleware(DavyMiddleware)


@serve.deployment
@serve.ingress(api)
class Doubler:
    """Stand in for a model."""

    def __init__(self) -> None:
        self.predict = davy.watch(lambda x: {"value": 2 * x}, "double:1")

    @api.get("/predict")
    def answer(self, x: float) -> dict[str, float]:
        """Answer one request."""
        found = self.predict(x)
        davy.flush()  # only so that the example may end at once
        return found


if __name__ == "__main__":
    import httpx

    variables = {name: os.environ[name] for name in os.environ if name.startswith("DAVY_")}
    ray.init(num_cpus=2, include_dashboard=False, runtime_env={"env_vars": variables}, log_to_driver=False)
    serve.run(Doubler.bind(), route_prefix="/")
    response = httpx.get("http://127.0.0.1:8000/predict", params={"x": 4.0})
    print(response.json(), response.headers["X-Davy-Id"])
    serve.shutdown()
    ray.shutdown()
