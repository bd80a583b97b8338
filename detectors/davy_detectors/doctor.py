"""What `davy doctor` says about the detectors: which models have a reference, and how large it is."""

from __future__ import annotations

from typing import Final

from davy.doctor import Check
from davy.runtime import Runtime
from davy_detectors.reference import Reference

_ADVISED: Final = 5_000


def checks(runtime: Runtime) -> list[Check]:
    """Look at every model seen: without a reference nothing can be compared."""
    references = dict(runtime.store.items("references"))
    seen = {model for model, _ in runtime.store.items("models")} | set(references)
    return [_check(model, references.get(model)) for model in sorted(seen)]


def _check(model: str, stored: bytes | None) -> Check:
    what = f"reference of {model}"
    if stored is None:
        return Check(what, "warning", "none", f"davy reference fit --model {model} --from-log --last 10000")
    size = Reference.from_bytes(stored).size
    if size < _ADVISED:
        remedy = f"fit it on at least {_ADVISED:,}: a small reference makes alarms slow"
        return Check(what, "warning", f"{size:,} inferences", remedy)
    return Check(what, "ok", f"{size:,} inferences")
