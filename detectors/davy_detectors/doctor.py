"""What `davy doctor` says about the detectors: which models have a reference, how large, what it does not watch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from davy.codec import load_any
from davy.console import command
from davy.errors import DavyError
from davy.fields.losses import BY_THE_APP, INCOMPLETE, REMEDIES, read_loss
from davy.health import Check
from davy.retired import retirements
from davy.runtime import Runtime
from davy_detectors.models.known import unlisted
from davy_detectors.models.roster import UNLISTED
from davy_detectors.plugins import KINDS, suspensions
from davy_detectors.reference import Reference
from davy_detectors.reference.loading import Captured, captured_fields
from davy_detectors.stream.totals import Totals

_ADVISED: Final = 5_000
_ENOUGH: Final = 200
_NAMED: Final = 12
_SECTIONS: Final = frozenset({"inputs", "outputs", "embedding"})


def checks(runtime: Runtime) -> list[Check]:
    """Look at every model seen: without a reference nothing can be compared."""
    gone = retirements(runtime.store)
    references = {model: data for model, data in runtime.store.items("references") if model not in gone}
    seen = {model for model, _ in runtime.store.items("models")} | set(references)
    seen -= {UNLISTED, *gone}
    captured = captured_fields(runtime.log) if seen else {}
    found = [Check("models", "ok", f"seen: {', '.join(sorted(seen)) or 'none'}"), *_unlisted(runtime)]
    for model in sorted(seen):
        found += _of_model(model, references.get(model), captured.get(model, Captured()))
        found += _left_out(model, runtime.store.get("detect", model))
    return [*found, *_suspended(runtime, references)]


def _suspended(runtime: Runtime, references: Mapping[str, bytes]) -> Iterator[Check]:
    """Say for which plug-ins a model is blind."""
    for one in suspensions(runtime.store):
        if one.kind in KINDS and (one.model in references or not one.reference):
            when = datetime.fromtimestamp(one.since / 1e9, UTC).isoformat(timespec="seconds")
            found = f"blind for this {one.kind} since {when}: {one.error}"
            remedy = "mend and upgrade it, or uninstall it; another version of it, or another reference, is tried anew"
            yield Check(f"{one.kind} {one.name} of {one.model}", "wrong", found, remedy)


def _unlisted(runtime: Runtime) -> Iterator[Check]:
    there = unlisted(runtime.store, runtime.clock())
    if there.models:
        found = f"about {there.models:,} are not shown by name; {there.inferences:,} inferences are counted together"
        yield Check("models", "warning", found, there.remedy)


def _of_model(model: str, stored: bytes | None, captured: Captured) -> Iterator[Check]:
    what = f"reference of {model}"
    if stored is None:
        yield Check(what, "warning", "none", _fit(model, "--from-log", "--last", "10000"))
        return
    try:
        reference = Reference.from_bytes(stored)
    except DavyError as error:
        yield Check(what, "wrong", "cannot be read", error.remedy)
        return
    size = reference.size
    if size < _ADVISED:
        remedy = f"fit it on at least {_ADVISED:,}: a small reference makes alarms slow"
        yield Check(what, "warning", f"{size:,} inferences", remedy)
    else:
        yield Check(what, "ok", f"{size:,} inferences")
    yield from _unlike(model, reference, captured)


def _fit(model: str, *more: str) -> str:
    return command("reference", "fit", "--model", model, *more)


def _unlike(model: str, reference: Reference, captured: Captured) -> Iterator[Check]:
    """Compare the fields of a reference with those that the newest inferences had."""
    if not captured.inferences:
        return
    schema = reference.schema
    known = {each.path for each in schema.fields.values()} | set(schema.widths) | {("outputs", "class_names")}
    live = {path for path in captured.fields if path[0] in _SECTIONS}
    reasons = (schema.reason(path) or (".".join(path), "not in the reference") for path in live - known)
    loose = {name: reason for name, reason in reasons if not reason.startswith("ignored")}
    if loose:
        remedy = f"{_fit(model)} again, or --ignore it there if it should not be watched"
        yield Check(f"captured of {model}, watched by nothing", "warning", _listed(loose), remedy)
    if ("outputs", "probs") in live or ("outputs", "logits") in live:
        known.discard(("outputs", "label"))
    silent = _names(known - live - {("outputs", "class_names")})
    if silent and captured.inferences >= _ENOUGH:
        remedy = "name the columns of the reference as captured, or fit it from the log"
        yield Check(
            f"in the reference of {model}, never seen live",
            "warning",
            f"{_listed(dict.fromkeys(silent, ''))}; of the newest {captured.inferences:,} inferences",
            remedy,
        )


def _left_out(model: str, stored: bytes | None) -> Iterator[Check]:
    """Say which calls and fields the sending processes had to leave out, and why."""
    if stored is None:
        return
    totals = Totals.load(load_any(stored))
    for reason, count in sorted(totals.incomplete.items()):
        remedy = f"{INCOMPLETE[reason]}; {BY_THE_APP}"
        yield Check(f"calls of {model}", "warning", f"{reason} {count:,} times", remedy)
    for each, count in sorted(totals.left_out.items()):
        name, reason = read_loss(each) or (each, "")
        remedy = f"{REMEDIES.get(reason, 'docs/fields.md says what travels')}; {BY_THE_APP}"
        yield Check(f"field {name} of {model}", "warning", f"left out {count:,} times: {reason}", remedy)


def _names(paths: set[tuple[str, ...]]) -> set[str]:
    return {".".join(path) for path in paths}


def _listed(found: dict[str, str]) -> str:
    names = [f"{name} ({reason})" if reason else name for name, reason in sorted(found.items())]
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
