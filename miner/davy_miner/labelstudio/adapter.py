"""Label Studio as the miner uses it: push, pull, project."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable

from davy.codec import load
from davy.errors import LabelError
from davy.event import Label
from davy.runtime import Runtime
from davy.store import Batch
from davy_miner.candidates import COLLECTION as CANDIDATES
from davy_miner.candidates import Candidate
from davy_miner.labelstudio.client import SdkTool
from davy_miner.labelstudio.forms import Forms
from davy_miner.labelstudio.projects import Projects
from davy_miner.labelstudio.pull import Puller
from davy_miner.labelstudio.push import Pusher
from davy_miner.labelstudio.task_data import draft
from davy_miner.labelstudio.tool import Tool
from davy_miner.problems import Problem, problem


class LabelStudio:
    """Sends candidates to Label Studio and reads the answers back.

    Parameters
    ----------
    runtime
        Settings, store, meter, clock and stop signal.
    pause
        Waits a number of seconds while another process makes a project; by default until the stop signal.
    blind
        Hide the model's answer from annotators: they choose among the classes at once.
    tool
        Label Studio; by default the one of the settings.

    Raises
    ------
    SettingError
        The address or the token is missing.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        pause: Callable[[float], object] | None = None,
        blind: bool = False,
        tool: Tool | None = None,
    ) -> None:
        settings = runtime.settings.labelstudio
        self._runtime = runtime
        self._blind = blind
        self._forms = Forms(runtime)
        self._tool = tool or SdkTool(settings.url, settings.api_key, timeout=settings.timeout_seconds)
        owner = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
        self._projects = Projects(runtime, self._tool, owner, pause or runtime.stop.wait)
        self._pusher = Pusher(runtime, self._tool, self._projects, self._forms, owner, blind=blind)
        self._puller = Puller(runtime, self._tool, self._forms)

    def push(self) -> int:
        """Bring every candidate that is selected to a task of its own, exactly one; return the number of new tasks.

        Returns early, leaving the rest to the next call, when the fate of a batch is unknown. It reads and writes
        candidates in transactions of its own: call it while none is being put together.

        Raises
        ------
        LabelError
            Label Studio is unreachable or does not accept the token.
        """
        return self._pusher.push()

    def problem(self, candidate: Candidate) -> Problem | None:
        """Return why a candidate, with its picture, cannot become a task; None when nothing stands against it.

        Label Studio is not asked: it may refuse later what looks well from here.
        """
        try:
            draft(self._runtime, self._forms, candidate, blind=self._blind)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this one candidate's
            return problem(error)
        return None

    def pull(self, batch: Batch) -> list[Label]:
        """Return the answers since the last transaction: new, edited, skipped and withdrawn, also with their task.

        The progress is added to `batch`: when its transaction fails, the same labels come again. `Label.answer` is
        the name of the class as text; None for a skip, an "unclear" and a withdrawn answer.

        Raises
        ------
        LabelError
            Label Studio is unreachable or refused; `batch` is then not to be used.
        """
        return self._puller.pull(batch)

    def project(self, model: str) -> int:
        """Return the id of the model's project; make it when there is none.

        Raises
        ------
        LabelError
            There is no candidate of this model to make a form for, or Label Studio refused.
        """
        for _, data in self._runtime.store.items(CANDIDATES):
            candidate = load(Candidate, data)
            if candidate.model == model and candidate.inference:
                made = draft(self._runtime, self._forms, candidate, blind=self._blind)
                return self._projects.get(model, made.form, made.classes)
        raise LabelError("model", model, "has no candidate yet, so its form is not known; select one first")

    def close(self) -> None:
        """Close the connections; calling it twice is harmless."""
        self._tool.close()
