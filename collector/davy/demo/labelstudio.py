"""The simulated annotator behind a real Label Studio: it answers tasks through Label Studio's own API."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import httpx

from davy.demo.annotator import candidates, wait_until_labelled
from davy.demo.processes import wait_until
from davy.demo.stage import Stage
from davy.labelstudio import LabelStudioProcess

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
        self._server = LabelStudioProcess(directory)

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *reason: object) -> None:
        self._server.__exit__(*reason)

    @property
    def env(self) -> Mapping[str, str]:
        """The settings that lead Davy there; waits until it answers."""
        return {
            "DAVY_LABELSTUDIO_URL": self._server.found["url"],
            "DAVY_LABELSTUDIO_API_KEY": self._server.found["api_key"],
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
        found = self._server.found
        return [f"Label Studio  {found['url']} ({found['user']} / {found['password']})"]

    def _client(self) -> httpx.Client:
        headers = {"Authorization": f"Token {self._server.found['api_key']}"}
        return httpx.Client(base_url=self._server.found["url"], headers=headers, timeout=60)


def _result(model_answer: str, answer: str) -> list[dict[str, Any]]:
    """Fill in the form: the verdict, and the right class when the model is wrong."""
    if answer == model_answer:
        return [_choice("verdict", "model correct")]
    return [_choice("verdict", "model wrong"), _choice("answer", answer)]


def _choice(control: str, value: str) -> dict[str, Any]:
    return {"from_name": control, "to_name": "subject", "type": "choices", "value": {"choices": [value]}}
