"""The simulated annotator: knows the true digit of every frame, and says so in every answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol, Self

from davy.demo.processes import davy_command, wait_until
from davy.demo.stage import Stage


class Annotator(Protocol):
    """Where labels come from: the settings Davy needs, the answers, what was counted."""

    @property
    def env(self) -> Mapping[str, str]:
        """The settings every process of a run needs."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def annotate(self, here: Stage, answers: Mapping[str, int]) -> None:
        """Answer every candidate and wait until Davy has read every answer back."""

    def ledger(self, here: Stage) -> dict[str, int] | None:
        """Count tasks, duplicates and labels read back; None without a labelling tool."""

    def addresses(self) -> list[str]:
        """Say where a person can look."""


class FileAnnotator:
    """Answers without a labelling tool, by ``davy labels import``."""

    @property
    def env(self) -> Mapping[str, str]:
        """None."""
        return {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def annotate(self, here: Stage, answers: Mapping[str, int]) -> None:
        """Write the answers to a file and import it."""
        path = here.directory / "answers.jsonl"
        lines = (
            json.dumps({"candidate": candidate, "answer": str(digit), "annotator": "simulated"})
            for candidate, digit in answers.items()
        )
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        davy_command("labels", "import", str(path), "--json", env=here.env)
        wait_until_labelled(here, len(answers))

    def ledger(self, here: Stage) -> dict[str, int] | None:  # noqa: ARG002 - the contract's signature
        """Nothing to count."""
        return None

    def addresses(self) -> list[str]:
        """Nowhere to look."""
        return []


def candidates(here: Stage, *states: str) -> list[dict[str, Any]]:
    """Read Davy's queue."""
    found = davy_command("candidates", "--model", "digits:1", "--json", env=here.env)
    return [one for one in found if one["state"] in states]


def wait_until_labelled(here: Stage, count: int) -> None:
    """Wait until Davy has taken in `count` answers."""
    wait_until(
        lambda: len(candidates(here, "labelled")) >= count, f"{count} labels to come back", seconds=120
    )
