"""The dashboard and the rules say everything the catalogue has, nothing else, and are checked in as generated."""

from __future__ import annotations

import json
import re
import subprocess
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.prometheus_server import PROMTOOL
from support.services import service_or_skip

from davy.cli import app
from davy.metrics import CATALOGUE, Metric
from davy_dashboards import generated
from davy_dashboards.grafana import dashboard_json
from davy_dashboards.rules import RULES

pytestmark = pytest.mark.fast
ROOT = Path(__file__).parents[2]
needs_promtool = service_or_skip("prometheus", PROMTOOL is not None, "install Debian's package prometheus")
NAMES = {metric.name for metric in CATALOGUE}
GRAFANA_VARIABLES = {"$model": "digits:1", "$__rate_interval": "5m", "$__range": "1h"}


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(dashboard_json())["panels"] if panel["type"] != "row"]


def dashboard_expressions() -> list[str]:
    board = json.loads(dashboard_json())
    found = [target["expr"] for panel in panels() for target in panel["targets"]]
    return found + [mark["expr"] for mark in board["annotations"]["list"]]


def metrics_in(expressions: list[str]) -> set[str]:
    histograms = {
        f"{m.name}_{end}": m.name for m in CATALOGUE if m.kind == "histogram" for end in ("bucket", "count")
    }
    found = {name for text in expressions for name in re.findall(r"\bdavy_[a-z_]+", text)}
    return {histograms.get(name, name) for name in found}


@pytest.mark.parametrize("name", sorted(generated()))
def test_the_checked_in_file_is_what_make_generate_writes(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == generated()[name]


def test_every_metric_is_on_the_dashboard_or_in_a_rule() -> None:
    rules = [rule.expression for rule in RULES]
    assert metrics_in([*dashboard_expressions(), *rules]) == NAMES


def test_a_new_metric_gets_a_panel_without_anybody_drawing_one() -> None:
    new = [
        Metric("davy_new_total", "counter", "New.", ("model",)),
        Metric("davy_new_size", "gauge", "New.", ("role",)),
        Metric("davy_new_seconds", "histogram", "New.", ("role",), (1.0,)),
    ]
    text = dashboard_json((*CATALOGUE, *new))
    for name in ("davy_new_total", "davy_new_size", "davy_new_seconds_bucket"):
        assert name in text
    assert '"title": "More"' in text


def test_every_label_used_belongs_to_a_metric_of_its_expression() -> None:
    labels = {metric.name: set(metric.labels) for metric in CATALOGUE}
    for expression in [*dashboard_expressions(), *(rule.expression for rule in RULES)]:
        known = {"le"}.union(*(labels[name] for name in metrics_in([expression])))
        groups = re.findall(r"by \(([^)]+)\)", expression)
        used = {label for group in groups for label in group.split(", ")}
        assert used <= known, expression


def test_panels_have_titles_units_explanations_and_do_not_overlap() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in json.loads(dashboard_json())["panels"]:
        place = panel["gridPos"]
        covered = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in covered) < 24
        assert not cells & covered, panel["title"]
        cells |= covered
    assert all(panel["title"] and panel["description"] for panel in panels())
    ids = [panel["id"] for panel in json.loads(dashboard_json())["panels"]]
    assert len(set(ids)) == len(ids)


def test_every_alert_says_what_to_run_and_its_runbook_exists() -> None:
    commands = {
        command.name or command.callback.__name__ for command in app.registered_commands if command.callback
    }
    commands |= {point.name for point in entry_points(group="davy.commands")}
    for rule in RULES:
        name, command, *_ = rule.run.split()
        assert (name, command in commands) == ("davy", True), rule.run
        path, _, anchor = rule.as_prometheus()["annotations"]["runbook_url"].partition("#")
        headings = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in {heading.lower() for heading in headings}


class TestWithPromtool:
    pytestmark = needs_promtool

    def promtool(self, *arguments: str) -> str:
        assert PROMTOOL is not None
        done = subprocess.run([PROMTOOL, *arguments], check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def test_the_rules_are_valid(self) -> None:
        assert f"{len(RULES)} rules found" in self.promtool(
            "check", "rules", f"{ROOT}/dashboards/alerts/davy.yml"
        )

    def test_the_rules_fire_and_keep_quiet_as_their_unit_tests_say(self) -> None:
        assert "SUCCESS" in self.promtool("test", "rules", f"{ROOT}/dashboards/alerts/davy.test.yml")

    def test_every_rule_has_a_unit_test(self) -> None:
        cases = (ROOT / "dashboards" / "alerts" / "davy.test.yml").read_text(encoding="utf-8")
        assert [rule.name for rule in RULES if rule.name not in cases] == []

    def test_every_query_of_the_dashboard_parses(self, tmp_path: Path) -> None:
        rules = []
        for number, expression in enumerate(dashboard_expressions()):
            for variable, value in GRAFANA_VARIABLES.items():
                expression = expression.replace(variable, value)
            assert "$" not in expression
            rules.append({"record": f"query_{number}", "expr": expression})
        path = tmp_path / "queries.yml"
        path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
        assert f"{len(rules)} rules found" in self.promtool("check", "rules", str(path))
