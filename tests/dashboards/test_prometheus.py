"""A real Prometheus reads what a Meter exports and raises and ends the alerts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.prometheus_server import BINARY, PrometheusServer
from support.services import service_or_skip

from davy import metrics
from davy.meter import Meter

pytestmark = service_or_skip("prometheus", BINARY is not None, "install Debian's package prometheus")
RULES = Path(__file__).parents[2] / "dashboards" / "alerts" / "davy.yml"


@pytest.fixture
def meter() -> Meter:
    return Meter()


@pytest.fixture
def address(meter: Meter) -> Iterator[str]:
    class Exposition(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/plain; version=0.0.4; charset=utf-8")
            self.end_headers()
            self.wfile.write(meter.exposition())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Exposition)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def prometheus(address: str, tmp_path: Path) -> Iterator[PrometheusServer]:
    with PrometheusServer([address], [RULES], tmp_path) as server:
        yield server


def test_an_incident_fires_while_it_is_open_and_resolves_when_it_closes(
    meter: Meter, prometheus: PrometheusServer
) -> None:
    meter.set(metrics.INCIDENT_OPEN, 0, model="digits:1", cause="drift")
    prometheus.wait_for(lambda: prometheus.query(metrics.INCIDENT_OPEN.name))
    assert prometheus.alerts("DavyIncidentOpen") == []

    meter.set(metrics.INCIDENT_OPEN, 1, model="digits:1", cause="drift")
    (alert,) = prometheus.wait_for(lambda: prometheus.alerts("DavyIncidentOpen"))
    assert alert["state"] == "firing"
    assert alert["labels"]["model"] == "digits:1"
    assert alert["labels"]["severity"] == "page"
    assert "digits:1" in alert["annotations"]["summary"]

    meter.set(metrics.INCIDENT_OPEN, 0, model="digits:1", cause="drift")
    prometheus.wait_for(lambda: not prometheus.alerts("DavyIncidentOpen"))


def test_the_first_inference_ever_dropped_raises_an_alert(meter: Meter, prometheus: PrometheusServer) -> None:
    prometheus.wait_for(lambda: prometheus.query('up{job="davy"} == 1'))
    assert prometheus.alerts("DavyInferencesDropped") == []
    meter.add(metrics.DROPPED, 5, model="digits:1", reason="queue full")
    (alert,) = prometheus.wait_for(lambda: prometheus.alerts("DavyInferencesDropped"))
    assert alert["state"] == "firing"
    assert alert["labels"]["reason"] == "queue full"


def test_every_metric_of_the_catalogue_can_be_queried_under_its_name(
    meter: Meter, prometheus: PrometheusServer
) -> None:
    for metric in metrics.CATALOGUE:
        labels = dict.fromkeys(metric.labels, "x")
        match metric.kind:
            case "counter":
                meter.add(metric, **labels)
            case "gauge":
                meter.set(metric, 1, **labels)
            case "histogram":
                meter.observe(metric, 1, **labels)
    for metric in metrics.CATALOGUE:
        name = f"{metric.name}_bucket" if metric.kind == "histogram" else metric.name
        (series, *_) = prometheus.wait_for(lambda name=name: prometheus.query(name))
        assert set(metric.labels) <= set(series["metric"])
