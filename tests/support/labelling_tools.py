"""The labelling tools of the fault tests: each says which candidates its tasks are of."""

from __future__ import annotations

import httpx

from davy_miner.labelstudio import LocalLabelStudio
from support.fake_labelstudio import FakeLabelStudio


class FakeTool:
    """The fake Label Studio."""

    def __init__(self, fake: FakeLabelStudio) -> None:
        self._fake = fake
        self.url, self.api_key = fake.url, fake.refresh_token

    def candidates(self) -> list[str]:
        """The candidate of every task."""
        return [task["data"]["candidate_id"] for task in list(self._fake.tasks.values())]


class RealTool:
    """A real Label Studio and the projects of one model."""

    def __init__(self, server: LocalLabelStudio, model: str) -> None:
        self.url, self.api_key, self._model = server.url, server.api_key, model

    def candidates(self) -> list[str]:
        """The candidate of every task of the model."""
        headers = {"Authorization": f"Token {self.api_key}"}
        found: list[str] = []
        with httpx.Client(base_url=self.url, headers=headers, timeout=30) as client:
            for project in client.get("/api/projects/").raise_for_status().json()["results"]:
                if self._model not in project["title"] or not project["task_number"]:
                    continue
                query = {"project": project["id"], "page_size": 10_000, "fields": "all"}
                tasks = client.get("/api/tasks/", params=query).raise_for_status().json()["tasks"]
                found += [task["data"]["candidate_id"] for task in tasks]
        return found
