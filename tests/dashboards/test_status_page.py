"""The status page tells the truth, whatever the names in it are made of."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from support.gateway_rig import LocalClient
from support.mining import make_candidate, make_flag

from davy.codec import Encoder, dump, dump_any, pack
from davy.config import DetectSettings, LabelStudioSettings, Settings
from davy.errors import BlobError, StoreError
from davy.event import INFERENCES, BlobRef, Evidence, Label
from davy.gateway.app import make_app
from davy.health import Health, read_status
from davy.health.check import Check
from davy.health.roles import expected_roles
from davy.log import Message
from davy.runner import open_runtime
from davy.runtime import Runtime
from davy.store import Batch
from davy_dashboards.web import router
from davy_detectors.incidents.incident import Incident
from davy_detectors.reference.active import put as put_reference
from davy_miner.candidates import Candidate
from davy_miner.dataset.build import DATASETS, Version
from davy_miner.labels import Revisions
from davy_miner.labelstudio.records import Trouble

pytestmark = pytest.mark.fast
SECOND = 10**9
START = 1_700_000_000 * SECOND
NASTY = '<script>alert("x")</script>&\'</style>'


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def runtime(clock: Clock) -> Iterator[Runtime]:
    settings = Settings(
        url=f"memory://{uuid.uuid4()}",
        detect=DetectSettings(blind_seconds=60),
        labelstudio=LabelStudioSettings(url="http://labelstudio:8080", public_url="https://labels.example"),
    )
    with open_runtime(settings) as opened:
        yield replace(opened, clock=clock)


class Browser:
    def __init__(self, runtime: Runtime) -> None:
        app = FastAPI()
        app.include_router(router(runtime, Health(runtime)))
        self._transport = httpx.ASGITransport(app)

    def get(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        return asyncio.run(self._get(path, headers)).raise_for_status()

    async def _get(self, path: str, headers: dict[str, str] | None) -> httpx.Response:
        async with httpx.AsyncClient(transport=self._transport, base_url="http://davy:8321") as client:
            return await client.get(path, headers=headers)


def status(runtime: Runtime) -> dict[str, Any]:
    return Browser(runtime).get("/status.json").json()


def put_model(
    runtime: Runtime, name: str, *, silent: float = 1.0, reference: str = "r1", **more: Any
) -> None:
    at = START - int(silent * SECOND)
    state = {
        "v": 1,
        "events": 90,
        "dropped": {},
        "reference": reference,
        "last_at": at,
        "heard_at": at,
        **more,
    }
    runtime.store.apply(Batch().put("detect", name, dump_any(state)))


def put_incident(runtime: Runtime, **changes: Any) -> None:
    incident = Incident(
        id="i1",
        model="digits:1",
        cause="drift",
        state="ongoing",
        reference="r1",
        onset_at=START - 300 * SECOND,
        onset_event=17_804,
        raised_at=START - 290 * SECOND,
        raised_event=17_950,
        last_event=18_000,
        patience=2000,
        features=[Evidence("inputs.age", "share above 60 rose", 0.05, 0.31, 12.0)],
        statistic=14.0,
        threshold=13.8,
        samples=[bytes(16)],
        size=0.25,
    )
    incident = replace(incident, **changes)
    runtime.store.apply(Batch().put("incidents", incident.id, dump(incident)))


def put_candidate(runtime: Runtime, key: str, state: Any, answer: Any = None, own: int = 3) -> None:
    chunk = Encoder().encode("digits:1", bytes(16), START, {"x": 1.0}, {"label": own})
    candidate = Candidate(key, "digits:1", bytes(16), START, state, [], {}, pack([chunk]))
    batch = Batch().put("candidates", key, dump(candidate))
    if answer is not None:
        label = Label(key, bytes(16), "digits:1", answer, 1, START)
        batch.put("labels", key, Revisions([label]).to_bytes())
    runtime.store.apply(batch)


def test_an_empty_davy_says_which_two_lines_to_write(runtime: Runtime) -> None:
    html = Browser(runtime).get("/").text
    assert "import davy" in html
    assert "davy.watch(" in html
    assert "DAVY_URL=http://davy:8321" in html


@pytest.mark.parametrize(
    ("silent", "reference", "incident", "expected"),
    [
        (1, "r1", None, "healthy"),
        (61, "r1", None, "blind"),
        (1, "", None, "unwatched"),
        (61, "", None, "blind"),
        (1, "r1", "open", "drifting"),
        (61, "r1", "ongoing", "drifting"),
        (1, "r1", "resolved", "healthy"),
    ],
)
def test_silence_is_blind_and_only_a_closed_incident_is_healthy(
    runtime: Runtime, silent: float, reference: str, incident: str | None, expected: str
) -> None:
    put_model(runtime, "digits:1", silent=silent, reference=reference)
    if incident:
        put_incident(runtime, state=incident)
    assert [model["state"] for model in status(runtime)["models"]] == [expected]


def test_a_model_with_a_reference_that_never_sent_anything_is_blind(runtime: Runtime) -> None:
    put_reference(runtime.store, "digits:1", b"fitted")
    (model,) = status(runtime)["models"]
    assert (model["state"], model["silent"]) == ("blind", None)


def test_sent_is_stored_plus_what_was_dropped_by_reason(runtime: Runtime) -> None:
    put_model(runtime, "digits:1", dropped={"queue full": 7, "gateway 503": 3})
    page = Browser(runtime)
    (model,) = page.get("/status.json").json()["models"]
    assert (model["sent"], model["events"]) == (100, 90)
    html = page.get("/").text
    assert "queue full" in html
    assert "gateway 503" in html


def test_values_that_were_left_out_are_shown_by_field_and_reason_and_are_no_loss_of_inferences(
    runtime: Runtime,
) -> None:
    put_model(runtime, "digits:1", left_out={"field:inputs.wave:complex": 12})
    page = Browser(runtime)
    (model,) = page.get("/status.json").json()["models"]
    assert (model["sent"], model["events"], model["left_out"]) == (90, 90, {"inputs.wave: complex": 12})
    assert "inputs.wave: complex" in page.get("/").text


def test_calls_recorded_in_part_are_shown_by_reason_and_are_no_loss_of_inferences(runtime: Runtime) -> None:
    put_model(runtime, "digits:1", incomplete={"batch_as_row": 5, "no_inputs": 2})
    page = Browser(runtime)
    (model,) = page.get("/status.json").json()["models"]
    assert (model["sent"], model["incomplete"]) == (90, {"batch_as_row": 5, "no_inputs": 2})
    assert "batch_as_row" in page.get("/").text


def test_models_that_need_attention_come_first(runtime: Runtime) -> None:
    put_model(runtime, "a:1")
    put_model(runtime, "b:1", silent=1000)
    put_model(runtime, "digits:1")
    put_incident(runtime)
    found = status(runtime)["models"]
    assert [model["model"] for model in found] == ["digits:1", "b:1", "a:1"]
    assert "1 model drifting, 1 model blind" in Browser(runtime).get("/").text


def test_an_open_incident_shows_onset_features_and_size(runtime: Runtime) -> None:
    put_incident(runtime)
    html = Browser(runtime).get("/").text
    for expected in ("2023-11-14 22:08:20 UTC", "17,804", "share above 60 rose", "0.31", "25 %"):
        assert expected in html


def test_the_rate_follows_from_two_looks(
    runtime: Runtime, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("davy_dashboards.web._status._FRESH_SECONDS", 0.0)
    monkeypatch.setattr("davy_dashboards.web._status._COST_SHARE", 1e9)
    page = Browser(runtime)
    put_model(runtime, "digits:1", events=1000)
    assert page.get("/status.json").json()["models"][0]["rate"] is None
    clock.now += 4 * SECOND
    put_model(runtime, "digits:1", events=1100)
    assert page.get("/status.json").json()["models"][0]["rate"] == 25.0


def test_two_looks_within_a_second_read_the_store_once(runtime: Runtime) -> None:
    page = Browser(runtime)
    before = page.get("/status.json").json()
    put_model(runtime, "digits:1")
    assert page.get("/status.json").json() == before
    assert before["models"] == []


def test_the_queue_is_counted_by_state_and_labels_by_verdict(runtime: Runtime) -> None:
    put_candidate(runtime, "a", "waiting")
    put_candidate(runtime, "b", "waiting")
    put_candidate(runtime, "c", "labelled", answer="5")
    put_candidate(runtime, "d", "labelled", answer="3")
    queue = status(runtime)["queue"]
    assert queue["candidates"] == {"waiting": 2, "labelled": 2}
    assert queue["labels"] == {"failure": 1, "correct": 1}


def test_what_cannot_be_asked_is_shown_with_the_reason_and_so_is_a_model_in_trouble(runtime: Runtime) -> None:
    put_model(runtime, "digits:1")
    made = make_candidate(make_flag(1), state="unlabellable", reason="hold nothing a <person> can look at")
    trouble = Trouble("lamp:2", "refused with 400: title", START, 3, START)
    batch = (
        Batch().put("candidates", made.id, dump(made)).put("labelstudio.troubles", "lamp:2", dump(trouble))
    )
    runtime.store.apply(batch)
    queue = status(runtime)["queue"]
    assert queue["unlabellable"] == [{"model": "digits:1", "count": 1, "reasons": [[made.reason, 1]]}]
    assert (queue["troubles"][0]["model"], queue["troubles"][0]["attempts"]) == ("lamp:2", 3)
    page = Browser(runtime).get("/").text
    assert "digits:1: 1 cannot be asked" in page
    assert "lamp:2: tasks cannot be sent" in page
    assert "<person>" not in page


def test_the_page_says_of_roles_what_davy_status_says(runtime: Runtime) -> None:
    producer = runtime.log.producer()
    producer.append([Message(INFERENCES, "digits:1", b"x")] * 5)
    producer.close()
    start = runtime.log.start(INFERENCES)[INFERENCES, 0]
    runtime.store.apply(Batch().put("positions", f"detect/{INFERENCES}/0", dump_any(start + 2)))
    told = read_status(runtime, expected_roles(runtime.settings)).shown()["roles"]
    shown = status(runtime)["roles"]
    assert [(one["role"], one["state"], one["unread"]) for one in shown] == [
        (one["role"], one["state"], one["unread"]) for one in told
    ]
    (detect,) = (one for one in shown if one["role"] == "detect")
    assert (detect["state"], detect["unread"], detect["places"][0]["position"]) == ("wrong", 3, start + 2)
    page = Browser(runtime).get("/").text
    assert "runs in no process, 3 records unread" in page
    assert "Nothing was counted yet, 3 records wait" in page


def test_the_page_says_what_readyz_says_and_nothing_is_green_while_something_is_wrong(
    runtime: Runtime,
) -> None:

    def refuse(data: bytes, media_type: str) -> BlobRef:
        raise BlobError("blob", "0f", "cannot be kept (Not a directory): move <b> away")

    runtime.blobs.put = refuse  # type: ignore[method-assign]
    with LocalClient(make_app(runtime)) as client:
        answer = client.get("/readyz")
        page, shown = client.get("/").text, client.get("/status.json").json()
    findings = answer.json()["findings"]
    assert (answer.status_code, shown["findings"]) == (503, findings)
    assert (findings[0]["what"], findings[0]["state"]) == ("blobs", "wrong")
    (headline,) = re.findall(r'<p class="verdict ([a-z]*)">([^<]*)<', page)
    assert (headline[0], headline[1].startswith("blobs is wrong")) == ("drifting", True)
    assert "cannot be kept (Not a directory): move &lt;b&gt; away" in page


@pytest.mark.parametrize(
    ("states", "tone", "begins"),
    [
        ([], "healthy", "1 model healthy"),
        (["warning"], "blind", "Warning: check 0; 1 model"),
        (["warning", "wrong", "wrong"], "drifting", "check 1 is wrong and 2 more; 1 model"),
    ],
)
def test_the_headline_begins_with_the_worst_finding(
    states: list[str], tone: str, begins: str, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_model(runtime, "digits:1")
    found = [Check(f"check {n}", state, f"{n} as it is", "mend it") for n, state in enumerate(states)]  # type: ignore[arg-type]
    monkeypatch.setattr(Health, "findings", lambda _: found)
    text = Browser(runtime).get("/").text
    ((shown, headline),) = re.findall(r'<p class="verdict ([a-z]*)">([^<]*)<', text)
    assert (shown, headline.startswith(begins)) == (tone, True)
    assert text.count("as it is; mend it") == len(states)


def test_what_was_read_last_is_shown_with_what_is_wrong_while_the_store_does_not_answer(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("davy_dashboards.web._status._FRESH_SECONDS", 0.0)
    monkeypatch.setattr("davy_dashboards.web._status._COST_SHARE", 1e9)
    browser = Browser(runtime)
    browser.get("/status.json")

    def refuse(collection: str) -> object:
        raise StoreError("store", "shelf", "is locked")

    monkeypatch.setattr(runtime.store, "items", refuse)
    monkeypatch.setattr(Health, "findings", lambda _: [Check("store", "wrong", "shelf", "is locked")])
    assert [one["what"] for one in browser.get("/status.json").json()["findings"]] == ["store"]


def test_dead_letters_are_shown(runtime: Runtime) -> None:
    producer = runtime.log.producer()
    producer.append([Message(f"{INFERENCES}.dlq", "digits:1", b"x")] * 2)
    producer.close()
    assert "2 set aside unread" in Browser(runtime).get("/").text


def test_nothing_that_came_from_outside_is_ever_markup(runtime: Runtime) -> None:
    put_model(runtime, NASTY, dropped={NASTY: 1})
    put_incident(
        runtime, id=NASTY, model=NASTY, cause=NASTY, features=[Evidence(NASTY, NASTY, 0.1, np.inf, 1.0)]
    )
    runtime.store.apply(Batch().put("positions", f"{NASTY}/{INFERENCES}/0", dump_any(0)))
    made = Version(NASTY, NASTY, 1, "c", None, "2026-01-01", rows=1, failures=0, path=NASTY)
    runtime.store.apply(DATASETS.put(Batch(), "d", made))
    page = Browser(runtime).get("/", headers={"host": 'evil"><script>'})
    tags = Tags(page.text)
    assert "script" not in tags.found
    assert tags.found.count("style") == 1
    assert page.text.count("&lt;script&gt;") >= 6


def test_the_page_needs_nothing_from_elsewhere_and_no_script(runtime: Runtime) -> None:
    put_model(runtime, "digits:1")
    page = Browser(runtime).get("/")
    addresses = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", page.text)
    assert [a for a in addresses if "//" in a] == ["https://labels.example"]
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert 'http-equiv="refresh" content="5"' in page.text
    assert 'name="viewport"' in page.text


def test_a_link_to_label_studio_is_never_anything_but_http(runtime: Runtime) -> None:
    settings = replace(runtime.settings, labelstudio=LabelStudioSettings(url="javascript:alert(1)"))
    assert "javascript:" not in Browser(replace(runtime, settings=settings)).get("/").text


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
