"""A Flask service: ``flask --app examples/flask_app.py run``; run as a script it answers one request.

The caller's ``X-Davy-Id``, or a new one in the answer, names the inference, so that feedback can follow later.
"""

from flask import Flask, request

import davy
from davy.integrations.flask import DavyMiddleware

app = Flask(__name__)
app.wsgi_app = DavyMiddleware(app.wsgi_app)


@davy.watch(model="double:1")
def predict(x: float) -> float:
    """Stand in for a model."""
    return 2 * x


@app.post("/predict")
def answer() -> dict[str, float]:
    """Answer one request."""
    return {"value": predict(request.get_json()["x"])}


if __name__ == "__main__":
    response = app.test_client().post("/predict", json={"x": 4.0})
    print(response.json, response.headers["X-Davy-Id"])
    davy.flush()
