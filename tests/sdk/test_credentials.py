"""What sounds like a secret, and what belongs to the server, leaves the process in no field of any inference."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.background import BackgroundTasks
from starlette.requests import Request
from starlette.websockets import WebSocket
from support.sdk_rig import envelopes_in, inferences_in
from werkzeug.test import EnvironBuilder

import davy
from davy.config import SdkSettings
from davy.fields.plumbing import is_plumbing
from davy.fields.secrets import SecretNames

pytestmark = pytest.mark.fast

SECRET = "s3cr3t-lamp-0451"
WORDS = ("authorization", "cookie", "api_key", "password")
SPELLINGS: list[Callable[[str], str]] = [
    str,
    str.upper,
    str.title,
    lambda word: word.replace("_", "-").title(),
    lambda word: f"HTTP_{word.upper()}",
    lambda word: f"x-proxy-{word}",
    lambda word: "my" + "".join(part.title() for part in word.split("_")),
]
SCOPE = {
    "type": "http", "asgi": {"version": "3.0"}, "method": "POST", "path": "/", "query_string": b"",
    "headers": [(b"authorization", SECRET.encode())], "session": {"user": SECRET},
}  # fmt: skip


def told(url: str) -> str:
    davy.flush()
    return repr([(one.inputs, one.outputs, one.tags, one.alternatives) for one in inferences_in(url)])


@given(st.sampled_from(WORDS), st.sampled_from(SPELLINGS), st.text("abcxyz.", max_size=8))
def test_a_secret_name_is_known_however_it_is_spelt_and_wherever_it_lies(
    word: str, spelt: Callable[[str], str], before: str
) -> None:
    names = SecretNames(WORDS)
    assert names.depth(f"{before}.{spelt(word)}.rest") == len(before.split(".")) + 1


SPELT_OTHERWISE = [
    "sessionId", "sessionID", "session_id", "session-id", "SESSIONID", "phpsessionid", "passWord", "pass_word",
    "PASS-WORD",
    "userPassWord", "dbpassword", "passPhrase", "pass_phrase", "secretkey", "secret_key", "SecretKey",
    "clientsecret",
    "client_secret", "apiKey", "API_KEY", "apikey", "APIKey", "x-apikey",
    "accesskey", "privateKey", "csrfToken", "accesstoken",
    "AccessToken", "cookie", "setCookie", "JWT", "userJwt",
]  # fmt: skip


@pytest.mark.parametrize("name", SPELT_OTHERWISE)
@pytest.mark.parametrize("words", [SdkSettings().deny_tags, SdkSettings().deny_outputs])
def test_the_words_of_the_settings_hold_for_every_spelling(words: str, name: str) -> None:
    assert SecretNames(words.split(",")).depth(name) == 1


def test_the_token_of_a_form_is_told() -> None:
    assert SecretNames(SdkSettings().deny_tags.split(",")).depth("csrfmiddlewaretoken") == 1


@given(st.data())
def test_where_words_are_parted_does_not_matter(data: st.DataObject) -> None:
    word = data.draw(st.sampled_from([each.strip() for each in SdkSettings().deny_tags.split(",")]))
    letters = word.replace("_", "")
    cut = data.draw(st.integers(1, len(letters) - 1))
    between = data.draw(st.sampled_from(["", "_", "-", " "]))
    spelt = data.draw(st.sampled_from([str, str.upper, str.title]))
    name = f"my_{spelt(letters[:cut] + between + letters[cut:])}"
    assert SecretNames([word]).depth(name) == 1


@pytest.mark.parametrize(
    "name",
    [
        "tokens", "token_count", "tokens_used", "max_tokens", "session_length", "password_strength", "keys", "age", "",
        "secretary", "secrets_found", "cookies_baked_at", "sessions", "obsession", "possession", "sessionless",
        "passwords_tried",
        "authorizations", "keyboard", "monkey", "primary_key", "api_keyboard",
    ],
)  # fmt: skip
def test_other_names_are_no_secrets(name: str) -> None:
    assert SecretNames([*WORDS, "token", "session", "secret", "jwt"]).depth(name) == 0


def test_secrets_among_inputs_and_outputs_are_left_out_and_counted_by_name(own_client: str) -> None:
    for _ in range(3):
        davy.capture(
            "m:1",
            {
                "age": 41,
                "password": SECRET,
                "event": {"headers": {"X-Api-Key": SECRET, "Accept": "text/html"}},
                "history": [{"role": "user", "access_token": SECRET}, {"role": "bot"}],
                "raw_headers": [(b"cookie", SECRET.encode()), (b"accept", b"text/html")],
            },
            {"label": "x", "clientSecret": SECRET, "credentials": {"seconds": 4.5, "id": SECRET}},
            alternatives={"m:2": {"label": "y", "auth_token": SECRET}},
        )
    assert SECRET not in told(own_client)
    one, *_ = inferences_in(own_client)
    assert one.inputs["age"] == 41
    assert one.inputs["event.headers.Accept"] == "text/html"
    assert one.inputs["history"] == [{"role": "user"}, {"role": "bot"}]
    assert one.inputs["raw_headers"] == [[b"accept", b"text/html"]]
    assert one.outputs == {"label": "x", "credentials.seconds": 4.5}
    names = {"inputs.password", "inputs.event.headers.X-Api-Key", "inputs.history.access_token"}
    names |= {"inputs.raw_headers.cookie", "outputs.clientSecret", "outputs.credentials.id"}
    names |= {"alternatives.m:2.auth_token"}
    assert davy.stats()["left_out"] == {f"m:1 {name}: secret": 3 for name in names}
    reported = [dict(each.report or {}) for each in envelopes_in(own_client)]
    assert sum(each.get("field:inputs.password:secret", 0) for each in reported) == 3


def test_a_secret_that_comes_after_plain_values_of_the_same_names_is_left_out(own_client: str) -> None:
    predict = davy.watch(lambda token, items: {"value": 1.0}, "m:1")
    for token, items in ((7, ["a", 1]), (8, ["b", 2]), (SECRET, ["c", 3]), (9, [{"cookie": SECRET}, 3])):
        predict(token, items)
    assert SECRET not in told(own_client)
    assert [one.inputs.get("token") for one in inferences_in(own_client)] == [7, 8, None, 9]


def test_numbers_are_no_secrets(own_client: str) -> None:
    davy.capture("m:1", {"token": 2003, "session": [1.5, 2.5]}, {"scores": [0.1], "token": np.arange(3)})
    davy.flush()
    (one,) = inferences_in(own_client)
    assert (one.inputs["token"], [*one.inputs["session"]]) == (2003, [1.5, 2.5])
    assert [*one.outputs["token"]] == [0, 1, 2]
    assert davy.stats()["left_out"] == {}


def test_columns_of_a_batch_are_left_out_too(own_client: str) -> None:
    predict = davy.watch(lambda rows: [0.5] * len(rows), "m:1", batched=True)
    predict([{"age": 1, "user": {"password": SECRET}, "past": [{"token": SECRET, "n": 1}]} for _ in range(3)])
    assert SECRET not in told(own_client)
    assert [one.inputs["age"] for one in inferences_in(own_client)] == [1, 1, 1]
    assert davy.stats()["left_out"]["m:1 inputs.user.password: secret"] == 3


@pytest.mark.parametrize("rule", ["inputs.headers.authorization", "inputs.*.auth*", "*.authorization"])
def test_a_rule_that_names_a_field_lets_it_travel(rule: str, own_client: str) -> None:
    davy.init(fields={rule: "inline", "*": "inline"})
    davy.capture("m:1", {"headers": {"authorization": "basic", "cookie": SECRET}}, {})
    davy.flush()
    (one,) = inferences_in(own_client)
    assert one.inputs == {"headers.authorization": "basic"}
    assert davy.stats()["left_out"] == {"m:1 inputs.headers.cookie: secret": 1}


@pytest.mark.parametrize("rule", ["*", "inputs.*", "inputs.headers", "inputs.headers.*"])
def test_a_rule_that_lets_everything_through_names_no_secret(rule: str, own_client: str) -> None:
    davy.init(fields={rule: "inline"})
    davy.capture("m:1", {"headers": {"authorization": SECRET}}, {})
    assert SECRET not in told(own_client)


def test_a_large_secret_is_stored_nowhere(own_client: str) -> None:
    davy.init(inline_bytes=100)
    davy.capture("m:1", {"text": "a", "cookie": SECRET * 100}, {})
    assert SECRET not in told(own_client)
    assert davy.stats()["left_out"] == {"m:1 inputs.cookie: secret": 1}


def test_a_token_of_an_answer_is_a_part_of_its_text(own_client: str) -> None:
    davy.capture("m:1", {"text": "Berlin"}, {"token": "Ber", "logprobs": [{"token": "lin", "logprob": -0.1}]})
    assert davy.flush()
    (one,) = inferences_in(own_client)
    assert one.outputs["token"] == "Ber"
    assert "lin" in str(one.outputs)
    assert davy.stats()["left_out"] == {}


def test_the_word_list_is_a_setting(own_client: str) -> None:
    davy.init(deny_tags="iban")
    davy.capture("m:1", {"IBAN": SECRET, "token": "t"}, {})
    assert SECRET not in told(own_client)
    assert inferences_in(own_client)[0].inputs == {"token": "t"}


class SlottedRequest:
    """A request as servers that are no library's make it."""

    __slots__ = ("headers",)

    def __init__(self) -> None:
        self.headers = {"x-auth": SECRET}

    @property
    def cookies(self) -> dict[str, str]:
        raise AssertionError("it was opened")


