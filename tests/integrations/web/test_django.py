"""Django: the request's id and route reach what is predicted for it, under WSGI and ASGI."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import django
import pytest
from django.conf import settings
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from support.sdk_rig import inferences_in

import davy

NAME = "ab" * 16


@davy.watch(model="double:1")
def double(x: float) -> float:
    return 2 * x


def user(request: Any, user: int) -> HttpResponse:
    return HttpResponse(str(double(user)))


async def later(request: Any, user: int) -> HttpResponse:
    return HttpResponse(str(double(user)))


urlpatterns = [path("users/<int:user>", user), path("later/<int:user>", later)]

settings.configure(
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=["davy.integrations.django.DavyMiddleware"],
    ROOT_URLCONF=sys.modules[__name__],
    SECRET_KEY="a" * 50,
    USE_TZ=True,
)
django.setup()


@pytest.mark.parametrize("view", ["users", "later"])
def test_under_wsgi_the_callers_id_is_the_inferences(view: str, own_client: str) -> None:
    answer = Client().get(f"/{view}/7", headers={"X-Davy-Id": NAME})
    assert (answer.content, answer.headers["X-Davy-Id"]) == (b"14", NAME)
    check(view, own_client)


@pytest.mark.parametrize("view", ["users", "later"])
def test_under_asgi_the_callers_id_is_the_inferences(view: str, own_client: str) -> None:
    answer = asyncio.run(AsyncClient().get(f"/{view}/7", headers={"X-Davy-Id": NAME}))
    assert (answer.content, answer.headers["X-Davy-Id"]) == (b"14", NAME)
    check(view, own_client)


def check(view: str, url: str) -> None:
    davy.flush()
    (one,) = inferences_in(url)
    assert (one.id.hex(), dict(one.tags)) == (NAME, {"route": f"{view}/<int:user>"})


def test_without_an_id_one_is_made(own_client: str) -> None:
    name = Client().get("/users/7").headers["X-Davy-Id"]
    davy.flush()
    assert [one.id.hex() for one in inferences_in(own_client)] == [name]
