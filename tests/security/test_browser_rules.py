"""Which requests of a browser are let in: by the name they call Davy, the site they come from and their media type."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from support.gateway_rig import LocalClient, opened, stored

from davy.gateway import make_app, media_url
from davy.runtime import Runtime

pytestmark = pytest.mark.fast
ONE = {"model": "a:1", "inputs": {"x": 1}}
KEY = {"authorization": "Bearer lamp"}
HEALTH = ("/healthz", "/readyz")
READ = ("/", "/status.json", "/metrics", "/docs", "/openapi.json")


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    with opened() as found:
        yield found


@pytest.fixture
def client(runtime: Runtime) -> Iterator[TestClient]:
    with LocalClient(make_app(runtime)) as found:
        yield found


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8321", "127.0.0.1.evil.example", "localhost.evil", "[x"]
)
def test_without_a_key_nothing_is_read_or_written_under_a_strangers_name(
    client: TestClient, runtime: Runtime, host: str
) -> None:
    for path in READ:
        answer = client.get(path, headers={"host": host})
        assert (answer.status_code, answer.json()["field"]) == (403, "Host")
        assert "DAVY_GATEWAY_HOSTS" in answer.json()["remedy"]
    assert client.post("/v1/inferences", json=ONE, headers={"host": host}).status_code == 403
    assert stored(runtime) == []
    for path in HEALTH:
        assert client.get(path, headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:9", "localhost", "LOCALHOST.:8321", "davy.localhost", "[::1]:8321", "10.1.2.3:8321", ""],
)
def test_addresses_and_names_of_this_machine_need_no_mention(client: TestClient, host: str) -> None:
    assert client.get("/status.json", headers={"host": host}).status_code == 200


def test_names_in_the_settings_are_known(runtime: Runtime) -> None:
    settings = {
        "hosts": "davy.internal, Davy.Example",
        "public_url": "https://public.example/davy",
        "host": "box",
    }
    with opened(**settings) as named, LocalClient(make_app(named)) as client:
        for host in ("davy.internal:8321", "davy.example", "public.example", "box:8321"):
            assert client.get("/metrics", headers={"host": host, **KEY}).status_code == 401, host
        assert client.get("/metrics", headers={"host": "other.example"}).status_code == 403


def test_where_a_key_is_needed_any_name_will_do_unless_some_are_listed() -> None:
    """A service of a cluster has many names; and a browser sends the password it keeps to the name it is for."""
    with opened(api_key="lamp") as runtime, LocalClient(make_app(runtime)) as client:
        host = {"host": "davy.monitoring.svc:8321"}
        assert client.get("/status.json", headers=host).status_code == 401
        assert client.get("/status.json", headers=host | KEY).status_code == 200
    with opened(api_key="lamp", hosts="davy.example") as runtime, LocalClient(make_app(runtime)) as client:
        assert client.get("/status.json", headers=host | KEY).status_code == 403


@pytest.mark.parametrize(
    "said",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:3000"},
        {"origin": "https://evil.example", "sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": "http://localhost:3000"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"},
        {"sec-fetch-site": "none", "origin": "https://evil.example"},
    ],
    ids=str,
)
def test_what_another_site_sends_is_refused_with_and_without_a_password(said: dict[str, str]) -> None:
    for key in ("", "lamp"):
        with opened(api_key=key) as runtime, LocalClient(make_app(runtime)) as client:
            auth = ("any", key) if key else None
            for path in ("/v1/inferences", "/v1/payloads", "/v1/cloudevents/a:1"):
                answer = client.post(path, json=ONE, headers=said, auth=auth)
                assert (answer.status_code, answer.json()["error"]) == (403, "CrossSite")
                judged, value = answer.json()["field"], answer.json()["value"]
                assert said[judged.lower()] == value
            for path in READ:
                assert client.get(path, headers=said, auth=auth).status_code == 403
            assert client.options("/v1/inferences", headers=said, auth=auth).status_code == 403
            assert stored(runtime) == []


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"origin": "http://localhost"},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"origin": "https://localhost", "sec-fetch-site": "same-origin"},  # behind a proxy that ends TLS
    ],
    ids=str,
)
def test_pages_of_its_own_and_programs_are_let_in(client: TestClient, said: dict[str, str]) -> None:
    assert client.get("/status.json", headers=said).status_code == 200
    assert client.post("/v1/inferences", json=ONE, headers=said).status_code == 202


def test_a_page_under_a_listed_name_is_its_own_also_behind_a_proxy_that_changes_the_host() -> None:
    with opened(hosts="davy.example") as runtime, LocalClient(make_app(runtime)) as client:
        said = {"origin": "http://davy.example:8080", "host": "127.0.0.1:8321"}
        assert client.post("/v1/inferences", json=ONE, headers=said).status_code == 202


def test_a_link_from_another_site_opens_a_page_and_writes_nothing(client: TestClient) -> None:
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert client.get("/", headers=link).status_code == 200
    assert client.post("/v1/inferences", json=ONE, headers=link).status_code == 403


def test_health_and_a_picture_behind_a_signed_link_are_for_everybody(
    client: TestClient, runtime: Runtime
) -> None:
    said = {"origin": "http://label.example", "sec-fetch-site": "cross-site", "host": "other.example"}
    picture = media_url(runtime, runtime.blobs.put(b"picture", "image/png")).partition("8321")[2]
    for path in (*HEALTH, picture):
        assert client.get(path, headers=said).status_code == 200


@pytest.mark.parametrize(
    "sent", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_what_a_page_can_send_without_asking_is_no_body_for_davy(
    client: TestClient, runtime: Runtime, sent: str
) -> None:
    routes = ["/v1/inferences", "/v1/feedback", "/v1/envelopes", "/v1/oip/a:1", "/v1/cloudevents"]
    if sent != "text/plain":  # a text is a payload like a picture; alone it is nothing, and goes
        routes.append("/v1/payloads")
    for route in routes:
        answer = client.post(
            route, content=b'{"model": "a:1"}', headers={"content-type": sent} if sent else {}
        )
        assert (answer.status_code, answer.json()["field"]) == (415, "Content-Type"), route
        assert "Content-Type" in answer.json()["remedy"] or route == "/v1/payloads"
    assert stored(runtime) == []
    assert list(runtime.blobs.stored()) == []


def test_an_event_may_hold_any_media_type_for_no_page_sends_its_attributes_unasked(
    client: TestClient,
) -> None:
    headers = {"ce-id": "1", "ce-type": "org.kubeflow.serving.inference.request"}
    for sent in ("application/x-www-form-urlencoded", "text/plain"):
        answer = client.post("/v1/cloudevents/a:1", content=b"{}", headers=headers | {"content-type": sent})
        assert answer.status_code != 415


def test_there_is_no_session_to_ride() -> None:
    """Nothing sets a cookie and no page has a form: the only thing a browser adds is the password it was given."""
    with opened(api_key="lamp") as runtime, LocalClient(make_app(runtime)) as client:
        for path in (*READ, *HEALTH):
            answer = client.get(path, headers=KEY)
            assert answer.status_code == 200
            assert "set-cookie" not in answer.headers
            assert "<form" not in answer.text
            assert client.post(path, headers=KEY).status_code == 405


def test_every_answer_says_what_a_browser_may_do_with_it(client: TestClient) -> None:
    for path in (*READ, *HEALTH, "/nothing", "/media/forged"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "script-src" not in headers["content-security-policy"]
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers


def test_the_description_is_a_page_without_scripts_that_loads_nothing(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert page.headers["content-security-policy"] == client.get("/").headers["content-security-policy"]
    assert "<script" not in page.text
    assert not [part for part in ("src=", "//cdn", "@import", "url(") if part in page.text]
    for route, examples in client.get("/openapi.json").json()["paths"].items():
        assert f"POST {route}" in page.text
        assert "content" in examples["post"]["requestBody"]
    assert "POST /v1/inferences" in page.text
    assert "curl http://localhost/v1/inferences" in page.text
