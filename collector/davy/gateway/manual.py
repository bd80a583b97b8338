"""The page ``/docs``: the description of the gateway as one can read it, with a command for every example."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from davy.gateway.browser import PAGE

_MODEL: Final = "fraud:3"


@dataclass(frozen=True, slots=True)
class DocumentedField:
    """One field of a body in JSON, or one parameter."""

    name: str
    type: str
    required: bool
    about: str


@dataclass(frozen=True, slots=True)
class Route:
    """One route as the page shows it."""

    method: str
    path: str
    about: str
    parameters: list[DocumentedField]
    fields: list[DocumentedField]
    media_types: list[str]
    examples: list[tuple[str, str]]


def manual_routes(app: FastAPI) -> APIRouter:
    """Build the route ``/docs`` over what `app` says about itself."""
    routes = APIRouter()
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader,
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("manual.html")

    @routes.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    def page(request: Request) -> HTMLResponse:
        description = app.openapi()
        address = str(request.base_url).rstrip("/")
        shown = list(described(description, address))
        html = template.render(info=description["info"], routes=shown, refusals=_refusals(description))
        return HTMLResponse(html, headers=PAGE)

    return routes


def described(description: Mapping[str, Any], address: str) -> Iterator[Route]:
    """Return every route of an OpenAPI description, with commands that send its examples to `address`."""
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            parameters = operation.get("parameters", [])
            content = operation["requestBody"]["content"]
            schemas = [one["schema"] for one in content.values()]
            yield Route(
                method.upper(),
                path,
                operation.get("description", ""),
                [_field(one["name"], one["schema"], one["required"], one) for one in parameters],
                [field for schema in schemas for field in _fields(schema)],
                list(content),
                list(_commands(f"{address}{path.replace('{model}', _MODEL)}", parameters, content)),
            )


def _fields(schema: Mapping[str, Any]) -> Iterator[DocumentedField]:
    """Return the fields of a body; where one object or a list of them may be sent, those of the object."""
    record: Mapping[str, Any] = next(
        (one for one in schema.get("anyOf", [schema]) if "properties" in one), {}
    )
    for name, about in record.get("properties", {}).items():
        yield _field(name, about, name in record.get("required", ()), about)


def _field(name: str, schema: Mapping[str, Any], required: bool, about: Mapping[str, Any]) -> DocumentedField:
    kinds = [one.get("type", "any") for one in schema.get("anyOf", [schema])]
    return DocumentedField(name, " or ".join(dict.fromkeys(kinds)), required, about.get("description", ""))


def _commands(
    url: str, parameters: list[Mapping[str, Any]], content: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, str]]:
    """Return a title and a command for every example; headers carry what describes a body that is sent as it is."""
    carried = [f"{one['name']}: {one['example']}" for one in parameters if one["in"] == "header"]
    for media_type, described in content.items():
        examples = {name: one["value"] for name, one in described.get("examples", {}).items()}
        if "example" in described:
            examples[media_type] = described["example"]
        for title, value in examples.items():
            headers = [f"content-type: {media_type}", *(carried if title != media_type else ())]
            words = [part for header in headers for part in ("-H", header)]
            yield title, shlex.join(["curl", url, *words, "-d", json.dumps(value)])


def _refusals(description: Mapping[str, Any]) -> dict[str, str]:
    """Return what the statuses of refusals mean; they are the same for every route."""
    responses = next(iter(description["paths"].values()))["post"]["responses"]
    return {status: one["description"] for status, one in responses.items() if status >= "400"}
