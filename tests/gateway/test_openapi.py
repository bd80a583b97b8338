"""The gateway does what its own description says, whatever is sent to it."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode, checks
from support.gateway_rig import JSON, PACKED, LocalClient, opened, records, stored

from davy.codec import Encoder, pack
from davy.event import INFERENCES
from davy.gateway import make_app

schemathesis.serializer.alias(
    ["application/vnd.davy.envelope", "application/vnd.davy.feedback", "text/event-stream"],
    "application/octet-stream",
)
checks.load_all_checks()
KEY = {"Authorization": "Bearer lamp"}
EXAMPLES = 25
ROUTES = [
    "/v1/envelopes", "/v1/inferences", "/v1/feedback", "/v1/payloads", "/v1/cloudevents", "/v1/cloudevents/{model}",
    "/v1/oip/{model}",
]  # fmt: skip
CHECKED = [
    checks.CHECKS.get_one(name)
    for name in (
        "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
        "response_headers_conformance", "ignored_auth", "unsupported_method",
    )
]  # fmt: skip
ERROR = {"error", "field", "value", "remedy"}


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("route", ROUTES)
def test_answers_to_generated_requests_are_those_described(route: str, mode: GenerationMode) -> None:
    with opened(api_key="lamp") as runtime:
        operation = schemathesis.openapi.from_asgi("/openapi.json", make_app(runtime))[route]["POST"]

        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(generation_mode=mode))
        def check(case: Any) -> None:
            case.call_and_validate(headers=KEY, checks=CHECKED)

        check()


@pytest.mark.fast
def test_the_description_names_every_writing_route_its_examples_and_the_error_body() -> None:
    with opened() as runtime, LocalClient(make_app(runtime)) as client:
        found = client.get("/openapi.json").json()
    assert sorted(found["paths"]) == sorted(ROUTES)
    for route in ROUTES:
        operation = found["paths"][route]["post"]
        assert operation["requestBody"]["content"]
        for status in ("400", "401", "403", "408", "413", "422", "429", "503"):
            refused = operation["responses"][status]["content"]["application/json"]["schema"]
            assert refused == {"$ref": "#/components/schemas/ErrorBody"}
    assert set(found["components"]["schemas"]["ErrorBody"]["required"]) == ERROR
    assert set(found["components"]["securitySchemes"]) == {"bearer", "basic"}


@pytest.mark.fast
@pytest.mark.parametrize("route", ROUTES)
def test_every_example_of_the_description_is_accepted(route: str) -> None:
    with opened() as runtime, LocalClient(make_app(runtime)) as client:
        operation = client.get("/openapi.json").json()["paths"][route]["post"]
        path = route.replace("{model}", "fraud:3")
        attributes = {one["name"]: one["example"] for one in operation["parameters"] if one["in"] == "header"} if (
            "parameters" in operation
        ) else {}  # fmt: skip
        for media_type, content in operation["requestBody"]["content"].items():
            examples = [one["value"] for one in content.get("examples", {}).values()]
            for number, example in enumerate(
                [*examples, *([content["example"]] if "example" in content else [])]
            ):
                named = {
                    name: f"{value}-{number}" for name, value in attributes.items() if name == "ce-requestid"
                }
                headers = {**attributes, **named, "content-type": media_type}
                answer = client.post(path, json=example, headers=headers)
                assert answer.status_code in {200, 202}, answer.text


@pytest.mark.fast
@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nothing", 404), ("PUT", "/v1/envelopes", 405)]
)
def test_what_is_not_there_is_refused_with_the_same_body(method: str, path: str, status: int) -> None:
    with opened() as runtime, LocalClient(make_app(runtime)) as client:
        answer = client.request(method, path)
        assert (answer.status_code, set(answer.json())) == (status, ERROR)


@pytest.mark.fast
@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "m:1", "inputs": {"x": "\\ud800"}}',
        b'{"model": "m:\\ud800", "inputs": {"x": 1}}',
        b'{"model": "m:1", "inputs": {"\\ud800": 1}}',
        b'{"model": "m:1", "inputs": {"x": ' + b"9" * 400 + b"}}",
        b'{"model": "m:1", "inputs": {"x": ' + b"[" * 5000 + b"]" * 5000 + b"}}",
        b'{"model": "m:1", "inputs": {"x": [1, "a", null, {"b": []}]}}',
        b'{"model": "m:1", "inputs": {"x": 1}, "embedding": [1e300]}',
        b'{"model": "m:1", "inputs": {"x": 1}, "latency_ms": NaN, "seq": 9223372036854775808}',
        b'{"model": "m:1", "inputs": {"x": [[1], [1, 2]], "y": [], "z": [NaN, Infinity], "": 0}}',
        b"{" * 100_000,
        b"",
        b"\xff\xfe",
    ],
)
def test_hostile_json_is_stored_or_refused_and_never_breaks_the_gateway(body: bytes) -> None:
    with opened() as runtime, LocalClient(make_app(runtime)) as client:
        answer = client.post("/v1/inferences", content=body, headers=JSON)
        assert answer.status_code in {202, 422}
        assert len(stored(runtime)) == (answer.status_code == 202)
        for path in ("/v1/oip/m:1", "/v1/feedback"):
            assert client.post(path, content=body, headers=JSON).status_code == 422
        for side, status in (("request", {200, 422}), ("response", {422})):  # `inputs` may be columns
            headers = {"ce-id": "1", "ce-type": f"org.kubeflow.serving.inference.{side}"}
            assert client.post("/v1/cloudevents/m:1", content=body, headers=headers).status_code in status


def test_every_damaged_envelope_is_accepted_or_a_dead_letter_and_none_breaks_the_gateway() -> None:
    """600 envelopes with bytes changed, cut or put in: what comes in is what is accepted and what is set aside."""
    import numpy as np

    from davy.event import dead_letters

    generator = np.random.default_rng(11)
    inputs = {"x": np.ones((5, 3), np.float32), "text": np.array(["a", None, "ü"] + ["b"] * 2, object)}
    whole = pack(
        [Encoder().encode_batch("m:1", generator.bytes(80), 1, inputs, {"p": np.zeros(5)}, tags={"t": "u"})]
    )
    with opened(recent_ids=0) as runtime, LocalClient(make_app(runtime)) as client:
        statuses = [
            client.post("/v1/envelopes", content=damaged(whole, generator), headers=PACKED).status_code
            for _ in range(600)
        ]
        assert set(statuses) == {202, 400}
        accepted, dead = records(runtime, INFERENCES), records(runtime, dead_letters(INFERENCES))
        assert (len(accepted), len(dead)) == (statuses.count(202), statuses.count(400))
        assert len(stored(runtime)) > 0  # what was accepted can be read, all of it


def damaged(data: bytes, generator: Any) -> bytes:
    found = bytearray(data)
    for _ in range(generator.integers(1, 4)):
        place = int(generator.integers(len(found))) if found else 0
        match generator.integers(4):
            case 0:
                found[place : place + 1] = generator.bytes(1)
            case 1:
                del found[place:]
            case 2:
                found[place:place] = generator.bytes(int(generator.integers(1, 9)))
            case _:
                del found[place : place + int(generator.integers(1, 9))]
    return bytes(found)