def requests() -> dict[str, Any]:
    async def receive() -> Any: ...
    async def send(_message: Any) -> None: ...

    return {
        "starlette": Request(dict(SCOPE)),
        "websocket": WebSocket({**SCOPE, "type": "websocket"}, receive, send),
        "werkzeug": EnvironBuilder(headers={"Authorization": SECRET}).get_request(),
        "environ": EnvironBuilder(headers={"Authorization": SECRET}).get_environ(),
        "scope": dict(SCOPE),
        "tasks": BackgroundTasks(),
        "lock": asyncio.Lock(),
        "slotted": SlottedRequest(),
    }


@pytest.mark.parametrize("name", [*requests()])
def test_what_belongs_to_the_server_is_not_opened_and_makes_no_noise(name: str, own_client: str) -> None:
    predict = davy.watch(lambda text, request: {"label": text}, "m:1")
    for text in "abcd":
        predict(text, requests()[name])
    davy.capture("m:1", {"text": "e", "call": {"request": requests()[name]}}, {"label": "e"})
    assert SECRET not in told(own_client)
    found = inferences_in(own_client)
    assert [dict(one.inputs) for one in found] == [{"text": text} for text in "abcde"]
    assert (davy.stats()["left_out"], davy.stats()["misread"]) == ({}, {})


def test_a_call_of_nothing_else_is_counted_as_one_without_inputs(own_client: str) -> None:
    davy.watch(lambda request: {"label": "x"}, "m:1")(Request(dict(SCOPE)))
    assert davy.stats()["misread"] == {"m:1: no_inputs": 1}


@dataclass
class Visit:
    headers: dict[str, str]
    cookies: dict[str, str]


def test_data_of_the_app_with_the_same_names_is_data(own_client: str) -> None:
    assert not is_plumbing(Visit({}, {}))
    davy.watch(lambda visit: {"label": "x"}, "m:1")(
        Visit({"accept": "*/*", "cookie": SECRET}, {"id": SECRET})
    )
    assert SECRET not in told(own_client)
    assert inferences_in(own_client)[0].inputs == {"headers.accept": "*/*"}


def test_only_types_are_asked() -> None:
    class Refusing:
        @property
        def __dict__(self) -> Any:  # type: ignore[override]
            raise RuntimeError("no")

        headers = property(functools.partial(pytest.fail, "it was opened"))  # type: ignore[arg-type]
        cookies = headers

    assert not is_plumbing(Refusing())
