"""Handlers under watch that are given the request: what it holds stays in the server, in every framework."""

from __future__ import annotations

import json
from typing import Annotated, Any

import django
import fastapi
import flask
from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.test import RequestFactory
from fastapi.testclient import TestClient
from pydantic import BaseModel
from support.sdk_rig import inferences_in

import davy

SECRET = "s3cr3t-lamp-0451"
HEADERS = {"Authorization": f"Bearer {SECRET}", "Cookie": f"session={SECRET}", "X-Api-Key": SECRET}


class Review(BaseModel):
    text: str


def only_text(url: str) -> None:
    davy.flush()
    (one,) = inferences_in(url)
    assert SECRET not in repr((one.inputs, one.outputs, one.tags))
    assert one.inputs.get("text", "good") == "good"
    assert one.outputs["label"] == "pos"
    assert davy.stats()["left_out"] == {}


def test_fastapi(own_client: str) -> None:
    app = fastapi.FastAPI()

    @app.post("/predict")
    @davy.watch(model="sentiment:1")
    async def predict(
        body: Review, request: fastapi.Request, tasks: fastapi.BackgroundTasks
    ) -> dict[str, str]:
        return {"label": "pos"}

    answer = TestClient(app).post("/predict", json={"text": "good"}, headers=HEADERS)
    assert answer.json() == {"label": "pos"}
    only_text(own_client)


def test_a_header_of_fastapi_that_was_asked_for_by_name_is_counted(own_client: str) -> None:
    app = fastapi.FastAPI()

    @app.post("/predict")
    @davy.watch(model="sentiment:1")
    async def predict(body: Review, x_api_key: Annotated[str, fastapi.Header()]) -> dict[str, str]:
        return {"label": "pos"}

    assert TestClient(app).post("/predict", json={"text": "good"}, headers=HEADERS).status_code == 200
    davy.flush()
    (one,) = inferences_in(own_client)
    assert one.inputs == {"text": "good"}
    assert davy.stats()["left_out"] == {"sentiment:1 inputs.x_api_key: secret": 1}


def test_django(own_client: str) -> None:
    if not settings.configured:
        settings.configure(SECRET_KEY="x", ALLOWED_HOSTS=["*"])
        django.setup()

    @davy.watch(model="sentiment:1")
    def predict(request: HttpRequest, text: str) -> dict[str, str]:
        return {"label": "pos"}

    request = RequestFactory(headers=HEADERS).post("/p", json.dumps({}), content_type="application/json")
    assert JsonResponse(predict(request, "good")).content == b'{"label": "pos"}'
    only_text(own_client)


def test_flask(own_client: str) -> None:
    app = flask.Flask(__name__)
    predict = davy.watch(lambda request, text: {"label": "pos"}, "sentiment:1")

    @app.post("/predict")
    def view() -> Any:
        given: Any = flask.request
        return predict(given._get_current_object(), text=given.json["text"])

    assert app.test_client().post("/predict", json={"text": "good"}, headers=HEADERS).json == {"label": "pos"}
    only_text(own_client)
