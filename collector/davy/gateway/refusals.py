"""What the gateway refuses, with which status, and how it says so."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from davy.errors import BlobError, DavyError, InvalidInference, LogError, Refused, StoreError
from davy.gateway.remedies import invalid

_AGAIN_SECONDS: Final = 1.0
_SHOWN: Final = 200


class Refusal(DavyError):
    """The gateway does not take a request; `status` is the answer's."""

    status = HTTPStatus.BAD_REQUEST


class Unauthorised(Refusal):
    """The request does not carry a key that is known."""

    status = HTTPStatus.UNAUTHORIZED


class Forbidden(Refusal):
    """The key lacks the scope."""

    status = HTTPStatus.FORBIDDEN


class TooSlow(Refusal):
    """The body did not arrive in time."""

    status = HTTPStatus.REQUEST_TIMEOUT


class TooLarge(Refusal):
    """The body is larger than any the gateway takes."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class WrongType(Refusal):
    """The body has a media type that the route does not take."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class Later(Refusal):
    """The same request may be taken after `seconds`."""

    status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, field: str, value: object, remedy: str, seconds: float = _AGAIN_SECONDS) -> None:
        super().__init__(field, value, remedy)
        self.seconds = seconds


class TooMany(Later):
    """A client sends more requests a second than it may."""

    status = HTTPStatus.TOO_MANY_REQUESTS


class ErrorBody(BaseModel):
    """Why a request was refused and what to do about it."""

    error: str = Field(description="kind of the error", examples=["InvalidInference"])
    field: str = Field(description="what was wrong", examples=["model"])
    value: str = Field(description="what was found there, shortened", examples=["fraud"])
    remedy: str = Field(description="what to do", examples=["give name:version"])


def explain(error: DavyError) -> dict[str, str]:
    """Return the body of a refusal: what kind, which field, what was found, what to do."""
    return {
        "error": type(error).__name__,
        "field": error.field,
        "value": str(error.value)[:_SHOWN],
        "remedy": error.remedy,
    }


def answer(error: DavyError) -> JSONResponse:
    """Return the whole answer to a request that ended in `error`."""
    status, headers = _status(error), {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = 'Basic realm="davy"'
    if status in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}:
        headers["retry-after"] = str(math.ceil(getattr(error, "seconds", _AGAIN_SECONDS)))
    return JSONResponse(_printable(explain(error)), status_code=status, headers=headers)


def explain_refusals(app: FastAPI) -> None:
    """Make every refusal of `app`, the framework's own too, carry the same body."""

    @app.exception_handler(DavyError)
    async def refuse(_: Request, error: DavyError) -> JSONResponse:
        return answer(error)

    @app.exception_handler(RequestValidationError)
    async def refuse_parameters(_: Request, error: RequestValidationError) -> JSONResponse:
        return answer(invalid(error))

    @app.exception_handler(HTTPException)
    async def refuse_path(request: Request, error: HTTPException) -> JSONResponse:
        body = {
            "error": HTTPStatus(error.status_code).phrase,
            "field": "path",
            "value": f"{request.method} {request.url.path}"[:_SHOWN],
            "remedy": "see /docs for what there is",
        }
        return JSONResponse(_printable(body), status_code=error.status_code, headers=error.headers)


def _status(error: DavyError) -> HTTPStatus:
    match error:
        case Refusal():
            return error.status
        case Refused():
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        case LogError() | StoreError():
            return HTTPStatus.SERVICE_UNAVAILABLE
        case BlobError():
            return HTTPStatus.NOT_FOUND
        case InvalidInference():
            return HTTPStatus.UNPROCESSABLE_ENTITY
        case _:
            return HTTPStatus.BAD_REQUEST


def _printable(body: dict[str, str]) -> dict[str, Any]:
    return {key: text.encode("utf-8", "replace").decode() for key, text in body.items()}
