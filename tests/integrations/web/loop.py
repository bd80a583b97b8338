"""Applications that answer requests on their way to a person: what the watched function answers, and the route."""

from __future__ import annotations

import json
from typing import Any

import django
from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.test import Client
from django.urls import path
from fastapi import FastAPI
from fastapi.testclient import TestClient
from flask import Flask, request
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from support.integration_loop import captures, main

import davy

TEXTS = [f"parcel {at} is {'late' if at % 2 else 'here'}" for at in range(8)]


@captures("FastAPI")
def fastapi(model: str) -> list[Any]:
    from davy.integrations.fastapi import DavyMiddleware

    app = FastAPI()
    app.add_middleware(DavyMiddleware)
    judge = davy.watch(lambda text: {"label": _intent(text), "score": 0.75}, model)

    @app.get("/judge/{text}")
    def answer(text: str) -> dict[str, Any]:
        return judge(text)

    client = TestClient(app)
    return [client.get(f"/judge/{text}").json()["label"] for text in TEXTS]


@captures("Starlette")
def starlette(model: str) -> list[Any]:
    from davy.integrations.starlette import DavyMiddleware

    judge = davy.watch(
        lambda text: (
            {"praise": 0.9, "complaint": 0.1} if "here" in text else {"praise": 0.2, "complaint": 0.8}
        ),
        model,
    )

    async def answer(asked: Request) -> JSONResponse:
        return JSONResponse(judge(asked.path_params["text"]))

    app = Starlette(routes=[Route("/judge/{text}", answer)])
    app.add_middleware(DavyMiddleware)
    client = TestClient(app)
    found = [client.get(f"/judge/{text}").json() for text in TEXTS]
    return [max(each, key=each.get) for each in found]


@captures("Flask")
def flask(model: str) -> list[Any]:
    from davy.integrations.flask import DavyMiddleware

    app = Flask(__name__)
    app.wsgi_app = DavyMiddleware(app.wsgi_app)
    judge = davy.watch(_intent, model)

    @app.post("/judge")
    def answer() -> str:
        return judge(request.get_json()["text"])

    client = app.test_client()
    return [client.post("/judge", json={"text": text}).text for text in TEXTS]


@captures("Django")
def django_(model: str) -> list[Any]:
    price = davy.watch(lambda weight, country: 1.5 * weight, model)

    def answer(asked: HttpRequest) -> JsonResponse:
        return JsonResponse({"price": price(**json.loads(asked.body))})

    settings.configure(
        ALLOWED_HOSTS=["*"],
        MIDDLEWARE=["davy.integrations.django.DavyMiddleware"],
        ROOT_URLCONF=(path("price", answer),),
        SECRET_KEY="only for the test",
        USE_TZ=True,
    )
    django.setup()
    asked = [{"weight": 1.0 + at, "country": "NZ"} for at in range(8)]
    client = Client()
    return [client.post("/price", one, content_type="application/json").json()["price"] for one in asked]


def _intent(text: str) -> str:
    return "complaint" if "late" in text else "praise"


if __name__ == "__main__":
    main()
