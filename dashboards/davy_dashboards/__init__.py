"""What a person looks at: the Grafana dashboard and the alert rules, and the status page of ``davy up``.

Dashboard, rules and the page of settings are generated from the catalogues and checked in.
"""

from __future__ import annotations

__all__ = ["generated"]


def generated() -> dict[str, str]:
    """Return every generated file, by its name relative to the root of the repository."""
    from davy_dashboards.grafana import dashboard_json
    from davy_dashboards.rules import rules_yaml
    from davy_dashboards.settings import settings_page

    return {
        "dashboards/grafana/davy.json": dashboard_json(),
        "dashboards/alerts/davy.yml": rules_yaml(),
        "docs/settings.md": settings_page(),
    }
