"""One project per model, task and configuration, found again after every crash."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from typing import Final

from davy.errors import LabelError
from davy.runtime import Runtime
from davy.store import Batch, Lease
from davy_miner.labelstudio.records import project_in, put_project
from davy_miner.labelstudio.templates import Form
from davy_miner.labelstudio.tool import Tool

_TITLE: Final = 50
_LOOK_SECONDS: Final = 0.2
_log = logging.getLogger("davy.labelstudio")


class Projects:
    """Finds projects: own table, else the marker in a description, else a new one.

    Parameters
    ----------
    runtime
        Store, settings and clock.
    tool
        Label Studio.
    owner
        Name of this process for leases.
    pause
        Waits a number of seconds while another process makes the project.
    """

    def __init__(self, runtime: Runtime, tool: Tool, owner: str, pause: Callable[[float], object]) -> None:
        self._runtime = runtime
        self._tool = tool
        self._owner = owner
        self._pause = pause
        self._known: dict[str, int] = {}

    def get(self, model: str, form: Form) -> int:
        """Give the id of the project for a model's form; make it when there is none.

        Raises
        ------
        LabelError
            Label Studio refused, cannot be reached, or another process did not finish making the project.
        """
        key = f"{model}/{form.name}/{form.version}"
        if key not in self._known:
            self._known[key] = self._stored(key) or self._make(key, model, form)
        return self._known[key]

    def forget(self) -> None:
        """Look every project up again before it is used next."""
        self._known.clear()

    def _stored(self, key: str) -> int:
        found = project_in(self._runtime.store, key)
        project = found["id"] if found else 0
        return project if project and self._tool.has_project(project) else 0

    def _make(self, key: str, model: str, form: Form) -> int:
        timeout = self._runtime.settings.labelstudio.timeout_seconds
        for _ in range(max(1, int(3 * timeout / _LOOK_SECONDS))):
            lease = self._runtime.store.acquire(f"labelstudio/{key}", self._owner, seconds=4 * timeout + 30)
            if lease is not None:
                try:
                    return self._stored(key) or self._find_or_create(key, model, form, lease)
                finally:
                    self._runtime.store.release(lease)
            self._pause(_LOOK_SECONDS)
            if project := self._stored(key):
                return project
        raise LabelError(
            "Label Studio project", key, "another process has been making it for too long; try again"
        )

    def _find_or_create(self, key: str, model: str, form: Form, lease: Lease) -> int:
        store, now = self._runtime.store, self._runtime.clock()
        marker = _marker(key)
        found = self._tool.projects(marker)
        if not found:
            self._refuse_while_unsettled(key, now, lease)
            store.apply(_record(key, 0, now), lease=lease)
            description = f"Failures of {model}, mined by Davy. {marker}"
            found = [self._tool.create_project(_title(model, form), description, form.config)]
            _log.info("made project %d in Label Studio for %s", found[0], key)
        store.apply(_record(key, found[0], now), lease=lease)
        return found[0]

    def _refuse_while_unsettled(self, key: str, now: int, lease: Lease) -> None:
        before = project_in(self._runtime.store, key)
        if not before or before["id"]:
            return
        settle = self._runtime.settings.labelstudio.settle_seconds
        waited = (now - before["at"]) / 1e9
        if waited < 0:  # the clock was set back: the wait begins now
            self._runtime.store.apply(_record(key, 0, now), lease=lease)
        if waited < settle:
            raise LabelError(
                "Label Studio project",
                key,
                f"was asked for without an answer; try again in {settle - max(0.0, waited):.0f} s",
            )


def _record(key: str, project: int, at: int) -> Batch:
    batch = Batch()
    put_project(batch, key, project, at)
    return batch


def _marker(key: str) -> str:
    return f"[davy {hashlib.blake2b(key.encode(), digest_size=8).hexdigest()}]"


def _title(model: str, form: Form) -> str:
    rest = f" · {form.name}"
    return f"Davy {model}"[: _TITLE - len(rest)] + rest
