"""A LitServe server: ``python examples/litserve_app.py`` answers one request.

Watch in ``setup``: every worker process has a client of its own. The model runs in another process than the
middleware would, so an id travels in the request.
"""

import litserve

import davy


class Doubler(litserve.LitAPI):
    """Stand in for a model."""

    def setup(self, device: str) -> None:
        """Load the model."""
        del device
        self.model = davy.watch(lambda x: {"value": 2 * x}, "double:1")

    def predict(self, x: dict[str, float]) -> dict[str, float]:
        """Answer one request."""
        with davy.context(id=x.get("davy_id")):
            found = self.model(x["x"])
        davy.flush()  # only so that the example may end at once
        return found


server = litserve.LitServer(Doubler(), accelerator="cpu")

if __name__ == "__main__":
    from fastapi.testclient import TestClient
    from litserve.utils import wrap_litserve_start

    with wrap_litserve_start(server) as started, TestClient(started.app) as client:
        print(client.post("/predict", json={"x": 4.0, "davy_id": "ab" * 16}).json())
