"""What a person looks at: the Grafana dashboard and the alert rules, and the status page of ``davy up``.

Dashboard and rules are generated from the catalogue of metrics and checked in.
"""

from __future__ import annotations

__all__ = ["generated"]


def generated() -> dict[str, str]:
    """Give every generated file, by its name relative to the folder ``dashboards/``."""
    from davy_dashboards.grafana import dashboard_json
    from davy_dashboards.rules import rules_yaml

    return {"grafana/davy.json": dashboard_json(), "alerts/davy.yml": rules_yaml()}
