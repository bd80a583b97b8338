"""A key's project binds: what it writes is called after the project, by every route, and nothing else is renamed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from support.gateway_rig import PACKED, LocalClient, opened, records, stored

from davy.cli import run_app
from davy.codec import Encoder, decode, dump, dump_any, load, load_any, pack
from davy.dead_letters import DeadLetters, Selection
from davy.errors import DecodeError, SettingError
from davy.event import FEEDBACK, INFERENCES, Feedback, dead_letters
from davy.gateway import make_app
from davy.gateway.keys import KeyRing
from davy.runtime import Runtime
from davy.store import Batch, open_store

pytestmark = pytest.mark.fast
ID = bytes(15) + b"\x07"
CALL = {"id": "c", "inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]}
ANSWER = {"outputs": [{"name": "y", "shape": [1], "datatype": "FP32", "data": [1]}]}
HALVES = {"request": {"instances": [[6.8, 2.8], [6.0, 3.4]]}, "response": {"predictions": [1, 2]}}
FEEDBACK_PACKED = {"content-type": "application/vnd.davy.feedback"}


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def headers(side: str) -> dict[str, str]:
    """Return the headers of KServe's logger in binary mode."""
    attributes = {
        "specversion": "1.0", "id": "call-7", "source": "http://localhost:9081/", "endpoint": "1",
        "type": f"org.kubeflow.serving.inference.{side}", "inferenceservicename": "same", "component": "predictor",
    }  # fmt: skip
    return {f"ce-{name}": value for name, value in attributes.items()}


def envelope(model: str = "same:1", id: bytes = ID) -> bytes:
    return pack([Encoder().encode(model, id, 1, {"x": 1.5}, {"value": 2.0})])


def post(path: str, **body: Any) -> Callable[[TestClient, Mapping[str, str]], None]:
    def send(client: TestClient, key: Mapping[str, str]) -> None:
        given = {**body, "headers": {**body.get("headers", {}), **key}}
        assert client.post(path, **given).status_code in {200, 202}

    return send


def event(path: str) -> Callable[[TestClient, Mapping[str, str]], None]:
    def send(client: TestClient, key: Mapping[str, str]) -> None:
        for side in ("request", "response"):
            answer = client.post(path, json=HALVES[side], headers={**headers(side), **key})
            assert answer.status_code == 200

    return send


ROUTES: Mapping[str, Callable[[TestClient, Mapping[str, str]], None]] = {
    "/v1/envelopes": post("/v1/envelopes", content=envelope(), headers=PACKED),
    "/v1/inferences": post("/v1/inferences", json=[{"model": "same:1", "inputs": {"x": 1}}] * 2),
    "/v1/cloudevents": event("/v1/cloudevents"),
    "/v1/cloudevents/{model}": event("/v1/cloudevents/same:1"),
    "/v1/oip/{model}": post("/v1/oip/same:1", json={"request": CALL, "response": ANSWER}),
}
TOLD = {"/v1/feedback"}
NAMELESS = {"/v1/payloads"}


IN_PATHS: Mapping[str, Callable[[str], Callable[[TestClient, Mapping[str, str]], None]]] = {
    "/v1/cloudevents/{model}": event,
    "/v1/oip/{model}": lambda path: post(path, json={"request": CALL, "response": ANSWER}),
}


def keys(runtime: Runtime, *projects: str, **more: Any) -> list[dict[str, str]]:
    ring = KeyRing(runtime.store)
    return [bearer(ring.create(project, ["write"], **more)[1]) for project in projects]


def test_every_route_that_writes_is_looked_at_here() -> None:
    with opened() as runtime:
        paths = make_app(runtime).openapi()["paths"]
    assert {path for path in paths if path.startswith("/v1/")} == set(ROUTES) | TOLD | NAMELESS


