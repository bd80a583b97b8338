"""The detect role: inferences in; counts, incidents, alerts, flags and metrics out."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import entry_points

from davy.codec import decode
from davy.consume import Loop
from davy.event import INFERENCES, Envelope
from davy.log import Message, Record
from davy.runtime import Runtime, Target
from davy.store import Batch as Changes
from davy_detectors._references import References
from davy_detectors._shown import Shown
from davy_detectors._watch import COLLECTION, Tools, Watch


class Detect:
    """Reads inferences, keeps what is known about each model in the store, publishes alerts and flags.

    Every model is counted from its first inference on. Once it has a reference (`davy reference fit`), the monitors of
    the entry point group ``davy.monitors`` watch it and its scorers flag samples; a new reference is picked up within
    about a second. What is kept sits in the store under ``detect/<model>`` and ``incidents/<id>``.

    Parameters
    ----------
    runtime
        Settings (section ``detect``), log, store, meter, clock.
    """

    name: str = "detect"
    topics: Sequence[str] = (INFERENCES,)

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        monitors = {point.name: point.load() for point in sorted(entry_points(group="davy.monitors"))}
        self._tools = Tools(runtime, References(runtime), monitors, Shown(runtime.meter))
        self._watches: dict[str, Watch] = {}

    def restore(self) -> None:
        """Take up the stored state of every model."""
        self._watches = {
            model: Watch.load(model, self._tools, data)
            for model, data in self._runtime.store.items(COLLECTION)
        }
        for watch in self._watches.values():
            watch.show()

    def decode(self, record: Record) -> Envelope:
        """Read an envelope."""
        return decode(record.value)

    def handle(self, items: Sequence[tuple[Record, Envelope]], batch: Changes) -> list[Message]:
        """Take in envelopes, model by model, each model's in their order."""
        by_model: dict[str, list[tuple[Record, Envelope]]] = {}
        for record, envelope in items:
            by_model.setdefault(envelope.model, []).append((record, envelope))
        messages: list[Message] = []
        for model, mine in by_model.items():
            if model not in self._watches:
                self._watches[model] = Watch(model, self._tools)
            messages += self._watches[model].take_in(mine, batch)
        return messages

    def idle(self, batch: Changes) -> list[Message]:
        """Pick up new references and notice silence."""
        return [message for watch in self._watches.values() for message in watch.look_around(batch)]


class DetectTarget(Target):
    """The role `detect` of `davy up` and `davy run`."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def run(self) -> None:
        """Detect until the runtime stops."""
        settings = self._runtime.settings.detect
        loop = Loop(self._runtime, Detect(self._runtime), max_records=settings.poll_records)
        try:
            loop.run()
        finally:
            loop.close()
