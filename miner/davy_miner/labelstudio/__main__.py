"""A Label Studio of one's own until SIGTERM: ``python -m davy_miner.labelstudio DIRECTORY``.

Prints one JSON line with `url`, `api_key`, `user` and `password` at once; it answers some seconds later.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

from davy.errors import DavyError
from davy_miner.labelstudio.server import LocalLabelStudio


def main(directory: Path) -> int:
    """Start it, say where it is, and stop it on SIGTERM or Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    server = LocalLabelStudio()
    try:
        with server:
            server.launch(directory)
            found = {
                "url": server.url,
                "api_key": server.api_key,
                "user": server.user,
                "password": server.password,
            }
            sys.stdout.write(json.dumps(found) + "\n")
            sys.stdout.flush()
            server.wait()
            signal.pause()
    except KeyboardInterrupt:
        return 0
    except DavyError as error:
        sys.stderr.write(f"davy: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
