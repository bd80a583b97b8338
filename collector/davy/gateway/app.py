"""The gateway's application: routes of its own and the pages other rooms bring."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.metadata import entry_points, version
from typing import Final

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse

from davy._urls import is_loopback
from davy.gateway.blobs import blob_routes
from davy.gateway.browser import Browser
from davy.gateway.describe import describe
from davy.gateway.door import Door
from davy.gateway.ingest import ingest_routes
from davy.gateway.joining import Joiner
from davy.gateway.keys import Authenticator, KeyRing
from davy.gateway.manual import manual_routes
from davy.gateway.media import open_media
from davy.gateway.payloads import payload_routes
from davy.gateway.refusals import explain_refusals
from davy.gateway.writer import Writer
from davy.health import Health
from davy.runtime import Runtime

_KNOWN_SECONDS = 10.0
_LOOK_SECONDS = 0.02
_NOT_KEPT: Final = {"cache-control": "no-store"}
_ABOUT = "Takes inferences and feedback from anything that speaks HTTP, and writes them to the log."


def make_app(runtime: Runtime) -> FastAPI:
    """Build the application over a runtime: ingestion, media, health, metrics and every page installed."""
    writer = Writer(runtime)
    joiner = Joiner(runtime, writer)

    health = Health(runtime)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with health.running():
            async with joiner.working():
                yield

    app = FastAPI(
        title="Davy gateway",
        version=version("davy"),
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    _add_door(app, runtime, runtime.settings.gateway.host)
    describe(app)
    _add_health(app, runtime, health)
    _add_media(app, runtime)
    app.include_router(ingest_routes(runtime, writer))
    app.include_router(blob_routes(runtime))
    app.include_router(payload_routes(runtime, writer, joiner))
    app.include_router(manual_routes(app))
    for point in entry_points(group="davy.pages"):
        app.include_router(point.load()(runtime, health), include_in_schema=False)
    return app


def make_health_app(runtime: Runtime) -> FastAPI:
    """Build the application of a process without a gateway: health and metrics, behind the same door."""
    health = Health(runtime)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with health.running():
            yield

    app = FastAPI(
        title="Davy",
        version=version("davy"),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
    )
    _add_door(app, runtime, runtime.settings.health.host)
    _add_health(app, runtime, health)
    return app


def _add_door(app: FastAPI, runtime: Runtime, host: str) -> None:
    key = runtime.key if runtime.settings.gateway.has_key else None
    guard = Authenticator(KeyRing.of(runtime), key, must=not is_loopback(host))
    browser = Browser(runtime.settings.gateway, host)
    app.add_middleware(Door, runtime=runtime, guard=guard, browser=browser)
    explain_refusals(app)


def _add_health(app: FastAPI, runtime: Runtime, health: Health) -> None:
    scrapes = ThreadPoolExecutor(max_workers=1, thread_name_prefix="davy-metrics")

    @app.get("/healthz", include_in_schema=False)
    async def alive() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", include_in_schema=False)
    async def ready() -> Response:
        deadline = time.monotonic() + _KNOWN_SECONDS
        while not health.known and time.monotonic() < deadline:  # noqa: ASYNC110 - found out by threads, at the start
            await asyncio.sleep(_LOOK_SECONDS)
        return _readiness(health)

    @app.get("/metrics", include_in_schema=False)
    async def exposition() -> Response:
        # In a thread of its own: those of the other routes may all wait for a store that does not answer.
        text = await asyncio.get_running_loop().run_in_executor(scrapes, runtime.meter.exposition)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def _readiness(health: Health) -> Response:
    """Answer 200 or, while something is wrong, 503; either way with what is not well."""
    found = [check.shown() for check in health.troubles()]
    wrong = not health.known or any(check["state"] == "wrong" for check in found)
    body = {"status": "not ready" if wrong else "ready", "findings": found}
    return JSONResponse(body, status_code=503 if wrong else 200, headers=_NOT_KEPT)


def _add_media(app: FastAPI, runtime: Runtime) -> None:
    @app.get("/media/{token}", include_in_schema=False)
    def media(token: str) -> Response:
        data, media_type = open_media(runtime, token)
        headers = {
            "access-control-allow-origin": "*",
            "cache-control": "private, max-age=3600",
            # A payload is a stranger's file: a browser may show it, and run nothing in it.
            "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
            "cross-origin-resource-policy": "cross-origin",
        }
        return Response(data, media_type=media_type, headers=headers)
