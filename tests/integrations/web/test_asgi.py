"""FastAPI and Starlette: the request's id and route reach what is predicted for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from support.sdk_rig import inferences_in

import davy
from davy.integrations.fastapi import DavyMiddleware
from davy.integrations.starlette import DavyMiddleware as StarletteMiddleware

NAME = "ab" * 16


@davy.watch(model="double:1")
def double(x: float) -> float:
    return 2 * x


@pytest.fixture
def client() -> Iterator[TestClient]:
    app = FastAPI()
    app.add_middleware(DavyMiddleware)

    @app.get("/users/{user}")
    def user(user: int) -> float:
        return double(user)

    @app.get("/later/{user}")
    async def later(user: int) -> float:
        return double(user) + double(user)

    @app.post("/echo")
    async def echo(request: Request) -> str:
        return (await request.body()).decode()

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(str(double(i)) for i in range(2))

    with TestClient(app) as found:
        yield found


def test_the_callers_id_is_the_inferences_and_comes_back(client: TestClient, own_client: str) -> None:
    answer = client.get("/users/7", headers={"X-Davy-Id": NAME})
    assert (answer.json(), answer.headers["X-Davy-Id"]) == (14.0, NAME)
    davy.flush()
    (one,) = inferences_in(own_client)
    assert one.id.hex() == NAME
    assert one.tags == {"route": "/users/{user}"}


@pytest.mark.parametrize("given", [{}, {"X-Davy-Id": "nonsense"}, {"X-Davy-Id": ""}])
def test_without_an_id_one_is_made(given: dict[str, str], client: TestClient, own_client: str) -> None:
    name = client.get("/users/7", headers=given).headers["X-Davy-Id"]
    assert re.fullmatch("[0-9a-f]{32}", name)
    davy.flush()
    assert [one.id.hex() for one in inferences_in(own_client)] == [name]


def test_the_first_inference_has_the_requests_id_and_the_second_its_own(
    client: TestClient, own_client: str
) -> None:
    client.get("/later/1", headers={"X-Davy-Id": NAME})
    client.get("/users/1")
    davy.flush()
    found = [one.id.hex() for one in inferences_in(own_client)]
    assert found[0] == NAME
    assert len(set(found)) == 3


def test_bodies_pass_unread_and_streams_belong_to_their_request(client: TestClient, own_client: str) -> None:
    assert client.post("/echo", content="hello" * 100_000).json() == "hello" * 100_000
    assert client.get("/stream", headers={"X-Davy-Id": NAME}).text == "02"
    davy.flush()
    found = inferences_in(own_client)
    assert found[0].id.hex() == NAME
    assert [one.tags for one in found] == [{"route": "/stream"}] * 2


def test_errors_of_the_app_pass_and_missing_pages_stay_missing(client: TestClient) -> None:
    assert client.get("/nowhere").status_code == 404
    assert client.get("/users/x").status_code == 422


def test_starlette_routes_and_websockets(own_client: str) -> None:
    async def page(request: Any) -> PlainTextResponse:
        with davy.context(tags={"country": "FR"}):
            return PlainTextResponse(str(double(1)), headers={"X-Davy-Id": "theirs"})

    async def talk(socket: Any) -> None:
        await socket.accept()
        await socket.send_text("hello")
        await socket.close()

    app = Starlette(routes=[Route("/page", page), WebSocketRoute("/talk", talk)])
    app.add_middleware(StarletteMiddleware)
    with TestClient(app) as client:
        assert client.get("/page").headers.get_list("X-Davy-Id") == ["theirs"]
        with client.websocket_connect("/talk") as socket:
            assert socket.receive_text() == "hello"
    davy.flush()
    (one,) = inferences_in(own_client)
    assert one.tags["country"] == "FR"
    assert one.tags["route"] in {"/page", "page"}
