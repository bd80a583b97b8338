"""The gateway's application: routes of its own and the pages other rooms bring."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import entry_points, version

from fastapi import FastAPI, Response

from davy._urls import is_loopback
from davy.gateway.blobs import blob_routes
from davy.gateway.describe import describe
from davy.gateway.door import Door
from davy.gateway.ingest import ingest_routes
from davy.gateway.joining import Joiner
from davy.gateway.keys import Guard, KeyRing
from davy.gateway.media import open_media
from davy.gateway.payloads import payload_routes
from davy.gateway.refusals import Later, explain_refusals
from davy.gateway.writer import Writer
from davy.runtime import Runtime

_SILENT_SECONDS = 60.0
"""A role is ready while it did something, if only to look for work, since this time."""
_ABOUT = "Takes inferences and feedback from anything that speaks HTTP, and writes them to the log."


def make_app(runtime: Runtime) -> FastAPI:
    """Build the application over a runtime: ingestion, media, health, metrics and every page installed."""
    writer = Writer(runtime)
    joiner = Joiner(runtime, writer)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with joiner.working():
            yield

    app = FastAPI(
        title="Davy gateway",
        version=version("davy"),
        description=_ABOUT,
        docs_url="/docs",
        redoc_url=None,
        lifespan=lifespan,
    )
    _add_door(app, runtime, runtime.settings.gateway.host)
    describe(app)
    _add_health(app, runtime)
    _add_media(app, runtime)
    app.include_router(ingest_routes(runtime, writer))
    app.include_router(blob_routes(runtime))
    app.include_router(payload_routes(runtime, writer, joiner))
    for point in entry_points(group="davy.pages"):
        app.include_router(point.load()(runtime), include_in_schema=False)
    return app


def make_health_app(runtime: Runtime) -> FastAPI:
    """Build the application of a process without a gateway: health and metrics, behind the same door."""
    app = FastAPI(title="Davy", version=version("davy"), docs_url=None, redoc_url=None, openapi_url=None)
    _add_door(app, runtime, runtime.settings.health.host)
    _add_health(app, runtime)
    return app


def _add_door(app: FastAPI, runtime: Runtime, host: str) -> None:
    key = runtime.settings.gateway.api_key
    guard = Guard(KeyRing(runtime.store), key, must=not is_loopback(host))
    app.add_middleware(Door, runtime=runtime, guard=guard)
    explain_refusals(app)


def _add_health(app: FastAPI, runtime: Runtime) -> None:
    @app.get("/healthz", include_in_schema=False)
    async def alive() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", include_in_schema=False)
    def ready() -> dict[str, str]:
        runtime.store.get("positions", "ready")
        runtime.log.end("davy.inferences")
        for role, seconds in runtime.pulse.silent(_SILENT_SECONDS).items():
            raise Later("role", role, f"did nothing for {seconds:.0f} s; its log says why")
        return {"status": "ready"}

    @app.get("/metrics", include_in_schema=False)
    def exposition() -> Response:
        return Response(runtime.meter.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_media(app: FastAPI, runtime: Runtime) -> None:
    @app.get("/media/{token}", include_in_schema=False)
    def media(token: str) -> Response:
        data, media_type = open_media(runtime, token)
        headers = {
            "access-control-allow-origin": "*",
            "cache-control": "private, max-age=3600",
            # A payload is a stranger's file: a browser may show it, and run nothing in it.
            "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
            "x-content-type-options": "nosniff",
        }
        return Response(data, media_type=media_type, headers=headers)
