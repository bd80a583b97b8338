"""The routes: one page for a person, the same as JSON for a program."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from davy.console import age, command
from davy.gateway.browser import PAGE
from davy.health import Health
from davy.runtime import Runtime
from davy_dashboards.web import _format
from davy_dashboards.web._status import StatusReader

_TONES: Final = {"ok": "healthy", "warning": "blind", "wrong": "failing"}
"""The tone of a model whose colours a finding has."""


def router(runtime: Runtime, health: Health) -> APIRouter:
    """Make the routes ``/`` and ``/status.json`` over a runtime's store and log.

    Models, incidents and queue are read from the store and the log, so the page says the same of them whichever process
    serves it; what is wrong with Davy is what ``/readyz`` of this process says.
    """
    routes = APIRouter()
    reader = StatusReader(runtime, health)
    template = _environment().get_template("status.html")

    @routes.get("/", response_class=HTMLResponse, include_in_schema=False)
    def page(request: Request) -> HTMLResponse:
        html = template.render(status=reader.read(), address=str(request.base_url).rstrip("/"))
        return HTMLResponse(html, headers=PAGE)

    @routes.get("/status.json", include_in_schema=False)
    def status() -> JSONResponse:
        return JSONResponse(_plain(asdict(reader.read())), headers=PAGE)

    return routes


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        age=age,
        amount=_format.amount,
        breakable=_format.breakable,
        moment=_format.moment,
        percent=_format.percent,
    )
    environment.globals.update(command=command, tones=_TONES)
    return environment


def _plain(value: Any) -> Any:
    """Return what JSON can carry: bytes as hexadecimal, numbers that are not finite as null."""
    match value:
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case bytes():
            return value.hex()
        case float():
            return _format.finite(value)
    return value
