"""For the tests of those who write scorers and monitors: a model's stream from arrays, detected at once.

::

    def test_my_monitor_opens_an_incident():
        world, rng = davy.testing.runtime(), np.random.default_rng(0)
        fit(world, "fraud:3", {"inputs.amount": rng.normal(size=2_000)})
        send(world, "fraud:3", {"inputs.amount": rng.normal(2.0, size=1_000)})
        assert [incident.cause for incident in detect(world)] == ["drift"]

It is the role `detect` that runs, with every plug-in installed. `davy_detectors.checks` is the other half of a test:
what the contract asks of a plug-in whatever it looks for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from davy.codec import Encoder, load, pack
from davy.errors import SettingError
from davy.event import INFERENCES, Envelope
from davy.log import Message
from davy.runtime import Runtime
from davy.testing import Clock
from davy_detectors.batch import Batch
from davy_detectors.incidents.incident import INCIDENTS, Incident
from davy_detectors.reference import Reference
from davy_detectors.reference.active import put
from davy_detectors.stream.role import DetectTarget

_ROWS: Final = 200


def fit(runtime: Runtime, model: str, columns: Mapping[str, Any]) -> Reference:
    """Learn what is normal for a model, and put it in force.

    Parameters
    ----------
    runtime
        Of `davy.testing.runtime`.
    model
        ``name:version``.
    columns
        Arrays with the inferences along the first axis, named as `Batch.from_columns` takes them: ``inputs.age``,
        ``outputs.probs``, ``embedding``. At least 200 inferences.

    Raises
    ------
    ReferenceInvalid
        The columns differ in length, are too short, or there is nothing to monitor.
    """
    batch = Batch.from_columns(model, columns)
    reference = Reference.fit(model, batch, settings=runtime.settings.detect)
    put(runtime.store, model, reference.to_bytes())
    return reference


def send(runtime: Runtime, model: str, columns: Mapping[str, Any], *, seconds: float = 0.001) -> list[str]:
    """Append inferences to the log as the SDK does, one every `seconds` by the clock, which goes on.

    Parameters
    ----------
    runtime, model, columns
        As `fit` takes them.

    Returns
    -------
    list of str
        Their ids, 32 hexadecimal digits, in their order.

    Raises
    ------
    SettingError
        The clock is not one that a test sets.
    """
    clock = _clock(runtime)
    batch = Batch.from_columns(model, columns)
    at = clock() + np.round(np.arange(1, len(batch) + 1) * seconds * 1e9).astype(np.int64)
    ids = np.empty((len(batch), 2), ">u8")
    ids[:, 0], ids[:, 1] = at, np.arange(len(batch))
    rows = Envelope(
        model=model, ids=ids.view("V16")[:, 0], at=at, latency_ms=batch.latency_ms, rate=batch.rate,
        columns=batch.fields,
    )  # fmt: skip
    encoder, producer = Encoder(), runtime.log.producer()
    for start in range(0, len(batch), _ROWS):
        chunks = [_encoded(encoder, rows, row) for row in range(start, min(start + _ROWS, len(batch)))]
        clock.now = int(at[min(start + _ROWS, len(batch)) - 1])
        producer.append([Message(INFERENCES, model, pack(chunks))])
    producer.close()
    return [id.tobytes().hex() for id in rows.ids]


def detect(runtime: Runtime) -> list[Incident]:
    """Let detection handle all that the log holds; return the incidents there are then, in the order they were raised.

    The clock goes on for as long as detection waits for what comes late. What failed is in
    ``davy_detectors.plugins.suspensions(runtime.store)`` and in the metrics.

    Raises
    ------
    SettingError
        The clock is not one that a test sets.
    """
    clock, target = _clock(runtime), DetectTarget(runtime)
    try:
        target.counting.drain()
        clock.advance(2 * runtime.settings.detect.lateness_seconds)
        target.testing.turn()
    finally:
        target.close()
    found = [load(Incident, data) for _, data in runtime.store.items(INCIDENTS)]
    return sorted(found, key=lambda incident: (incident.raised_at, incident.id))


def _clock(runtime: Runtime) -> Clock:
    if not isinstance(runtime.clock, Clock):
        raise SettingError(
            "clock", type(runtime.clock).__name__, "make the runtime with davy.testing.runtime()"
        )
    return runtime.clock


def _encoded(encoder: Encoder, rows: Envelope, row: int) -> Any:
    found = rows.inference(row)
    return encoder.encode(
        found.model, found.id, found.at, found.inputs, found.outputs, embedding=found.embedding, tags=found.tags,
        group=found.group, seq=found.seq, alternatives=found.alternatives, rate=found.rate,
        latency_ms=float("nan") if found.latency_ms is None else found.latency_ms,
    )  # fmt: skip
