"""Flask: the request's id and route reach what is predicted for it."""

from __future__ import annotations

from collections.abc import Iterator

import flask
import pytest
from support.sdk_rig import inferences_in

import davy
from davy.integrations.flask import DavyMiddleware

NAME = "ab" * 16


@davy.watch(model="double:1")
def double(x: float) -> float:
    return 2 * x


@pytest.fixture
def app() -> flask.Flask:
    app = flask.Flask(__name__)
    app.wsgi_app = DavyMiddleware(app.wsgi_app)  # type: ignore[method-assign]

    @app.get("/users/<int:user>")
    def user(user: int) -> str:
        return str(double(user))

    @app.get("/stream")
    def stream() -> flask.Response:
        def parts() -> Iterator[str]:
            yield from (str(double(i)) for i in range(2))

        return flask.Response(flask.stream_with_context(parts()))

    @app.post("/echo")
    def echo() -> bytes:
        return flask.request.get_data()

    return app


def test_the_callers_id_is_the_inferences_and_comes_back(app: flask.Flask, own_client: str) -> None:
    answer = app.test_client().get("/users/7", headers={"X-Davy-Id": NAME})
    assert (answer.text, answer.headers["X-Davy-Id"]) == ("14", NAME)
    davy.flush()
    (one,) = inferences_in(own_client)
    assert (one.id.hex(), dict(one.tags)) == (NAME, {"route": "/users/<int:user>"})


def test_without_an_id_one_is_made_for_each_request(app: flask.Flask, own_client: str) -> None:
    names = [app.test_client().get(f"/users/{i}").headers["X-Davy-Id"] for i in range(2)]
    davy.flush()
    assert [one.id.hex() for one in inferences_in(own_client)] == names
    assert len(set(names)) == 2


def test_streams_belong_to_their_request_and_bodies_pass_unread(app: flask.Flask, own_client: str) -> None:
    assert app.test_client().get("/stream", headers={"X-Davy-Id": NAME}).text == "02"
    assert app.test_client().post("/echo", data=b"hello").data == b"hello"
    double(1.0)
    davy.flush()
    found = inferences_in(own_client)
    assert found[0].id.hex() == NAME
    assert [dict(one.tags) for one in found] == [{"route": "/stream"}] * 2 + [{}]


def test_missing_pages_stay_missing(app: flask.Flask) -> None:
    answer = app.test_client().get("/nowhere")
    assert answer.status_code == 404
    assert len(answer.headers["X-Davy-Id"]) == 32
