"""The two lines in a FastAPI service: ``uvicorn examples.fastapi_app:app``.

The caller's ``X-Davy-Id`` names the inference, so that feedback can follow later.
"""

from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Header

import davy

app = FastAPI()
WEIGHTS = np.array([[0.5, -0.5], [-0.25, 0.25]], np.float32)


@davy.watch(model="iris:1")
def predict(features: np.ndarray) -> dict[str, Any]:
    """Stand in for a model."""
    logits = features @ WEIGHTS
    return {"logits": logits, "embedding": features}


@app.post("/predict")
def answer(
    features: list[float], x_davy_id: Annotated[str | None, Header()] = None
) -> dict[str, list[float]]:
    """Answer one request."""
    with davy.context(id=x_davy_id):
        return {"logits": predict(np.asarray(features, np.float32))["logits"].tolist()}


@app.post("/feedback/{id}")
def truth(id: str, label: int) -> None:
    """Take what became known later."""
    davy.feedback(id, label, model="iris:1")
