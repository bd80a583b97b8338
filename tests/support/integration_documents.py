"""What docs/integrations.md shows and examples/ hold, run in the environment of a group."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from davy.codec import decode
from davy.event import INFERENCES
from davy.log import open_log
from support.sdk_rig import Inference

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "integrations.md"


def snippets(group: str) -> list[str]:
    """Return the snippets of a group, marked ``python integration GROUP``."""
    fence = rf"^```python integration {group}\n(.*?)^```"
    return re.findall(fence, GUIDE.read_text(), re.DOTALL | re.MULTILINE)


def captured_by(arguments: list[str], directory: Path) -> list[Inference]:
    """Run Python in a process of its own; return what it captured."""
    env = {
        **os.environ,
        "DAVY_URL": f"sqlite:///{directory / 'log'}",
        "HOME": str(directory),  # frameworks leave files there
        "KERAS_BACKEND": "tensorflow" if find_spec("tensorflow") else "torch",
        "TMPDIR": tempfile.gettempdir(),
    }
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    log = open_log(env["DAVY_URL"])
    found = [one for record in log.read(INFERENCES, 0, 0) for one in decode(record.value).inferences()]
    log.close()
    return found
