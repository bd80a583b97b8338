"""The server of `make bench-app`: a model behind FastAPI as its page shows it, and what watches the model in two lines.

``serve.py MODEL WATCH URL PORT``, in the environment of ``requirements/app.txt``; run by `benchmarks.app`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

FIELDS, CLASSES = 30, 3
Predict: TypeAlias = Callable[[list[float]], list[float]]


def estimator(watch: Callable[[Any], Any]) -> Predict:
    """A pipeline of scikit-learn, asked for one row."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    random = np.random.default_rng(0)
    rows, labels = random.normal(size=(600, FIELDS)), random.integers(0, CLASSES, 600)
    model = watch(make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, labels))
    return lambda features: model.predict_proba(np.array([features]))[0].tolist()


class Question(BaseModel):
    """What a client asks."""

    features: list[float]


class Softmax:
    """A model of NumPy with the interface of an estimator: hardly anything but what it costs to watch it."""

    def __init__(self) -> None:
        self.classes_ = np.arange(CLASSES)
        self.weights = np.random.default_rng(0).normal(size=(FIELDS, CLASSES))

    def predict_proba(self, rows: Any) -> Any:
        """Return probabilities of shape ``(n, CLASSES)``."""
        scores = rows @ self.weights
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return scores / scores.sum(axis=1, keepdims=True)


def arrays(watch: Callable[[Any], Any]) -> Predict:
    """A model of NumPy, asked for one row."""
    model = watch(Softmax())
    return lambda features: model.predict_proba(np.array([features]))[0].tolist()


def module(watch: Callable[[Any], Any]) -> Predict:
    """A module of PyTorch, asked for one row."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(0)
    layers = {"body": nn.Linear(FIELDS, 64), "act": nn.ReLU(), "head": nn.Linear(64, CLASSES)}
    net = nn.Sequential()
    for name, layer in layers.items():
        net.add_module(name, layer)
    net = watch(net.eval())

    def predict(features: list[float]) -> list[float]:
        with torch.inference_mode():
            answer: list[float] = net(torch.tensor([features])).softmax(1)[0].tolist()
        return answer

    return predict


MODELS = {"scikit-learn": estimator, "numpy": arrays, "torch": module}


def traced(predict: Predict, app: FastAPI, url: str) -> Predict:
    """Record the same with OpenTelemetry, as its manual shows it."""
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{url}/v1/traces")))
    trace.set_tracer_provider(provider)
    FastAPIInstrumentor.instrument_app(app)

    def record(features: list[float]) -> list[float]:
        probs = predict(features)
        trace.get_current_span().set_attributes({"x": features, "probs": probs})
        return probs

    return record


def build(model: str, watch: str, url: str) -> FastAPI:
    """Make the application."""
    app = FastAPI()

    def watched(target: Any) -> Any:
        if not watch.startswith("Davy"):
            return target
        import davy

        davy.init(url)
        return davy.watch(target, f"{model}:1", embedding="body" if "embedding" in watch else None)

    predict = MODELS[model](watched)
    if watch == "OpenTelemetry":
        predict = traced(predict, app, url)
    if "middleware" in watch:
        from davy.integrations.fastapi import DavyMiddleware

        app.add_middleware(DavyMiddleware)

    @app.post("/predict")
    async def answer(question: Question) -> dict[str, list[float]]:
        return {"probs": predict(question.features)}

    return app


if __name__ == "__main__":
    name, watch, url, port = sys.argv[1:]
    uvicorn.run(build(name, watch, url), host="127.0.0.1", port=int(port), log_level="warning")
