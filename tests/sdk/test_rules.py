"""Rules for fields: what may leave the process, and how; the first that matches decides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.sdk_rig import Store, inferences_in, start

import davy
from davy.config import load
from davy.errors import SettingError
from davy.sdk.home import HOME

pytestmark = pytest.mark.fast


def captured(own_client: str, fields: Any, *, model: str = "m:1", **parts: Any) -> Any:
    davy.init(fields=fields)
    davy.capture(model, parts.pop("inputs", {"x": 1.0}), parts.pop("outputs", {"value": 2.0}), **parts)
    davy.flush()
    (found,) = inferences_in(own_client)
    return found


def test_a_last_rule_that_drops_all_makes_an_allow_list(own_client: str) -> None:
    found = captured(
        own_client,
        {"inputs.age": "inline", "outputs.*": "inline", "*": "drop"},
        inputs={"age": 41, "name": "Ann"},
        embedding=[0.1, 0.2],
        tags={"country": "NZ"},
        group="session",
        alternatives={"m:2": {"value": 3.0}},
    )
    assert (dict(found.inputs), dict(found.outputs)) == ({"age": 41}, {"value": 2.0})
    assert (found.embedding, dict(found.tags), found.group, dict(found.alternatives)) == (None, {}, None, {})


def test_a_rule_may_hold_for_some_models_only(own_client: str) -> None:
    davy.init(fields={"inputs.name@fraud:*": "drop"})
    for model in ("fraud:3", "other:1"):
        davy.capture(model, {"name": "Ann", "x": 1.0}, {})
    davy.flush()
    assert [sorted(one.inputs) for one in inferences_in(own_client)] == [["x"], ["name", "x"]]


def test_the_first_rule_that_matches_decides(own_client: str) -> None:
    found = captured(own_client, {"inputs.a*": "inline", "inputs.*": "drop"}, inputs={"ab": 1, "b": 2})
    assert dict(found.inputs) == {"ab": 1}


@pytest.mark.parametrize("word", ["password", "Authorization", "API_KEY", "session"])
def test_tags_that_sound_secret_stay_in_the_process(word: str, own_client: str) -> None:
    davy.capture("m:1", {"x": 1.0}, {}, tags={word: "secret", "country": "NZ"})
    with davy.context(tags={word: "secret"}):
        davy.capture("m:1", {"x": 1.0}, {})
    predict = davy.watch(lambda x: x[:, 0], "m:1", batched=True)
    with davy.context(tags={word: "secret"}):
        predict(np.zeros((2, 2)))
    davy.flush()
    tags = [dict(one.tags) for one in inferences_in(own_client)]
    assert tags == [{"country": "NZ"}, {}, {}, {}]


def test_a_rule_that_names_a_denied_tag_wins(own_client: str) -> None:
    found = captured(own_client, {"tags.session": "inline"}, tags={"session": "8", "token": "t"})
    assert dict(found.tags) == {"session": "8"}


def test_the_deny_list_is_a_setting(own_client: str) -> None:
    davy.init(deny_tags="iban")
    davy.capture("m:1", {"x": 1.0}, {}, tags={"IBAN": "NZ12", "token": "t"})
    davy.flush()
    (found,) = inferences_in(own_client)
    assert dict(found.tags) == {"token": "t"}


def test_a_hashed_field_is_the_pseudonym_of_its_value(own_client: str) -> None:
    davy.init(fields={"inputs.email": "hash", "tags.user": "hash", "group": "hash"}, salt="pepper")
    for user in ("ann", "ann", "bob"):
        davy.capture("m:1", {"email": f"{user}@example.org"}, {}, tags={"user": user}, group=user)
    expected = davy.pseudonym("ann")
    davy.flush()
    first, second, third = inferences_in(own_client)
    assert first.inputs == second.inputs != third.inputs
    assert first.tags["user"] == first.group == expected
    assert "ann" not in str(first)


def test_pseudonyms_hang_on_the_salt_and_the_type() -> None:
    found = set()
    for salt in ("pepper", "salt"):
        start(Store(), salt=salt)
        found |= {davy.pseudonym(value) for value in ("42", 42, b"42", np.arange(3))}
    assert len(found) == 8
    start(Store())
    assert davy.pseudonym("42") == davy.pseudonym("42")
    assert davy.pseudonym("42") not in found


@pytest.mark.swallows
def test_a_pseudonym_of_what_has_no_bytes_stands_for_nothing_else() -> None:
    start(Store())
    assert davy.pseudonym(object()) != davy.pseudonym(object())


def test_rules_hold_for_each_row_of_a_batch(own_client: str) -> None:
    davy.init(fields={"inputs.name": "hash", "inputs.iban": "drop", "inputs.scan": "summary"}, salt="s")
    predict = davy.watch(lambda frame: frame["x"], "m:1", batched=True)
    names = np.array(["ann", "bob"], dtype=object)
    predict({"x": np.ones(2), "name": names, "iban": names, "scan": np.ones((2, 4))})
    pseudonyms = [davy.pseudonym(name) for name in names]
    davy.flush()
    found = inferences_in(own_client)
    assert [one.inputs["name"] for one in found] == pseudonyms
    assert [{name.partition(".")[0] for name in one.inputs} for one in found] == [{"name", "scan", "x"}] * 2
    assert [list(one.inputs["scan"]["shape"]) for one in found] == [[4], [4]]


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize(
    "rule", ["inputs.customer", "inputs.customer.home.street", "inputs.customer.*", "inputs.cust*"]
)
def test_a_rule_for_a_mapping_holds_for_the_fields_it_becomes(
    own_client: str, rule: str, batched: bool
) -> None:
    davy.init(fields={rule: "drop"})
    customer = {"age": 4.0, "home": {"street": "secret street"}}
    if batched:
        davy.watch(lambda frame: np.ones(2), "m:1", batched=True)(
            {"x": np.ones(2), "customer": [customer] * 2}
        )
    else:
        davy.capture("m:1", {"x": 1.0, "customer": customer}, {})
    davy.flush()
    for one in inferences_in(own_client):
        assert "secret" not in str(one)
        assert one.inputs["x"] == 1.0
        assert ("customer.age" in one.inputs) == (rule == "inputs.customer.home.street")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"inputs.x": "blub"}, "sdk.fields.inputs.x"),
        ({"inputs.x": "blob:tiff"}, "sdk.fields.inputs.x"),
        ({"inputs.x": "drop:png"}, "sdk.fields.inputs.x"),
        ({"input.x": "drop"}, "sdk.fields"),
        ({"inputs.x": 3}, "sdk.fields"),
        ("inputs.x", "sdk.fields"),
    ],
)
def test_a_rule_nobody_understands_disables_the_sdk_instead_of_sending_all(
    fields: Any, named: str, caplog: pytest.LogCaptureFixture
) -> None:
    davy.init(fields=fields)
    davy.capture("m:1", {"x": 1.0}, {})
    assert davy.stats()["dropped"] == {"disabled": 1}
    assert named in caplog.text


def test_rules_come_from_a_file_or_the_environment_alike(tmp_path: Any) -> None:
    file = tmp_path / "davy.toml"
    file.write_text('[sdk.fields]\n"inputs.scan@lungs:*" = "blob:png"\n"*" = "drop"\n')
    expected = (("inputs.scan@lungs:*", "blob:png"), ("*", "drop"))
    assert load(env={}, file=file).sdk.fields == expected
    env = {"DAVY_SDK_FIELDS": "inputs.scan@lungs:* = blob:png, *=drop"}
    assert load(env=env).sdk.fields == expected


def test_a_blob_rule_without_a_blob_store_is_refused() -> None:
    with pytest.raises(SettingError, match="blob_url"):
        start(Store(), fields={"inputs.x": "blob"})
    assert HOME.client is None