@pytest.mark.parametrize("spelt", ["same:1", "fraud/same:1", "fraud%2Fsame:1"])
def test_every_route_with_a_model_in_its_path_takes_the_name_with_its_project(spelt: str) -> None:
    with opened() as runtime:
        app = make_app(runtime)
        paths = {path for path in app.openapi()["paths"] if "{model}" in path}
        assert paths == set(IN_PATHS)
        (fraud,) = keys(runtime, "fraud")
        _, reader = KeyRing(runtime.store).create("ops", ["read"])
        with LocalClient(app) as client:
            for path in sorted(paths):
                IN_PATHS[path](path.replace("{model}", spelt))(client, fraud)
            counted = client.get("/metrics", headers=bearer(reader)).text
        assert {one.model for one in stored(runtime)} == {"fraud/same:1"}
        assert len(stored(runtime)) == 3
        assert all(f'route="{path}"' in counted for path in paths)


@pytest.mark.parametrize("route", ROUTES)
def test_the_same_name_of_two_projects_is_two_models(route: str) -> None:
    with opened() as runtime:
        fraud, risk = keys(runtime, "fraud", "risk")
        (any_model,) = keys(runtime, "old team", binds=False)
        with LocalClient(make_app(runtime)) as client:
            for key in (fraud, risk, any_model):
                ROUTES[route](client, key)
        models = [one.model for one in stored(runtime)]
        assert sorted(set(models)) == ["fraud/same:1", "risk/same:1", "same:1"]
        assert {record.key for record in records(runtime, INFERENCES)} == set(models)


def test_the_rest_of_an_envelope_stays_bit_by_bit() -> None:
    with opened() as runtime:
        (fraud,) = keys(runtime, "fraud")
        _, reader = KeyRing(runtime.store).create("ops", ["read"])
        sent = pack([Encoder().encode("same:1", ID, 7, {"x": 1.5}, {"value": 2.0})], report={"full": 3})
        with LocalClient(make_app(runtime)) as client:
            post("/v1/envelopes", content=sent, headers=PACKED)(client, fraud)
            text = client.get("/metrics", headers=bearer(reader)).text
        (record,) = records(runtime, INFERENCES)
        found = decode(record.value)
        assert (found.model, dict(found.report), found.inference(0).inputs) == (
            "fraud/same:1", {"full": 3}, {"x": 1.5},
        )  # fmt: skip
        assert 'davy_gateway_inferences_total{model="fraud/same:1"} 1.0' in text


@pytest.mark.parametrize("packed", [False, True])
def test_feedback_is_told_of_the_projects_model_under_either_name(packed: bool) -> None:
    with opened() as runtime:
        (fraud,) = keys(runtime, "fraud")
        with LocalClient(make_app(runtime)) as client:
            for model in ("same:1", "fraud/same:1", ""):
                if packed:
                    content = dump(Feedback(ID, 3, 5, model=model))
                    post("/v1/feedback", content=content, headers=FEEDBACK_PACKED)(client, fraud)
                else:
                    post("/v1/feedback", json={"id": ID.hex(), "truth": 3, "model": model})(client, fraud)
        told = [(load(Feedback, one.value).model, one.key) for one in records(runtime, FEEDBACK)]
        assert told == [("fraud/same:1", "fraud/same:1")] * 2 + [("", "")]


def test_no_key_of_a_project_writes_a_model_of_another() -> None:
    with opened() as runtime:
        (fraud,) = keys(runtime, "fraud")
        with LocalClient(make_app(runtime)) as client:
            post("/v1/inferences", json={"model": "risk/same:1", "inputs": {"x": 1}})(client, fraud)
            post("/v1/inferences", json={"model": "fraud/same:1", "inputs": {"x": 1}})(client, fraud)
        assert [one.model for one in stored(runtime)] == ["fraud/risk/same:1", "fraud/same:1"]


def test_the_operator_and_callers_without_keys_write_names_as_they_are() -> None:
    with opened() as runtime, LocalClient(make_app(runtime)) as client:
        ROUTES["/v1/inferences"](client, {})
        assert {one.model for one in stored(runtime)} == {"same:1"}
    with opened(api_key="lamp") as runtime, LocalClient(make_app(runtime)) as client:
        ROUTES["/v1/envelopes"](client, bearer("lamp"))
        assert {one.model for one in stored(runtime)} == {"same:1"}


