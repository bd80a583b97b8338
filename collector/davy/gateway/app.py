"""The gateway's application: routes of its own and the pages other rooms bring."""

from __future__ import annotations

import base64
import binascii
import hmac
from http import HTTPStatus
from importlib.metadata import entry_points
from typing import Final

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from davy import metrics
from davy.errors import BlobError, DavyError, InvalidInference
from davy.gateway.ingest import ingest_routes
from davy.gateway.media import open_media
from davy.runtime import Runtime


class Unauthorised(DavyError):
    """The request does not carry the API key."""


_STATUS: Final = {Unauthorised: HTTPStatus.UNAUTHORIZED, BlobError: HTTPStatus.NOT_FOUND}


def make_app(runtime: Runtime) -> FastAPI:
    """Build the application over a runtime: ingestion, media, health, metrics and every page installed."""
    app = FastAPI(title="Davy gateway", version=_version(), docs_url="/docs", redoc_url=None)

    def authorised(request: Request) -> None:
        key = runtime.settings.gateway.api_key
        if key and not hmac.compare_digest(given_key(request.headers.get("authorization", "")), key.encode()):
            remedy = "send 'Bearer <gateway.api_key>', or the key as the password of any user"
            raise Unauthorised("Authorization", "", remedy)

    @app.exception_handler(DavyError)
    async def refuse(_: Request, error: DavyError) -> JSONResponse:
        status = _STATUS.get(type(error), HTTPStatus.BAD_REQUEST)
        headers = {"www-authenticate": 'Basic realm="davy"'} if status == HTTPStatus.UNAUTHORIZED else {}
        return JSONResponse(explain(error), status_code=status, headers=headers)

    @app.exception_handler(RequestValidationError)
    async def refuse_body(_: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse(explain(_first(error)), status_code=HTTPStatus.UNPROCESSABLE_ENTITY)

    @app.middleware("http")
    async def count(request: Request, call_next):  # type: ignore[no-untyped-def]
        response = await call_next(request)
        route = getattr(request.scope.get("route"), "path", "none")
        runtime.meter.add(metrics.REQUESTS, route=route, status=str(response.status_code))
        return response

    @app.get("/healthz", include_in_schema=False)
    def alive() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", include_in_schema=False)
    def ready() -> dict[str, str]:
        runtime.store.get("positions", "ready")
        runtime.log.end("davy.inferences")
        return {"status": "ready"}

    @app.get("/metrics", include_in_schema=False, dependencies=[Depends(authorised)])
    def exposition() -> Response:
        return Response(runtime.meter.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/media/{token}", include_in_schema=False)
    def media(token: str) -> Response:
        data, media_type = open_media(runtime, token)
        headers = {"access-control-allow-origin": "*", "cache-control": "private, max-age=3600"}
        return Response(data, media_type=media_type, headers=headers)

    app.include_router(ingest_routes(runtime), dependencies=[Depends(authorised)])
    for point in entry_points(group="davy.pages"):
        app.include_router(point.load()(runtime), dependencies=[Depends(authorised)])
    return app


def given_key(header: str) -> bytes:
    """Give the key of an Authorization header: a bearer token from programs, a Basic password from browsers.

    Examples
    --------
    >>> given_key("Bearer lamp"), given_key("Basic YW55b25lOmxhbXA=")
    (b'lamp', b'lamp')
    """
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return value.encode()
    try:
        return base64.b64decode(value, validate=True).partition(b":")[2]
    except binascii.Error:
        return b""


def explain(error: DavyError) -> dict[str, str]:
    """Give the body of a refusal: what kind, which field, what was found, what to do."""
    return {
        "error": type(error).__name__,
        "field": error.field,
        "value": str(error.value)[:200],
        "remedy": error.remedy,
    }


def _first(error: RequestValidationError) -> InvalidInference:
    """Name the first field that is wrong; what pydantic calls a path also holds the types it tried."""
    found = error.errors()[0]
    path = [str(part) for part in found["loc"] if part != "body" and "Body" not in str(part)]
    return InvalidInference(".".join(path) or "body", found.get("input"), found["msg"])


def _version() -> str:
    from importlib.metadata import version

    return version("davy")
