"""One way to record an inference with each client: its defaults, pointed at an endpoint, and as its manual shows it.

Each function gives what records one mapping of fields. Arrays go to the others as their lists, images as base64, since
they know neither; that work is the caller's, and so it counts.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import numpy as np

Record: TypeAlias = Callable[[Mapping[str, Any]], object]


def plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value if not isinstance(value, np.ndarray)
        else base64.b64encode(value.tobytes()).decode() if value.ndim > 1
        else value.tolist()
        for name, value in fields.items()
    }  # fmt: skip


def davy(url: str, share: float) -> Record:
    import davy

    davy.init(url, sample_rate=share)
    answer = {"score": 0.5}
    return lambda fields: davy.capture("bench:1", fields, answer)


def opentelemetry(url: str, share: float) -> Record:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

    provider = TracerProvider(sampler=TraceIdRatioBased(share))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{url}/v1/traces")))
    trace.set_tracer_provider(provider)
    tracer = trace.get_tracer("bench")

    def record(fields: Mapping[str, Any]) -> None:
        with tracer.start_as_current_span("predict") as span:
            if span.is_recording():
                span.set_attributes(plain(fields))

    return record


def sentry(url: str, share: float) -> Record:
    import sentry_sdk

    dsn = url.replace("http://", "http://key@") + "/1"
    # Its structured log is the cheapest thing of Sentry's that carries fields.
    drop = (lambda log, hint: None) if share == 0 else None
    sentry_sdk.init(dsn=dsn, enable_logs=True, before_send_log=drop, default_integrations=True)
    return lambda fields: sentry_sdk.logger.info("predict", attributes=plain(fields))


def posthog(url: str, share: float) -> Record:
    from posthog import Posthog

    keep = (lambda event: None) if share == 0 else None
    client = Posthog("phc_key", host=url, before_send=keep)
    return lambda fields: client.capture("predict", distinct_id="bench", properties=plain(fields))


def segment(url: str, share: float) -> Record:
    from segment.analytics.client import Client

    if share == 0:
        raise NotImplementedError("has no sampling")
    client = Client("key", host=url)
    return lambda fields: client.track("bench", "predict", plain(fields))


def ddtrace(url: str, share: float) -> Record:
    import os

    os.environ |= {
        "DD_TRACE_AGENT_URL": url,
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_TRACE_SAMPLING_RULES": f'[{{"sample_rate": {share}}}]',
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
    }
    from ddtrace.trace import tracer

    logging.getLogger("ddtrace").setLevel(logging.CRITICAL)

    def record(fields: Mapping[str, Any]) -> None:
        with tracer.trace("predict") as span:
            for name, value in plain(fields).items():
                span.set_tag(name, value)

    return record


def mlflow(url: str, share: float) -> Record:
    import os

    os.environ |= {"MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "true", "MLFLOW_TRACE_SAMPLING_RATIO": str(share)}
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    mlflow.set_tracking_uri(url)
    from mlflow.entities.trace_location import MlflowExperimentLocation

    mlflow.tracing.set_destination(MlflowExperimentLocation(experiment_id="1"))

    def record(fields: Mapping[str, Any]) -> None:
        with mlflow.start_span("predict") as span:
            span.set_inputs(plain(fields))
            span.set_outputs({"score": 0.5})

    return record


def prometheus(url: str, share: float) -> Record:
    from prometheus_client import Histogram

    if share == 0:
        raise NotImplementedError("has no sampling")
    histograms = [Histogram(f"feature_{i}", "A feature.") for i in range(30)]

    def record(fields: Mapping[str, Any]) -> None:
        if any(isinstance(value, np.ndarray) for value in fields.values()):
            raise NotImplementedError("takes numbers only")
        for histogram, value in zip(histograms, fields.values(), strict=True):
            histogram.observe(value)

    return record


CLIENTS: Final[dict[str, tuple[str, str, Callable[[str, float], Record]]]] = {
    "davy": ("davy", "davy", davy),
    "opentelemetry": (
        "opentelemetry-sdk opentelemetry-exporter-otlp-proto-http",
        "opentelemetry.sdk.trace.export, opentelemetry.exporter.otlp.proto.http.trace_exporter",
        opentelemetry,
    ),
    "sentry": ("sentry-sdk", "sentry_sdk", sentry),
    "posthog": ("posthog", "posthog", posthog),
    "segment": ("segment-analytics-python", "segment.analytics", segment),
    "ddtrace": ("ddtrace", "ddtrace.trace", ddtrace),
    "mlflow": ("mlflow-tracing", "mlflow", mlflow),
    "prometheus": ("prometheus-client", "prometheus_client", prometheus),
}
"""Distributions to install, modules to import, and how to record."""
