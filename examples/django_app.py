"""A Django service in one file: ``python examples/django_app.py`` answers one request."""

import json

import django
from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.test import Client
from django.urls import path

import davy

settings.configure(
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=["davy.integrations.django.DavyMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="only for the example",
    USE_TZ=True,
)
django.setup()


@davy.watch(model="double:1")
def predict(x: float) -> float:
    """Stand in for a model."""
    return 2 * x


def answer(request: HttpRequest) -> JsonResponse:
    """Answer one request."""
    return JsonResponse({"value": predict(json.loads(request.body)["x"])})


urlpatterns = [path("predict", answer)]

if __name__ == "__main__":
    response = Client().post("/predict", {"x": 4.0}, content_type="application/json")
    print(response.json(), response.headers["X-Davy-Id"])
    davy.flush()
