"""Names of models are bounded, for a key and in all; beyond that nothing is written, and it is said and counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from support.gateway_rig import PACKED, LocalClient, opened, records, stored

from davy.codec import Encoder, pack
from davy.event import INFERENCES, dead_letters
from davy.gateway import make_app
from davy.gateway.keys import KeyRing

pytestmark = pytest.mark.fast
DAY = 24 * 3600 * 10**9


def sends(client: TestClient, *models: str, **headers: str) -> Any:
    rows = [{"model": model, "inputs": {"x": 1}} for model in models]
    return client.post("/v1/inferences", json=rows, headers=headers)


def test_beyond_the_bound_of_a_key_a_new_model_is_refused_and_those_it_has_go_on() -> None:
    with opened(key_models=3) as runtime, LocalClient(make_app(runtime)) as client:
        assert sends(client, "a:1", "b:1", "c:1").status_code == 202
        answer = sends(client, "d:1")
        found = answer.json()
        assert (answer.status_code, found["error"], found["field"], found["value"]) == (
            422, "TooManyModels", "model", "d:1",
        )  # fmt: skip
        assert "DAVY_GATEWAY_KEY_MODELS" in found["remedy"]
        assert sends(client, "a:1", "b:1", "c:1").status_code == 202
        assert 'davy_gateway_refused_inferences_total{bound="key"} 1.0' in client.get("/metrics").text
        assert {one.model for one in stored(runtime)} == {"a:1", "b:1", "c:1"}


def test_a_request_with_thousands_of_names_takes_no_place_from_others() -> None:
    with opened() as runtime, LocalClient(make_app(runtime)) as client:
        for part in range(4):
            names = [f"flood{part}-{number}:1" for number in range(5_000)]
            assert sends(client, *names).status_code == 422
        assert sends(client, "honest:1").status_code == 202
        text = client.get("/metrics").text
        assert "flood" not in text
        assert 'davy_gateway_refused_inferences_total{bound="key"} 20000.0' in text


def test_a_key_that_makes_up_names_harms_no_other_key() -> None:
    with opened() as runtime:
        ring = KeyRing(runtime.store)
        (_, loud), (_, honest) = (ring.create(project, ["write"]) for project in ("loud", "honest"))
        with LocalClient(make_app(runtime)) as client:
            answers = [
                sends(client, f"loud:{n}", authorization=f"Bearer {loud}").status_code for n in range(300)
            ]
            assert answers == [202] * 200 + [422] * 100
            for number in range(200):
                assert sends(client, f"new:{number}", authorization=f"Bearer {honest}").status_code == 202


def test_in_all_there_are_so_many_models_whatever_keys_there_are() -> None:
    with opened(models=5, key_models=3) as runtime:
        ring = KeyRing(runtime.store)
        keys = [ring.create(str(number), ["write"])[1] for number in range(2)]
        with LocalClient(make_app(runtime)) as client:
            answers = [
                sends(client, f"m{number}:{place}", authorization=f"Bearer {key}")
                for place, key in enumerate(keys)
                for number in range(3)
            ]
        assert [one.status_code for one in answers] == [202] * 5 + [422]
        assert "DAVY_GATEWAY_MODELS" in answers[-1].json()["remedy"]


def test_an_envelope_beyond_the_bound_is_set_aside_with_the_reason() -> None:
    with opened(key_models=1) as runtime, LocalClient(make_app(runtime)) as client:
        for model, status in (("a:1", 202), ("b:1", 422)):
            data = pack([Encoder().encode(model, bytes(16), 1, {"x": np.ones(3, np.float32)}, {})])
            assert client.post("/v1/envelopes", content=data, headers=PACKED).status_code == status
        (record,) = records(runtime, dead_letters(INFERENCES))
        assert (record.value, record.headers["davy.error"]) == (data, "TooManyModels")


def test_a_restart_gives_no_place_away_and_a_day_of_silence_does() -> None:
    now = DAY
    with opened(clock=lambda: now, key_models=2) as runtime:
        with LocalClient(make_app(runtime)) as client:
            assert sends(client, "a:1", "b:1").status_code == 202
        with LocalClient(make_app(runtime)) as client:
            assert sends(client, "c:1").status_code == 422
            now += DAY // 2
            assert sends(client, "a:1").status_code == 202
            now += DAY // 2 + 1
            assert sends(client, "c:1").status_code == 202
            assert 'inferences_total{model="b:1"}' not in client.get("/metrics").text
            assert sends(client, "b:1").status_code == 422
        with LocalClient(make_app(runtime)) as client:
            assert sends(client, "b:1").status_code == 422
            assert sends(client, "a:1", "c:1").status_code == 202


def test_a_model_that_another_gateway_took_has_its_place_here_too() -> None:
    now = DAY
    with (
        opened(clock=lambda: now, key_models=2) as runtime,
        LocalClient(make_app(runtime)) as one,
        LocalClient(make_app(runtime)) as other,
    ):
        assert sends(one, "a:1").status_code == 202
        now += 2 * DAY
        assert sends(other, "b:1").status_code == 202
        assert sends(other, "a:1", "c:1").status_code == 422
        assert sends(other, "a:1").status_code == 202
        assert sends(other, "c:1").status_code == 422


def test_a_clock_that_was_ahead_holds_no_place_for_longer() -> None:
    now = 100 * DAY
    with opened(clock=lambda: now, key_models=1) as runtime:
        with LocalClient(make_app(runtime)) as client:
            assert sends(client, "a:1").status_code == 202
        now = 2 * DAY
        with LocalClient(make_app(runtime)) as client:
            assert sends(client, "b:1").status_code == 422
            now += DAY + 1
            assert sends(client, "b:1").status_code == 202


def test_logged_calls_are_bounded_as_well() -> None:
    with opened(key_models=1) as runtime, LocalClient(make_app(runtime)) as client:
        call = {"id": "c", "inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]}
        answer = {"outputs": [{"name": "y", "shape": [1], "datatype": "FP32", "data": [1]}]}
        found = [
            client.post(f"/v1/oip/{model}", json={"request": call, "response": answer}).status_code
            for model in ("a:1", "b:1")
        ]
        assert found == [202, 422]
        for number, side in enumerate(("request", "response")):
            headers = {"ce-id": "e", "ce-type": f"org.kubeflow.serving.inference.{side}"}
            body = {"instances": [[1]]} if side == "request" else {"predictions": [1]}
            event = client.post("/v1/cloudevents/c:1", json=body, headers=headers)
            assert event.status_code == (200, 422)[number]
        assert {one.model for one in stored(runtime)} == {"a:1"}


def test_beyond_the_bound_of_fields_a_model_gets_no_new_ones_and_its_own_go_on() -> None:
    with opened(model_fields=4) as runtime, LocalClient(make_app(runtime)) as client:

        def sent(*names: str, model: str = "a:1") -> Any:
            body = {"model": model, "inputs": dict.fromkeys(names, 1)}
            return client.post("/v1/inferences", json=[body, {**body, "model": "other:1"}])

        assert sent("w", "x").status_code == sent("y", "z").status_code == 202
        answer = sent("w", "new")
        assert (answer.status_code, answer.json()["error"], answer.json()["value"]) == (
            422,
            "TooManyFields",
            "5 fields",
        )
        assert "DAVY_GATEWAY_MODEL_FIELDS" in answer.json()["remedy"]
        assert sent("w", "x", "y", "z").status_code == 202
        assert 'refused_inferences_total{bound="fields"} 2.0' in client.get("/metrics").text
        data = pack([Encoder().encode("a:1", bytes(16), 1, {"newer": np.ones(3)}, {})])
        assert client.post("/v1/envelopes", content=data, headers=PACKED).json()["error"] == "TooManyFields"
        assert "new" not in {name for one in stored(runtime) for name in one.inputs}


def test_no_request_makes_up_the_values_of_a_label() -> None:
    with opened(key_models=5) as runtime, LocalClient(make_app(runtime)) as client:
        sends(client, "a:1")

        def series() -> int:
            return len(
                [line for line in client.get("/metrics").text.splitlines() if line.startswith("davy_gateway")]
            )

        for _ in range(2):  # the first time every status shows up
            before = series()
            for number in range(50):
                client.get(f"/made/up/{number}")
                client.request(f"MADE{number}", "/v1/inferences")
                client.post(
                    f"/v1/cloudevents/made-up-{number}:1", content=b"", headers={"ce-id": f"{number}"}
                )
                client.post(f"/v1/oip/made-up-{number}:1", json={})
                sends(client, f"made-up-{number}:1", "b:1", "c:1", "d:1", "e:1", "f:1")
        assert series() == before
