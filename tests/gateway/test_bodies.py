"""What clients call an id, a time, a tag: told apart, taken as meant, or refused with what to do."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.gateway_rig import JSON, LocalClient, joined, opened, records, stored

from davy.codec import load
from davy.errors import InvalidInference
from davy.event import FEEDBACK, MODEL_RULE, Feedback
from davy.gateway import make_app
from davy.gateway.bodies import FEEDBACK as BODIES_OF_FEEDBACK
from davy.gateway.bodies import INFERENCES, parse
from davy.gateway.moments import nanoseconds
from davy.runtime import Runtime

pytestmark = pytest.mark.fast
ID = uuid.UUID("550e8400-e29b-41d4-a716-44665544000a")
NEW_YEAR = 1_767_225_600_000_000_000
EARLY = 10**14
ONE = {"model": "a:1", "inputs": {"x": 1}, "outputs": {"value": 1}}


@pytest.fixture(scope="module")
def world() -> Iterator[tuple[Runtime, LocalClient]]:
    with opened(recent_ids=0) as runtime, LocalClient(make_app(runtime)) as client:
        yield runtime, client


World = tuple[Runtime, LocalClient]


@pytest.mark.parametrize(
    "text",
    [str(ID), str(ID).upper(), ID.hex, ID.hex.upper(), ID.urn, f"{{{ID}}}", f"{{{ID.hex}}}", f"URN:UUID:{ID}",
    f" {ID} "],
)  # fmt: skip
def test_an_id_is_taken_in_every_way_a_uuid_is_written_by_inferences_and_feedback(
    world: World, text: str
) -> None:
    runtime, client = world
    answer = client.post("/v1/inferences", json={**ONE, "id": text})
    assert (answer.status_code, answer.json()["ids"]) == (202, [ID.hex])
    assert stored(runtime)[-1].id == ID.bytes
    client.post("/v1/feedback", json={"id": text, "truth": "cat"}).raise_for_status()
    assert load(Feedback, records(runtime, FEEDBACK)[-1].value).id == ID.bytes
    headers = {"ce-id": text.strip(), "ce-type": "org.kubeflow.serving.inference.response"}
    client.post("/v1/cloudevents/a:1", json={"predictions": [1]}, headers=headers).raise_for_status()
    headers["ce-type"] = "org.kubeflow.serving.inference.request"
    client.post("/v1/cloudevents/a:1", json={"instances": [1]}, headers=headers).raise_for_status()
    assert stored(runtime)[-1].id == ID.bytes


@pytest.mark.parametrize(
    "wrong",
    ["", "short", ID.hex[:-1], ID.hex + "0", "g" * 32, f"{{{ID}", f"{ID}}}", "-".join(ID.hex), 7, True, [1], {"a": 1},
     "\uff10" * 32],
)  # fmt: skip
def test_what_is_no_id_is_refused_with_the_field_and_what_to_give(world: World, wrong: Any) -> None:
    _, client = world
    for path, body in (("/v1/inferences", ONE), ("/v1/feedback", {"truth": 1})):
        answer = client.post(path, json={**body, "id": wrong})
        assert (answer.status_code, answer.json()["field"]) == (422, "id")
        assert "UUID" in answer.json()["remedy"]


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (NEW_YEAR, NEW_YEAR),
        (str(NEW_YEAR), NEW_YEAR),
        (float(NEW_YEAR), NEW_YEAR),
        ("2026-01-01T00:00:00Z", NEW_YEAR),
        ("2026-01-01t00:00:00z", NEW_YEAR),
        ("2026-01-01T02:00:00+02:00", NEW_YEAR),
        ("2025-12-31T19:00:00-0500", NEW_YEAR),
        ("2026-01-01T00:00:00", NEW_YEAR),
        ("2026-01-01 00:00", NEW_YEAR),
        ("2026-01-01", NEW_YEAR),
        ("20260101T000000Z", NEW_YEAR),
        ("2026-01-01T00:00:00.5Z", NEW_YEAR + 500_000_000),
        ("2026-01-01T00:00:00,25Z", NEW_YEAR + 250_000_000),
        ("2026-01-01T00:00:00.123456789+00:00", NEW_YEAR + 123_456_789),
        ("1999-12-31T23:59:59.9999999999Z", 946_684_799_999_999_999),
    ],
)
def test_a_time_is_nanoseconds_or_iso_8601_and_utc_without_a_zone(
    world: World, at: Any, expected: int
) -> None:
    runtime, client = world
    client.post("/v1/inferences", json={**ONE, "at": at}).raise_for_status()
    assert stored(runtime)[-1].at == expected
    client.post("/v1/feedback", json={"id": ID.hex, "truth": 1, "at": at}).raise_for_status()
    assert load(Feedback, records(runtime, FEEDBACK)[-1].value).at == expected


@pytest.mark.parametrize(
    ("at", "hint"),
    [
        (1_767_225_600, "looks like seconds (2026-01-01T00:00:00Z): multiply by 1000000000"),
        (1_767_225_600.25, "looks like seconds"),
        ("1767225600", "looks like seconds"),
        (1_767_225_600_000, "looks like milliseconds (2026-01-01T00:00:00Z): multiply by 1000000"),
        (1_767_225_600_000_000, "looks like microseconds (2026-01-01T00:00:00Z): multiply by 1000"),
        (12, "1973"),
        (0, "1973"),
        (-1, "1973"),
        (-1e300, "1973"),
        (NEW_YEAR * 3, "future"),
        (10**40, "future"),
        (10**400, "future"),
        (-(10**400), "1973"),
        ("9999-12-31", "future"),
        ("0001-01-01", "1973"),
        ("yesterday", "ISO 8601"),
        ("2026-13-01", "ISO 8601"),
        ("", "ISO 8601"),
        (True, "ISO 8601"),
        ([NEW_YEAR], "ISO 8601"),
    ],
)
def test_another_unit_or_another_age_is_refused_with_what_it_looks_like(
    world: World, at: Any, hint: str
) -> None:
    _, client = world
    for path, body in (("/v1/inferences", ONE), ("/v1/feedback", {"id": ID.hex, "truth": 1})):
        answer = client.post(path, json={**body, "at": at})
        assert (answer.status_code, answer.json()["field"]) == (422, "at")
        assert hint in answer.json()["remedy"]
        assert answer.json()["value"] == str(at)[:200]


def test_a_clock_may_be_a_day_ahead_and_no_more() -> None:
    ahead = NEW_YEAR + 24 * 3600 * 10**9
    assert nanoseconds(ahead, now=lambda: NEW_YEAR) == ahead
    with pytest.raises(InvalidInference):
        nanoseconds(ahead + 1, now=lambda: NEW_YEAR)


@settings(max_examples=200, deadline=None)
@given(st.integers(EARLY, NEW_YEAR // 1000), st.integers(-14 * 60, 14 * 60))
def test_every_moment_in_every_zone_reads_back_as_it_was_written(micros: int, offset: int) -> None:
    zone = timezone(timedelta(minutes=offset))
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    assert nanoseconds(moment.astimezone(zone).isoformat()) == micros * 1000


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers())))
def test_whatever_is_given_as_a_time_is_a_time_of_the_last_decades_or_refused(value: Any) -> None:
    try:
        found = nanoseconds(value)
    except InvalidInference:
        return
    assert 10**17 <= found <= time.time_ns() + 2 * 24 * 3600 * 10**9


def test_an_event_with_an_impossible_time_happened_when_it_came(world: World) -> None:
    runtime, client = world
    for clock in ("1767225600", "9999-01-01T00:00:00Z", "nonsense", "", "0000-00-00"):
        before = time.time_ns()
        for side, part in (("request", "instances"), ("response", "predictions")):
            headers = {
                "ce-id": clock or "none",
                "ce-type": f"org.kubeflow.serving.inference.{side}",
                "ce-time": clock,
            }
            client.post("/v1/cloudevents/a:1", json={part: [1]}, headers=headers).raise_for_status()
        assert before <= stored(runtime)[-1].at <= time.time_ns()


def test_in_a_list_the_field_that_is_wrong_is_named_with_its_place(world: World) -> None:
    _, client = world
    for change, field in (({"at": 1767225600}, "1.at"), ({"id": "x"}, "1.id"), ({"model": "m"}, "1.model")):
        answer = client.post("/v1/inferences", json=[ONE, {**ONE, **change}])
        assert (answer.status_code, answer.json()["field"]) == (422, field)
    answer = client.post("/v1/inferences", json=3)
    assert (answer.status_code, answer.json()["field"]) == (422, "body")


def test_tags_and_groups_are_what_they_are_in_the_app_and_gaps_in_an_embedding_are_gaps(world: World) -> None:
    runtime, client = world
    more = {
        "tags": {"shop": "east", "vip": True, "age": 3, "share": 0.5, "none": None}, "group": 7,
        "embedding": [0.5, None, 2],
    }  # fmt: skip
    client.post("/v1/inferences", json={**ONE, **more}).raise_for_status()
    one = stored(runtime)[-1]
    assert (dict(one.tags), one.group) == ({"shop": "east", "vip": True, "age": 3, "share": 0.5}, "7")
    np.testing.assert_array_equal(one.embedding, np.array([0.5, np.nan, 2], np.float32))


ODD: list[Any] = [
    None, True, -0.0, 10**18, 10**25, "", "ü\u0000", [], [[]], [None], [1, None], [1, "a"], [[1], [1, 2]], {},
    {"a": {}},
    {"a": {"b": [1, {"c": None}]}}, [{"a": 1}, {"b": 2}], {"": 1}, {"a.b": 1}, ["x", None], [True, 1],
]  # fmt: skip


@pytest.mark.parametrize("value", ODD, ids=repr)
def test_whatever_json_can_say_beside_a_number_the_number_arrives(world: World, value: Any) -> None:
    runtime, client = world
    body = {**ONE, "inputs": {"x": 1.5, "odd": value}, "outputs": {"probs": [0.5, 0.5], "odd": value}}
    client.post("/v1/inferences", json=body).raise_for_status()
    one = stored(runtime)[-1]
    assert (one.inputs["x"], one.outputs["probs"].tolist()) == (1.5, [0.5, 0.5])


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e400", "9" * 400])
def test_numbers_that_are_not_finite_or_huge_do_not_cost_what_is_beside_them(
    world: World, value: str
) -> None:
    runtime, client = world
    body = f'{{"model": "a:1", "inputs": {{"x": 1.5, "odd": {value}, "list": [1, {value}]}}}}'
    answer = client.post("/v1/inferences", content=body, headers=JSON)
    assert answer.status_code == 202, answer.text
    assert stored(runtime)[-1].inputs["x"] == 1.5


def test_half_of_an_emoji_costs_that_character_and_nothing_beside_it(world: World) -> None:
    runtime, client = world
    kinds = {"content-type": "application/json"}
    inputs = rb'{"text": "cut \ud83d", "kept": "\ud83d\ude00 \\ud83d"}'
    body = rb'{"model": "a:1", "outputs": {"value": 1}, "inputs": ' + inputs + b"}"
    client.post("/v1/inferences", content=body, headers=kinds).raise_for_status()
    assert stored(runtime)[-1].inputs == {"text": "cut \ufffd", "kept": "\U0001f600 \\ud83d"}
    (asked,) = joined(rb'{"instances": [{"text": "\udc00 cut"}]}', {"predictions": [1]})
    assert asked.inputs["text"] == "\ufffd cut"


WRONG: dict[str, tuple[Any, tuple[str, str, str]]] = {
    "a model without a version": ({**ONE, "model": "m"}, ("model", "m", MODEL_RULE)),
    "a model with a space": ({**ONE, "model": "a b:1"}, ("model", "a b:1", MODEL_RULE)),
    "a model that is a number": ({**ONE, "model": 3}, ("model", "3", "give text")),
    "no model": ({"inputs": {"x": 1}}, ("model", "nothing", "is needed: give it")),
    "a field that is mistyped": ({**ONE, "outputz": {"y": 1}}, ("outputz", "an object of 1", "did you mean outputs? ")),
    "a field that is nowhere near": ({**ONE, "zzz": 7}, ("zzz", "7", "is no field; there are model, inputs, ")),
    "a list of inputs": ({**ONE, "inputs": [1, 2]}, ("inputs", "a list of 2", "give an object")),
    "no inputs": ({**ONE, "inputs": {}}, ("inputs", "an object of 0", "give 1 or more")),
    "too many inputs": (
        {**ONE, "inputs": {str(n): n for n in range(5000)}}, ("inputs", "an object of 5,000", "give 4096 at most; "),
    ),
    "a large seq": ({**ONE, "seq": 2**63}, ("seq", str(2**63), f"give less than {2**63}")),
    "a small seq": ({**ONE, "seq": -(2**63) - 1}, ("seq", str(-(2**63) - 1), f"give {-(2**63)} or more")),
    "half a seq": ({**ONE, "seq": 1.5}, ("seq", "1.5", "give a whole number")),
    "a seq in words": ({**ONE, "seq": "one"}, ("seq", "one", "give a whole number")),
    "a slow latency": ({**ONE, "latency_ms": "slow"}, ("latency_ms", "slow", "give a number")),
    "a group of two": ({**ONE, "group": [1, 2]}, ("group", "a list of 2", "give text or a whole number")),
    "a tag of two": (
        {**ONE, "tags": {"str": [1, 2]}},
        ("tags.str", "a list of 2", "give text or true or false or a whole number or a number"),
    ),
    "text in an embedding": ({**ONE, "embedding": [1, "x"]}, ("embedding.1", "x", "give a number")),
    "a number for all of it": (3, ("body", "3", "give an object or a list")),
    "a number among inferences": ([ONE, 3], ("1", "3", "give an object")),
    "a mistyped field of the second": ([ONE, {**ONE, "tag": {}}], ("1.tag", "an object of 0", "did you mean tags? ")),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_whatever_is_wrong_with_a_field_is_said_in_words_that_say_what_to_give(
    world: World, case: str
) -> None:
    body, (field, value, remedy) = WRONG[case]
    answer = world[1].post("/v1/inferences", json=body)
    said = answer.json()
    assert (answer.status_code, said["field"], said["value"]) == (422, field, value)
    assert remedy in said["remedy"]
    assert len(said["remedy"]) < 200


def test_feedback_and_what_is_no_json_are_refused_in_such_words_too(world: World) -> None:
    _, client = world
    for body, field, remedy in (
        ({"id": ID.hex}, "truth", "is needed: give it"),
        (
            {"id": ID.hex, "truth": 1, "kin": 2},
            "kin",
            "did you mean kind? there are id, truth, kind, model, at",
        ),
    ):
        said = client.post("/v1/feedback", json=body).json()
        assert (said["field"], remedy in said["remedy"]) == (field, True)
    said = client.post("/v1/inferences", content=b"xx", headers=JSON).json()
    assert (said["field"], said["value"]) == ("body", "2 bytes")
    assert said["remedy"].startswith("is no JSON (expected value at line 1 column 1): give an object")


@given(body=st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["model", "inputs", "outputs", "tags", "group", "seq", "id", "at", "embedding", "tag"]), inner
    ), max_leaves=6,
))  # fmt: skip
def test_no_refusal_speaks_pydantic(body: Any) -> None:
    for kind in (INFERENCES, BODIES_OF_FEEDBACK):
        said = ""
        try:
            parse(json.dumps(body).encode(), kind)
        except InvalidInference as error:
            said = error.remedy
        assert "Input should" not in said
        assert len(said) < 300


@pytest.mark.parametrize("name", ["fra\nud:1", "fraud:1\n", "\n"])
@pytest.mark.parametrize("route", ["oip", "cloudevents"])
def test_a_line_break_in_the_path_is_refused_as_a_name(world: World, route: str, name: str) -> None:
    _, client = world
    answer = client.post(f"/v1/{route}/{quote(name)}", json={})
    assert answer.status_code in {400, 415, 422}
    assert answer.json()["field"] != "path"
