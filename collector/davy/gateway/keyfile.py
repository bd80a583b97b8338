"""Whether the file that holds the operator's key holds one: who mounts none, or an empty one, locks everybody out."""

from __future__ import annotations

import logging
from typing import Final

from davy.gateway.keys import KeyRing
from davy.health import Check
from davy.runtime import Runtime

_WHAT: Final = "gateway key"
_REMEDY: Final = (
    "put the key into the first line of that file, where this user may read it, or unset DAVY_GATEWAY_API_KEY_FILE; "
    "it is read again within seconds"
)
_logger = logging.getLogger("davy.gateway")


def checks(runtime: Runtime) -> list[Check]:
    """Say whether the file gives a key, and who is let in where it does not; a gateway says a change in its log too."""
    if not runtime.settings.gateway.api_key_file:
        return []
    if "gateway" in runtime.pulse.reads:
        say(runtime)
    return [_check(runtime)]


def say(runtime: Runtime) -> None:
    """Say in the log what the file lacks, or that it lacks it no more, unless that was said."""
    runtime.key.current()
    if runtime.key.changed():
        found = _check(runtime)
        if found.state == "ok":
            _logger.info("%s: %s holds one again", found.what, found.found)
        else:
            _logger.warning("%s: %s: %s", found.what, found.found, found.remedy)


def has_keys(runtime: Runtime) -> bool:
    """Whether `davy keys` made one that is still good."""
    return any(key.holds(runtime.clock()) for key in KeyRing(runtime.store).listed())


def _check(runtime: Runtime) -> Check:
    path, held = runtime.settings.gateway.api_key_file, runtime.key.current()
    if not runtime.key.trouble:
        return Check(_WHAT, "ok", path)
    found = f"{path} {runtime.key.trouble}"
    if held:
        return Check(_WHAT, "warning", f"{found}; the key from before holds until a restart", _REMEDY)
    if has_keys(runtime):
        return Check(_WHAT, "warning", f"{found}; only keys of `davy keys` are let in", _REMEDY)
    return Check(_WHAT, "wrong", f"{found}; everybody is refused", _REMEDY)
