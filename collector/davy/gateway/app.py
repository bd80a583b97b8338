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
from davy.gateway.refusals import explain_refusals
from davy.gateway.writer import Writer
from davy.runtime import Runtime

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
    settings = runtime.settings.gateway
    guard = Guard(KeyRing(runtime.store), settings.api_key, must=not is_loopback(settings.host))
    app.add_middleware(Door, runtime=runtime, guard=guard)
    explain_refusals(app)
    describe(app)
    _add_own(app, runtime)
    app.include_router(ingest_routes(runtime, writer))
    app.include_router(blob_routes(runtime))
    app.include_router(payload_routes(runtime, writer, joiner))
    for point in entry_points(group="davy.pages"):
        app.include_router(point.load()(runtime), include_in_schema=False)
    return app


def _add_own(app: FastAPI, runtime: Runtime) -> None:
    @app.get("/healthz", include_in_schema=False)
    async def alive() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", include_in_schema=False)
    def ready() -> dict[str, str]:
        runtime.store.get("positions", "ready")
        runtime.log.end("davy.inferences")
        return {"status": "ready"}

    @app.get("/metrics", include_in_schema=False)
    def exposition() -> Response:
        return Response(runtime.meter.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

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
