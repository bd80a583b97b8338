"""The command ``davy recount``: everything the log still holds, counted again into a fresh state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Final

import typer

from davy import console
from davy.codec import dump, load, load_any
from davy.consume import stored_position
from davy.errors import SettingError
from davy.event import INFERENCES
from davy.existing import require_model
from davy.forgetting import standing_aside
from davy.runner import open_runtime
from davy.store import Batch
from davy_detectors.erasure import IncidentKeeper
from davy_detectors.history import partition_index
from davy_detectors.history.log_view import LogView
from davy_detectors.incidents import matcher
from davy_detectors.incidents.incident import INCIDENTS, RESOLVED, Incident
from davy_detectors.models.known import COLLECTION as DETECTED
from davy_detectors.stream import model_run as run
from davy_detectors.stream import partial_aggregate
from davy_detectors.stream.label_counter import LabelCounter
from davy_detectors.stream.partial_aggregate import MODELS
from davy_detectors.stream.partition_counter import PartitionCounter
from davy_detectors.stream.replay import detected
from davy_detectors.stream.totals import Totals

if TYPE_CHECKING:
    from davy.log import Position
    from davy.runtime import Runtime
    from davy.store import Store
    from davy.store.memory import MemoryStore

_PATIENCE: Final = 120.0


@dataclass(frozen=True, slots=True)
class Recounted:
    """What became of one model.

    Attributes
    ----------
    model
        Which.
    before, now
        Inferences counted before, and those that the log still held.
    gone
        Inferences that had been counted and that the log no longer holds.
    incidents
        Incidents found in what the log holds.
    """

    model: str
    before: int
    now: int
    gone: int
    incidents: int


def recount(runtime: Runtime, model: str = "", *, patience: float = _PATIENCE) -> list[Recounted]:
    """Count again what the log holds and roles have counted, with the references in force; return what was found.

    A model's state is replaced in one transaction: whoever dies in between has changed nothing of it. Labels,
    candidates, references, keys and the positions of roles stay; so does all that is known of models of which the log
    holds nothing, and incidents from before what it holds.

    Parameters
    ----------
    runtime
        Whose log and store.
    model
        Only this one.
    patience
        Longest wait, in seconds, for roles to stand aside.

    Raises
    ------
    SettingError
        Nothing that the log holds was counted yet, or there is no such model, and no role stood aside; or nothing of it
        was counted.
    StoreError
        A role did not stand aside.
    """
    _require_counted(runtime)
    if model:
        require_model(model, runtime.store)
    with standing_aside(runtime, IncidentKeeper(runtime).leases(), patience) as check:
        view = LogView(runtime.log, INFERENCES, ends=_counted(runtime))
        oldest = view.newest
        fresh = detected(runtime, view)
        counted = (name for name, _ in fresh.items(MODELS) if _totals(fresh, name).events)
        models = [name for name in counted if model in {"", name}]
        if model and not models:
            raise SettingError("--model", model, "the log holds nothing of it that was counted")
        found = []
        for name in models:
            check()
            found.append(
                _replace(runtime.store, fresh, name, oldest, [place[1] for place in view.end(INFERENCES)])
            )
        return found


def command(
    model: Annotated[str, typer.Option("--model", help="Only this model, as name:version.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count everything the log still holds again; detection stands still meanwhile, nothing else is touched."""
    with open_runtime(make=False) as runtime:
        found = recount(runtime, model)
    console.show(
        [asdict(one) for one in found], title="counted again", as_json=as_json, empty="the log holds nothing"
    )


def _counted(runtime: Runtime) -> Position:
    """Return how far each partition is counted; roles count the rest anyway."""
    found, log = {}, runtime.log.identity(INFERENCES)
    for place, start in runtime.log.start(INFERENCES).items():
        stored = stored_position(runtime.store, PartitionCounter.name, place)
        mine = stored is not None and stored.log in {"", log}
        found[place] = stored.offset if stored is not None and mine else start
    return found


def _require_counted(runtime: Runtime) -> None:
    """Raise SettingError where the log holds inferences and none of them was counted: there is nothing to do again."""
    starts, counted = runtime.log.start(INFERENCES), _counted(runtime)
    ends = runtime.log.end(INFERENCES)
    held = [place for place, end in ends.items() if end > starts[place]]
    if held and all(counted[place] <= starts[place] for place in held):
        remedy = "nothing that it holds was counted yet: start `davy up` or `davy run detect`, which count all of it"
        raise SettingError("log", runtime.log.url, remedy)


def _replace(store: Store, fresh: MemoryStore, model: str, oldest: int, partitions: list[int]) -> Recounted:
    before, changes = _totals(store, model), Batch()
    for collection in (partial_aggregate.collection(model), f"windows/{model}"):
        for key, _ in store.items(collection):
            if not key.startswith(
                tuple(LabelCounter.topics)
            ):  # labels are not counted again, and wait for their turn
                changes.delete(collection, key)
        for key, data in fresh.items(collection):
            changes.put(collection, key, data)
    seen = [partition_index.collection(partition) for partition in partitions]
    for collection in (*seen, DETECTED, run.SNAPSHOTS, matcher.COLLECTION, MODELS):
        state = fresh.get(collection, model)
        if state is None:
            changes.delete(collection, model)
        else:
            changes.put(collection, model, state)
    now, again = _totals(fresh, model), 0
    for incident in _incidents(store, model):
        if incident.onset_at >= oldest:
            changes.delete(INCIDENTS, incident.id)
        elif incident.state != RESOLVED:
            ended = replace(incident, state=RESOLVED, resolved_at=now.first_seen)
            changes.put(INCIDENTS, incident.id, dump(ended))
    for incident in _incidents(fresh, model):
        changes.put(INCIDENTS, incident.id, dump(incident))
        again += 1
    store.apply(changes)
    return Recounted(model, before.events, now.events, max(0, before.events - now.events), again)


def _totals(store: Store, model: str) -> Totals:
    data = store.get(DETECTED, model)
    return Totals.load(load_any(data)) if data is not None else Totals()


def _incidents(store: Store, model: str) -> Iterator[Incident]:
    for _, data in store.items(INCIDENTS):
        incident = load(Incident, data)
        if incident.model == model:
            yield incident
