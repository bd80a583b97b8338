"""How often each fault strikes, and the file that whoever asked finds what was seen in.

`DAVY_FAULT_ROUNDS` says how often (``make bench-faults``: 20), `DAVY_FAULT_RESULTS` names the file: a line of JSON a
round. Rounds are tests of their own, so that several may run beside each other.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

ROUNDS: Final = int(os.environ.get("DAVY_FAULT_ROUNDS", "1"))
_RESULTS: Final = os.environ.get("DAVY_FAULT_RESULTS", "")


def write_down(name: str, *seen: Mapping[str, Any]) -> None:
    """Keep what rounds of a fault showed."""
    if _RESULTS:
        with Path(_RESULTS).open("a") as file:
            file.writelines(json.dumps({"fault": name, **one}) + "\n" for one in seen)
