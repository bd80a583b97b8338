"""What a server answers, and what a client was answered, is opened nowhere, and counted wherever it stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import flask
import httpx
import pytest
import requests
import starlette.requests
import starlette.responses
from support.sdk_rig import inferences_in

import davy

pytestmark = pytest.mark.fast


class AsAiohttp(MutableMapping[str, Any]):
    """A response that is a mapping of what the app keeps with it, as aiohttp's is."""

    def __init__(self) -> None:
        self._kept: dict[str, Any] = {}

    headers: Any = property(lambda self: {})
    status: Any = property(lambda self: 200)

    def __getitem__(self, name: str) -> Any:
        return self._kept[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._kept[name] = value

    def __delitem__(self, name: str) -> None:
        del self._kept[name]

    def __iter__(self) -> Any:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)


def answered() -> Any:
    found = requests.Response()
    found.status_code = 200
    found._content = b'{"label": "cat"}'
    return found


RESPONSES: Mapping[str, Callable[[], Any]] = {
    "a mapping": AsAiohttp,
    "flask": lambda: flask.Response("a"),
    "starlette": lambda: starlette.responses.JSONResponse({"label": "cat"}),
    "starlette's stream": lambda: starlette.responses.StreamingResponse(iter(["a"])),
    "httpx": lambda: httpx.Response(200, json={"label": "cat"}),
    "requests": answered,
}


@pytest.mark.parametrize("make", RESPONSES.values(), ids=RESPONSES)
def test_a_response_is_left_out_by_name_wherever_it_stands(make: Callable[[], Any], own_client: str) -> None:
    response = make()
    alone = davy.watch(lambda x: response, "alone:1")
    assert alone(1) is alone(2) is response
    davy.watch(lambda x: {"found": response, "score": 0.5}, "within:1")(1)
    davy.watch(lambda x: (response, 200), "beside:1")(1)
    davy.watch(lambda answer, x: 1.0, "given:1")(response, 1)
    assert davy.flush()
    held = [
        value for one in inferences_in(own_client) for value in (*one.inputs.values(), *one.outputs.values())
    ]
    assert all(value is None or type(value) in {int, float} for value in held)
    assert davy.stats()["left_out"] == {
        "alone:1 outputs.value: type": 2,
        "within:1 outputs.found: type": 1,
        "beside:1 outputs.output_0: type": 1,
        "given:1 inputs.answer: type": 1,
    }


def test_a_request_within_something_is_not_opened_either(own_client: str) -> None:
    request = starlette.requests.Request({"type": "http", "headers": [(b"cookie", b"a=b")]})
    davy.watch(lambda x: 1.0, "m:1")({"deep": {"request": request}, "age": 3})
    assert davy.flush()
    (found,) = inferences_in(own_client)
    assert "cookie" not in str(found)
    assert found.inputs["age"] == 3


def test_data_of_the_app_that_has_these_names_is_data(own_client: str) -> None:
    @dataclass
    class Mail:
        status: str = "read"
        headers: dict[str, str] = field(default_factory=lambda: {"subject": "hi"})

    davy.watch(lambda x: Mail(), "m:1")(1)
    davy.watch(lambda x: {"status": "read", "headers": {"subject": "hi"}}, "m:1")(1)
    assert davy.flush()
    assert [dict(each.outputs) for each in inferences_in(own_client)] == [
        {"status": "read", "headers.subject": "hi"}
    ] * 2
