"""A BentoML service: ``bentoml serve examples/bentoml_app.py:Doubler``; run as a script it answers one request."""

import bentoml

import davy
from davy.integrations.starlette import DavyMiddleware


@bentoml.service
class Doubler:
    """Stand in for a model."""

    def __init__(self) -> None:
        self.predict = davy.watch(lambda x: {"value": 2 * x}, "double:1")

    @bentoml.api
    def answer(self, x: float) -> dict[str, float]:
        """Answer one request."""
        return self.predict(x)


Doubler.add_asgi_middleware(DavyMiddleware)

if __name__ == "__main__":
    from starlette.testclient import TestClient

    with TestClient(Doubler.to_asgi()) as client:
        response = client.post("/answer", json={"x": 4.0})
        print(response.json(), response.headers["X-Davy-Id"])
    davy.flush()
