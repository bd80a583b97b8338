"""The demo's serving app: an ordinary FastAPI service with two lines of Davy.

Started by the demo as ``python -m davy.demo.serving MODEL.npz PORT``; where inferences go is in ``DAVY_URL``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Header

import davy
from davy.demo.data import Images
from davy.demo.model import DigitModel

Text = Annotated[str | None, Header()]
Time = Annotated[int | None, Header()]


def make_app(model: DigitModel) -> FastAPI:
    """Serve a model: one image a request, or many."""
    app = FastAPI(title="digits")

    def predict(image: Images) -> dict[str, Any]:
        answer = model(image[None])
        return {name: values[0] for name, values in answer.items()}

    def predict_many(image: Images) -> dict[str, Any]:
        return model(image)

    predict = davy.watch(predict, "digits:1")
    predict_many = davy.watch(predict_many, "digits-clean:1", batched=True)

    @app.post("/predict")
    def one(image: list[list[float]], x_davy_id: Text = None, x_taken_at: Time = None) -> dict[str, int]:
        with davy.context(id=x_davy_id, at=x_taken_at):
            return {"label": int(predict(np.asarray(image, np.float32))["label"])}

    @app.post("/predict-many")
    def many(images: list[list[list[float]]]) -> dict[str, list[int]]:
        return {"labels": predict_many(np.asarray(images, np.float32))["label"].tolist()}

    @app.get("/davy")
    def ledger() -> dict[str, Any]:
        davy.flush()
        return davy.stats()

    return app


if __name__ == "__main__":
    served = make_app(DigitModel.load(Path(sys.argv[1])))
    uvicorn.run(served, port=int(sys.argv[2]), log_level="warning", access_log=False)
