"""Deletes the tasks of candidates that are forgotten, with their annotations."""

from __future__ import annotations

from collections.abc import Sequence

from davy.errors import LabelError
from davy.runtime import Runtime
from davy.store import Batch
from davy_miner.labelstudio.client import SdkTool
from davy_miner.labelstudio.records import TASKS, projects_in


def remove_tasks(runtime: Runtime, candidates: Sequence[str]) -> None:
    """Delete every task of some candidates, also one that came to light twice, and then the record that it was sent.

    That record is what another run finds the tasks by, so it goes last.

    Raises
    ------
    LabelError
        Label Studio is unreachable or refused, or may still be storing a task it was sent a moment ago.
    SettingError
        There is no address or token of the Label Studio that has the tasks.
    """
    settings, store, now = runtime.settings.labelstudio, runtime.store, runtime.clock()
    sent = {key: found for key in candidates if (found := TASKS.get(store, key)) is not None}
    tool = SdkTool(settings.url, settings.api_key, timeout=settings.timeout_seconds)
    try:
        for project in sorted({*projects_in(store), *(one.project for one in sent.values())}):
            for task in tool.find_tasks(project, candidates):
                if task.candidate in sent:
                    tool.delete_task(task.id)
    finally:
        tool.close()
    settle = settings.settle_seconds * 1e9
    young = [key for key, one in sent.items() if one.task is None and now - one.at < settle]
    store.apply(TASKS.delete(Batch(), *sorted(sent.keys() - set(young))))
    if young:
        remedy = f"may still become tasks in Label Studio; try again in {settings.settle_seconds:g} s"
        raise LabelError("candidates", young, remedy)
