"""One project per model and form, found again after every crash; its list of classes only grows."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from typing import Final

from davy.errors import LabelError
from davy.runtime import Runtime
from davy.store import Batch, Lease
from davy_miner.labelstudio.records import FormOf, classes_in, project_in, put_classes, put_form, put_project
from davy_miner.labelstudio.templates import Form, filled
from davy_miner.labelstudio.tool import Refused, Tool

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
        self._offered: dict[int, frozenset[str]] = {}

    def get(self, model: str, form: Form, classes: Sequence[str]) -> int:
        """Return the id of the project for a model's form; make it, offering `classes`, when there is none.

        Raises
        ------
        LabelError
            Label Studio refused, cannot be reached, or another process did not finish making the project.
        """
        key = f"{model}/{form.name}/{form.version}"
        if key not in self._known:
            self._known[key] = self._stored(key) or self._make(key, model, form, classes)
        return self._known[key]

    def offer(self, project: int, classes: Sequence[str], lease: Callable[[], Lease]) -> None:
        """See to it that a project's form offers `classes`; the caller is the only one to push to the project.

        What is offered is written down first. Classes are added to the form as Label Studio has it, at its end: what
        its owner changed there stays. Doing it again after a crash changes nothing more.

        Raises
        ------
        LabelError
            Label Studio refused or cannot be reached.
        """
        if self._offered.get(project, frozenset()).issuperset(classes):
            return
        known = classes_in(self._runtime.store, project)
        names = [*known, *dict.fromkeys(one for one in classes if one not in set(known))]
        if len(names) > len(known):
            batch = Batch()
            put_classes(batch, project, names)
            self._runtime.store.apply(batch, lease=lease())
        changed = filled(self._tool.project_config(project), names)
        if changed is not None:
            lease()
            self._tool.change_config(project, changed)
            _log.info("project %d in Label Studio offers %d classes now", project, len(names))
        self._offered[project] = frozenset(names)

    def forget(self) -> None:
        """Look every project up again before it is used next."""
        self._known.clear()
        self._offered.clear()

    def _stored(self, key: str) -> int:
        found = project_in(self._runtime.store, key)
        project = found["id"] if found else 0
        return project if project and self._tool.has_project(project) else 0

    def _make(self, key: str, model: str, form: Form, classes: Sequence[str]) -> int:
        timeout = self._runtime.settings.labelstudio.timeout_seconds
        for _ in range(max(1, int(3 * timeout / _LOOK_SECONDS))):
            lease = self._runtime.store.acquire(f"labelstudio/{key}", self._owner, seconds=4 * timeout + 30)
            if lease is not None:
                try:
                    return self._stored(key) or self._find_or_create(key, model, form, classes, lease)
                finally:
                    self._runtime.store.release(lease)
            self._pause(_LOOK_SECONDS)
            if project := self._stored(key):
                return project
        raise LabelError(
            "Label Studio project", key, "another process has been making it for too long; try again"
        )

    def _find_or_create(self, key: str, model: str, form: Form, classes: Sequence[str], lease: Lease) -> int:
        store, now = self._runtime.store, self._runtime.clock()
        marker = _marker(key)
        found = self._tool.projects(marker)
        batch = Batch()
        if not found:
            self._refuse_while_unsettled(key, now, lease)
            store.apply(_record(key, 0, now), lease=lease)
            found = [self._create(key, model, form, classes, lease)]
            _log.info("made project %d in Label Studio for %s", found[0], key)
            put_classes(batch, found[0], classes)
            self._offered[found[0]] = frozenset(classes)
        put_project(batch, key, found[0], now)
        if form.plugin:
            put_form(batch, found[0], FormOf(form.plugin, model))
        store.apply(batch, lease=lease)
        return found[0]

    def _create(self, key: str, model: str, form: Form, classes: Sequence[str], lease: Lease) -> int:
        description = f"Failures of {model}, mined by Davy. {_marker(key)}"
        try:
            return self._tool.create_project(_title(model, form), description, form.config(classes))
        except Refused:
            # Nothing was made: the next try need not wait for what may still come.
            self._runtime.store.apply(_record(key, 0, 0), lease=lease)
            raise

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
