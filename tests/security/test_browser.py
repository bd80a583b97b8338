"""A real browser with a page of a stranger's: it neither writes to Davy nor reads from it; Davy's own pages work."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from support import chromium
from support.chromium import Chromium, Page
from support.gateway_server import GatewayServer

pytestmark = [*chromium.NEEDED, pytest.mark.xdist_group("chromium")]
ONE = json.dumps({"model": "evil:1", "inputs": {"x": 1}})
FETCH = """
fetch(%s, {method: "POST", mode: "no-cors", credentials: "include", body: %s, headers: %s})
    .then(answer => answer.type, error => "failed")
"""
READ = """
fetch(%s, {mode: %s, credentials: "include"})
    .then(answer => answer.text().then(text => [answer.type, answer.status, text]), error => ["failed", 0, ""])
"""
FORM = """
new Promise(done => {
    const frame = document.createElement("iframe"), form = document.createElement("form");
    const field = document.createElement("input");
    Object.assign(form, {method: "POST", action: %s, target: "target", enctype: %s});
    [field.name, field.value] = %s.split(/:(.*)/s);
    form.append(field);
    frame.name = "target";
    frame.onload = () => { frame.onload = () => { frame.remove(); done(); }; form.submit(); };
    document.body.append(frame, form);
})
"""


@dataclass
class World:
    """A browser, a gateway anybody of this machine may use, one with a key, and a stranger's page."""

    browser: Chromium
    open: GatewayServer
    keyed: GatewayServer
    evil: str


class Stranger(BaseHTTPRequestHandler):
    """Serves an empty page at every address."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b'<!doctype html><link rel="icon" href="data:,"><title>a page</title><body>')

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as stack:
        start = stack.enter_context
        free = start(GatewayServer(tmp_path_factory.mktemp("open")))
        keyed = start(GatewayServer(tmp_path_factory.mktemp("keyed"), DAVY_GATEWAY_API_KEY="lamp"))
        server = start(ThreadingHTTPServer(("127.0.0.1", 0), Stranger))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        hosts = {"evil.example": "127.0.0.1"}
        browser = start(chromium.chromium(tmp_path_factory.mktemp("browser"), hosts))
        yield World(browser, free, keyed, f"http://evil.example:{server.server_port}/")


def answers(server: GatewayServer, status: int) -> float:
    """Return how many requests the gateway answered with a status."""
    request = urllib.request.Request(f"{server.url}/metrics", headers={"authorization": "Bearer lamp"})
    with urllib.request.urlopen(request) as answer:
        lines = answer.read().decode().splitlines()
    assert not [line for line in lines if "evil:1" in line], "the stranger's inference was taken"
    counts = [line.split() for line in lines if line.startswith("davy_gateway_requests_total{")]
    return sum(float(count) for labels, count in counts if f'status="{status}"' in labels)


def attack(page: Page, server: GatewayServer) -> None:
    """Try everything that a browser does for a page without asking the other side first."""
    for route in ("/v1/inferences", "/v1/feedback", "/v1/payloads", "/v1/cloudevents/evil:1"):
        for body in (json.dumps(ONE), f"new TextEncoder().encode({json.dumps(ONE)})"):
            for headers in ('{"content-type": "text/plain"}', "{}"):
                page.run(FETCH % (json.dumps(server.url + route), body, headers))
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            page.run(FORM % tuple(json.dumps(word) for word in (server.url + route, kind, ONE)))


@pytest.mark.parametrize("which", ["open", "keyed"])
@pytest.mark.parametrize("origin", ["another site", "another port"])
def test_a_strangers_page_writes_nothing(world: World, which: str, origin: str) -> None:
    server: GatewayServer = getattr(world, which)
    if which == "keyed":  # the browser knows the password, and adds it to what it sends here
        opened = world.browser.open(f"http://any:lamp@127.0.0.1:{server.port}/status.json")
        assert opened.run("document.body.innerText.startsWith('{')")
    before = answers(server, 403)
    page = world.browser.open(
        world.evil if origin == "another site" else world.evil.replace("evil.example", "127.0.0.1")
    )
    attack(page, server)
    assert answers(server, 403) - before == 4 * 7
    sent = page.said("Network.requestWillBeSent")
    assert len([one for one in sent if one["request"]["method"] == "POST"]) == 4 * 7


@pytest.mark.parametrize("mode", ["cors", "no-cors"])
def test_a_strangers_page_reads_nothing(world: World, mode: str) -> None:
    page = world.browser.open(world.evil)
    for path in ("/status.json", "/metrics", "/docs"):
        found = page.run(READ % (json.dumps(world.open.url + path), json.dumps(mode)))
        assert found in (["failed", 0, ""], ["opaque", 0, ""])


def rebound(world: World, server: GatewayServer) -> Page:
    """Open a page of the stranger's in what is for the browser one origin with the gateway (DNS rebinding)."""
    page = world.browser.open("about:blank")
    page.call("Page.setBypassCSP", enabled=True)  # the stranger's own server said nothing of the kind
    page.go(f"http://evil.example:{server.port}/healthz")
    assert page.run("location.host") == f"evil.example:{server.port}"
    return page


def test_a_name_that_was_pointed_at_this_machine_opens_nothing(world: World) -> None:
    page, before = rebound(world, world.open), answers(world.open, 403)
    for path in ("/status.json", "/metrics", "/", "/docs"):
        kind, status, text = page.run(READ % (json.dumps(path), '"same-origin"'))
        assert (kind, status, json.loads(text)["field"]) == ("basic", 403, "Host")
    script = (
        "fetch('/v1/inferences', {method: 'POST', body: %s, headers: {'content-type': 'application/json'}})"
    )
    assert page.run(f"{script % json.dumps(ONE)}.then(answer => answer.status)") == 403
    assert answers(world.open, 403) - before >= 5  # it asks for an icon, too


def test_under_such_a_name_the_browser_keeps_its_password_to_itself(world: World) -> None:
    known = world.browser.open(f"http://any:lamp@127.0.0.1:{world.keyed.port}/status.json")
    assert known.run("document.body.innerText.startsWith('{')")
    page = rebound(world, world.keyed)
    page.run("void fetch('/status.json', {credentials: 'include'})")
    page.wait("Network.responseReceivedExtraInfo", statusCode=401)
    sent = page.said("Network.requestWillBeSentExtraInfo")[-1]["headers"]
    assert sent["Host"] == f"evil.example:{world.keyed.port}"
    assert "Authorization" not in sent


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_of_davys_own_shows_and_asks_nobody_else(world: World, path: str) -> None:
    page = world.browser.open(world.open.url + path)
    assert page.run("document.querySelector('h1').innerText").startswith("Davy")
    assert page.run("getComputedStyle(document.body).maxWidth") != "none"  # the style was let in
    assert page.run("document.scripts.length") == 0
    asked = [one["request"]["url"] for one in page.said("Network.requestWillBeSent")]
    assert {url for url in asked if not url.startswith("data:")} == {world.open.url + path}
    assert page.said("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded") == []


def test_a_strangers_page_cannot_put_davy_in_a_frame(world: World) -> None:
    page = world.browser.open(world.evil)
    page.run(
        "new Promise(done => { const frame = document.createElement('iframe');"
        f" frame.onload = done; frame.src = '{world.open.url}/docs'; document.body.append(frame); }})"
    )
    blocked = page.said("Network.loadingFailed", "Log.entryAdded")
    assert blocked
