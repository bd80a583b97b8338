"""The simulated annotator behind a real Label Studio: it answers tasks through Label Studio's own API."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import httpx

from davy.demo.annotator import candidates, wait_until_labelled
from davy.demo.processes import wait_until
from davy.demo.stage import Stage
from davy.errors import DavyError

_SECONDS: Final = 4.0
_PAGE: Final = 10_000


class LabelStudioAnnotator:
    """Starts a Label Studio of the demo's own, in the background, and labels there.

    Parameters
    ----------
    directory
        Where it keeps its projects, and its output in ``label-studio.log``.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._server: subprocess.Popen[str] | None = None
        self._found: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._server = subprocess.Popen(
            [sys.executable, "-m", "davy_miner.labelstudio", str(self._directory)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.terminate()
            self._server.communicate(timeout=30)

    @property
    def env(self) -> Mapping[str, str]:
        """The settings that lead Davy there; waits until it answers."""
        return {
            "DAVY_LABELSTUDIO_URL": self._address["url"],
            "DAVY_LABELSTUDIO_API_KEY": self._address["api_key"],
        }

    def annotate(self, here: Stage, answers: Mapping[str, int]) -> None:
        """Wait for the tasks, answer each as a person would, and wait until Davy has read the answers back."""
        wait_until(
            lambda: len(candidates(here, "pushed")) >= len(answers), f"{len(answers)} tasks", seconds=120
        )
        with self._client() as client:
            for one in candidates(here, "pushed"):
                answer = str(answers[one["id"]])
                body = {"result": _result(str(one["answer"]), answer), "lead_time": _SECONDS}
                client.post(f"/api/tasks/{one['task']}/annotations/", json=body).raise_for_status()
        wait_until_labelled(here, len(answers))

    def ledger(self, here: Stage) -> dict[str, int] | None:
        """Count what Label Studio holds for this run."""
        labelled = candidates(here, "labelled")
        with self._client() as client:
            project = client.get(f"/api/tasks/{labelled[0]['task']}").raise_for_status().json()["project"]
            query = {"project": project, "page_size": _PAGE, "fields": "all"}
            tasks = client.get("/api/tasks", params=query).raise_for_status().json()["tasks"]
        return {
            "tasks": len(tasks),
            "duplicates": len(tasks) - len({task["data"]["candidate_id"] for task in tasks}),
            "labels_read_back": sum(one["label"] is not None for one in labelled),
        }

    def addresses(self) -> list[str]:
        """Say where a person can look."""
        found = self._address
        return [f"Label Studio  {found['url']} ({found['user']} / {found['password']})"]

    @property
    def _address(self) -> dict[str, str]:
        if not self._found:
            if self._server is None or self._server.stdout is None or self._server.stderr is None:
                raise DavyError("Label Studio", "", "is not started; use the annotator as a context manager")
            line = self._server.stdout.readline()
            if not line:
                raise DavyError("Label Studio", str(self._directory), self._server.stderr.read().strip())
            self._found = json.loads(line)
        return self._found

    def _client(self) -> httpx.Client:
        headers = {"Authorization": f"Token {self._address['api_key']}"}
        return httpx.Client(base_url=self._address["url"], headers=headers, timeout=60)


def _result(model_answer: str, answer: str) -> list[dict[str, Any]]:
    """Fill in the form: the verdict, and the right class when the model is wrong."""
    if answer == model_answer:
        return [_choice("verdict", "model correct")]
    return [_choice("verdict", "model wrong"), _choice("answer", answer)]


def _choice(control: str, value: str) -> dict[str, Any]:
    return {"from_name": control, "to_name": "subject", "type": "choices", "value": {"choices": [value]}}
