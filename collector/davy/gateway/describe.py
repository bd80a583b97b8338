"""What the gateway says about itself: OpenAPI with the bodies, the refusals and the ways to authenticate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import Depends, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from davy.gateway.refusals import ErrorBody, WrongType

JSON: Final = "application/json"
BYTES: Final = "application/octet-stream"
STREAM: Final = "text/event-stream"
PACKED_ENVELOPE: Final = "application/vnd.davy.envelope"
PACKED_FEEDBACK: Final = "application/vnd.davy.feedback"
_REASONS: Final = {
    400: "The bytes cannot be read; they are kept as a dead letter.",
    401: "A key is needed and this is none that is known and good.",
    403: "The key lacks the scope, the Host is no name of this gateway, or a page of another site sent the request.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The body has a media type that the route does not take, or is compressed.",
    422: "A field is wrong: nothing was written.",
    429: "Too many requests a second; Retry-After says when there is room.",
    503: "The gateway is full or the log refuses: nothing was written; Retry-After says when to try again.",
}
_WAIT: Final = {
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
}
REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": ErrorBody, "description": reason} | ({"headers": _WAIT} if status in {429, 503} else {})
    for status, reason in _REASONS.items()
}


def takes(
    kinds: Mapping[str, TypeAdapter[Any] | None], *, example: Any = None, unless: str = ""
) -> dict[str, Any]:
    """Return the arguments of a route that takes these media types and refuses others with 415.

    Parameters
    ----------
    kinds
        The shape of JSON by media type, or None for bytes.
    example
        A body in JSON.
    unless
        A header with which every media type is taken: one that no page of another site can send.
    """
    content: dict[str, Any] = {}
    for media_type, kind in kinds.items():
        if kind is None:
            content[media_type] = {"schema": {"type": "string", "format": "binary"}}
        else:
            content[media_type] = {"schema": _inline(kind.json_schema())}
            if example is not None:
                content[media_type]["example"] = example

    async def check(request: Request) -> None:
        given = media_type_of(request)
        if given not in kinds and not (unless and unless in request.headers):
            raise WrongType("Content-Type", given, f"send the header 'Content-Type: {' or '.join(kinds)}'")

    body = {"requestBody": {"required": True, "content": content}}
    return {"openapi_extra": body, "dependencies": [Depends(check)]}


def media_type_of(request: Request) -> str:
    """Return the media type of a request's body without its parameters; empty where none is named."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def describe(app: FastAPI) -> None:
    """Describe `app` in its schema, with the two ways to send a key."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            found.setdefault("components", {})["securitySchemes"] = {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A key of `davy keys create`."},
                "basic": {"type": "http", "scheme": "basic", "description": "The key as password."},
            }
            found["security"] = [{"bearer": []}, {"basic": []}]
            app.openapi_schema = found
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _inline(schema: Any, known: Mapping[str, Any] | None = None) -> Any:
    """Put the definitions a schema refers to where it refers to them: a body's schema stands alone in OpenAPI."""
    if isinstance(schema, list):
        return [_inline(part, known) for part in schema]
    if not isinstance(schema, dict):
        return schema
    known = schema.get("$defs", {}) if known is None else known
    if "$ref" in schema:
        return _inline(known[schema["$ref"].rpartition("/")[2]], known)
    return {key: _inline(part, known) for key, part in schema.items() if key != "$defs"}
