"""Whether the archive takes files: tried, as its role may write none for as long as `archive.seconds`."""

from __future__ import annotations

import secrets
from functools import lru_cache
from typing import Final

from davy._directory import directory_of
from davy.archive.places import FilePlace, open_place
from davy.health import Check
from davy.requirements import needs
from davy.runtime import Runtime

_FOLDER: Final = "inferences"
_WHAT: Final = "archive"


def checks(runtime: Runtime) -> list[Check]:
    """Write a file where the inferences go, read it back and remove it; its name is none that readers look at."""
    url = runtime.settings.archive.url
    if not url:
        return []
    if url.startswith("file://") and not directory_of(url).is_dir():
        here = _WHAT in runtime.pulse.reads
        remedy = "`davy up` or `davy run archive` makes it when it starts"
        return [Check(_WHAT, "wrong" if here else "warning", f"{url}: there is no such directory", remedy)]
    try:
        place = _opened(url)
    except ImportError as error:
        return [Check(_WHAT, "warning", url, needs(str(error.name), extras="server"))]
    path, data = f"{_FOLDER}/.probe-{secrets.token_hex(8)}", secrets.token_bytes(16)
    place.put(path, data)
    try:
        file = place.open(path)
        if file is not None:
            with file:
                read = file.read()
    finally:
        place.remove(path)
    if file is None or read != data:
        found = f"{url}: a file that was written does not read back"
        return [Check(_WHAT, "wrong", found, "see that the disk is well")]
    return [Check(_WHAT, "ok", f"{url}: a file was written, read back and removed")]


@lru_cache(maxsize=1)
def _opened(url: str) -> FilePlace:
    return open_place(url)
