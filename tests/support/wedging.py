"""Run a module with a plug-in that does not return while a file is there: ``-m support.wedging FILE MODULE …``."""

from __future__ import annotations

import runpy
import sys
import time
from pathlib import Path
from typing import Any


def main(file: str, module: str, *arguments: str) -> None:
    from davy_detectors.stream.partition_counter import PartitionCounter

    handle, wedge = PartitionCounter.handle, Path(file)

    def wedged(self: PartitionCounter, *given: Any) -> Any:
        while wedge.exists():
            time.sleep(0.05)
        return handle(self, *given)

    PartitionCounter.handle = wedged  # type: ignore[method-assign]
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