def test_a_key_of_before_and_its_successors_rename_nothing() -> None:
    with opened() as runtime:
        ring = KeyRing(runtime.store)
        old, secret = ring.create("fraud", ["write"])
        made_before = load_any(runtime.store.get("keys", old.id) or b"")
        del made_before["binds"]
        runtime.store.apply(Batch().put("keys", old.id, dump_any(made_before)))
        new, successor = ring.rotate(old.id)
        assert not new.binds
        with LocalClient(make_app(runtime)) as client:
            for key in (secret, successor):
                ROUTES["/v1/inferences"](client, bearer(key))
        assert {one.model for one in stored(runtime)} == {"same:1"}
        bound, _ = ring.create("fraud", ["write"])
        assert ring.rotate(bound.id)[0].binds


def test_halves_of_two_projects_are_two_calls_also_after_a_restart() -> None:
    with opened() as runtime:
        fraud, risk = keys(runtime, "fraud", "risk")
        with LocalClient(make_app(runtime)) as client:
            for key in (fraud, risk):
                assert client.post(
                    "/v1/cloudevents", json=HALVES["request"], headers={**headers("request"), **key}
                ).json()["waiting"]
        with LocalClient(make_app(runtime)) as client:
            for key in (fraud, risk):
                answer = client.post(
                    "/v1/cloudevents", json=HALVES["response"], headers={**headers("response"), **key}
                )
                assert answer.json()["accepted"] == 2
        assert [one.model for one in stored(runtime)] == ["fraud/same:1"] * 2 + ["risk/same:1"] * 2


def test_a_name_without_room_for_its_project_is_refused_with_the_way_out() -> None:
    with opened() as runtime:
        (fraud,) = keys(runtime, "fraud")
        with LocalClient(make_app(runtime)) as client:
            for length, status in ((194, 202), (195, 422)):
                row = {"model": f"{'m' * length}:1", "inputs": {"x": 1}}
                answer = client.post("/v1/inferences", json=row, headers=fraud)
                assert answer.status_code == status
            assert "fraud/" in answer.json()["remedy"]
            assert client.post(
                "/v1/envelopes", content=envelope(f"{'m' * 195}:1"), headers={**PACKED, **fraud}
            ).status_code == 422  # fmt: skip


def test_a_dead_letter_of_a_project_comes_back_as_the_projects_model_and_not_before_it_can_be_read() -> None:
    with opened(key_models=1) as runtime:
        (fraud,) = keys(runtime, "fraud")
        with LocalClient(make_app(runtime)) as client:
            bodies = [(envelope("a:1"), 202), (envelope("b:1", bytes(16)), 422), (b"DVY\x01 later", 400)]
            for body, status in bodies:
                answer = client.post("/v1/envelopes", content=body, headers={**PACKED, **fraud})
                assert answer.status_code == status
        letters = DeadLetters(runtime)
        assert [one.record.value for one in letters.every(Selection())] == [bodies[1][0], b"DVY\x01 later"]
        assert len(letters.replay(letters.waiting(Selection(), whole=True))) == 1
        assert [one.model for one in stored(runtime)] == ["fraud/a:1", "fraud/b:1"]
        (left,) = letters.waiting(Selection())
        with pytest.raises(DecodeError):
            _ = left.original
        assert records(runtime, dead_letters(INFERENCES))[-1].value == b"DVY\x01 later"


@pytest.mark.parametrize("project", ["a/b", "a:b", "a b", "a\u202eb", "x" * 65])
def test_a_project_that_cannot_stand_before_a_name_is_refused(project: str) -> None:
    ring = KeyRing(open_store("memory://badly-named"))
    with pytest.raises(SettingError, match="stands before the names of its models"):
        ring.create(project, ["write"])
    assert (
        ring.create(project, ["read"])[0].project == ring.create(project, ["write"], binds=False)[0].project
    )


def test_the_command_says_what_a_key_writes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DAVY_URL", f"sqlite:///{tmp_path}")
    for arguments in (["fraud"], ["fraud", "--any-model"], ["fraud", "--scope", "read"]):
        assert run_app(["keys", "create", *arguments, "--json"]) == 0
    made = [json.loads(line)["writes"] for line in capsys.readouterr().out.splitlines()]
    assert made == ["fraud/*", "any model", None]
    assert run_app(["keys", "list", "--json"]) == 0
    assert [row["writes"] for row in json.loads(capsys.readouterr().out)] == made
