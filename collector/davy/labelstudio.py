"""A Label Studio on this machine, for `davy up --label-studio` and the demo: a child process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Self

from davy.errors import LabelError


class LabelStudioProcess:
    """Starts a Label Studio when entered and stops it when left; it comes up while other things start.

    Parameters
    ----------
    directory
        Where it keeps its projects; made when it starts, used again when it exists.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._child: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "davy_miner.labelstudio", str(self._directory)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.terminate()
            self._child.communicate(timeout=30)
            self._child = None

    @cached_property
    def found(self) -> Mapping[str, str]:
        """Its `url`, `api_key`, `user` and `password`, known before it answers.

        Raises
        ------
        LabelError
            It is not installed.
        """
        if self._child is None or self._child.stdout is None or self._child.stderr is None:
            raise LabelError("Label Studio", str(self._directory), "is not started: enter its context first")
        line = self._child.stdout.readline()
        if not line:
            said = self._child.stderr.read().strip().rpartition("\n")[2]
            raise LabelError("--label-studio", str(self._directory), said.removeprefix("davy: "))
        found: Mapping[str, str] = json.loads(line)
        return found
