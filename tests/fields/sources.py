"""The ways in which inferences come, as an app and its files have them: real components from end to end."""

from __future__ import annotations

import csv
import json
import math
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from support.gateway_rig import JSON, LocalClient

import davy
from davy.codec import decode
from davy.config import GatewaySettings, Settings
from davy.event import INFERENCES
from davy.fields import flatten, is_missing, plain
from davy.gateway import make_app
from davy.log import open_log
from davy.runner import open_runtime
from davy_detectors.base import Alarm, Monitor
from davy_detectors.batch import Batch
from davy_detectors.reference.loading import read_file, read_log
from davy_detectors.stream.monitor_run import merged
from davy_detectors.stream.partition_counter import aggregated

from .kinds import AUTO, NOW, Kind

SOURCES: Final = ("app, one by one", "app, in batches", "HTTP", "CSV", "Parquet", "NPZ", "log")
STEADY: Final = "steady"
AT: Final = NOW * 1_000_000_000
_ROWS: Final = 500
_WINDOW: Final = 50_000_000


def holds(kind: Kind, source: str) -> bool:
    """Whether a source can hold values of a kind."""
    able = {"HTTP": kind.json is not None, "CSV": kind.csv, "Parquet": kind.arrow is not None}
    return (able | {"NPZ": kind.numpy is not None}).get(source, True)


@dataclass(frozen=True)
class Sample:
    """Values of one kind, beside a number that never changes its distribution."""

    kind: Kind
    values: Sequence[Any]
    steady: Sequence[float]

    @classmethod
    def draw(cls, kind: Kind, seed: int, count: int, *, changed: bool = False) -> Sample:
        """Draw values; the same seed gives the same."""
        rng = np.random.default_rng(seed)
        values = (kind.changed if changed else kind.normal)(rng, count)
        return cls(kind, values, rng.normal(size=len(values)).tolist())

    def sections(self, value: Any, steady: float) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the inputs and outputs of one inference."""
        section, _, name = self.kind.field.partition(".")
        parts = {"inputs": {STEADY: steady}, "outputs": {STEADY: steady}}
        parts[section][name] = value
        return parts["inputs"], parts["outputs"]


class Sources:
    """Sends samples through an SDK client, a gateway, files and a log, and reads them as the detect role does.

    Parameters
    ----------
    directory
        Where files go.
    """

    def __init__(self, directory: Path, gateway: LocalClient, gateway_url: str) -> None:
        self._directory = directory
        self._gateway, self._gateway_url = gateway, gateway_url
        self._read: dict[str, int] = {}
        self.renew()

    def renew(self) -> None:
        """Begin with an empty log of the app's."""
        self._url = f"memory://{uuid.uuid4()}"
        davy.init(self._url, queue_items=10_000_000, queue_bytes=2**30)

    def send(self, source: str, sample: Sample) -> list[Batch]:
        """Return what is read of a sample that came by a source that can hold it."""
        model = f"m:{uuid.uuid4().hex}"
        match source:
            case "app, one by one":
                return self._one_by_one(model, sample)
            case "app, in batches":
                return self._in_batches(model, sample)
            case "HTTP":
                return self._over_http(model, sample)
            case "log":
                return self._from_log(model, sample)
        return [read_file(model, _WRITERS[source](self._directory, sample))]

    def _one_by_one(self, model: str, sample: Sample) -> list[Batch]:
        for place, (value, steady) in enumerate(zip(sample.values, sample.steady, strict=True)):
            davy.capture(model, *sample.sections(value, steady), at=at_of(place))
        return self._captured(model, len(sample.values))

    def _in_batches(self, model: str, sample: Sample) -> list[Batch]:
        section, _, name = sample.kind.field.partition(".")
        for start in range(0, len(sample.values), _ROWS):
            with davy.context(at=at_of(start)):
                column = sample.kind.column(sample.values[start : start + _ROWS])
                steady = np.array(sample.steady[start : start + _ROWS])
                frame, answer = {STEADY: steady}, {STEADY: steady}
                (frame if section == "inputs" else answer)[name] = column
                davy.watch(lambda frame, answer=answer: answer, model, batched=True)(frame)
        return self._captured(model, len(sample.values))

    def _captured(self, model: str, count: int) -> list[Batch]:
        assert davy.flush(timeout=30)
        return self._batches(self._url, model, count)

    def _over_http(self, model: str, sample: Sample) -> list[Batch]:
        bodies = []
        for place, (value, steady) in enumerate(zip(sample.values, sample.steady, strict=True)):
            inputs, outputs = sample.sections(_jsonable(value), steady)
            bodies.append({"model": model, "inputs": inputs, "outputs": outputs, "at": at_of(place)})
        for start in range(0, len(bodies), 200):
            body = json.dumps(bodies[start : start + 200])
            answer = self._gateway.post("/v1/inferences", content=body, headers=JSON)
            assert answer.status_code == 202, answer.text
        return self._batches(self._gateway_url, model, len(bodies))

    def _batches(self, url: str, model: str, count: int) -> list[Batch]:
        """Return what a log holds of a model beyond what was read of it before."""
        log = open_log(url)
        first = self._read.get(url, log.start(INFERENCES)[INFERENCES, 0])
        records = list(log.read(INFERENCES, 0, first))
        self._read[url] = records[-1].offset + 1
        envelopes = [decode(record.value) for record in records if record.key == model]
        assert sum(envelope.count for envelope in envelopes) == count
        return [Batch.of(envelope) for envelope in envelopes]

    def _from_log(self, model: str, sample: Sample) -> list[Batch]:
        """Capture half of the inferences one by one, the others in batches, and read the log as one slice."""
        half = len(sample.values) // 2
        self._one_by_one(model, Sample(sample.kind, sample.values[:half], sample.steady[:half]))
        rest = Sample(sample.kind, sample.values[half:], sample.steady[half:])
        self._in_batches(model, rest)
        return [read_log(open_log(self._url), model)]


@contextmanager
def opened(directory: Path) -> Iterator[Sources]:
    """Open a gateway and a client of their own."""
    url = f"memory://{uuid.uuid4()}"
    many = GatewaySettings(key_models=100_000, models=100_000)
    with open_runtime(Settings(url=url, gateway=many)) as runtime, LocalClient(make_app(runtime)) as gateway:
        yield Sources(directory, gateway, url)


def at_once(batches: Sequence[Batch]) -> Batch:
    """Return what came by a source as one batch."""
    return batches[0] if len(batches) == 1 else Batch.concat(list(batches))


def at_of(place: int) -> int:
    """Return when the inference of this number happens: one a millisecond."""
    return AT + place * 1_000_000


def alarms(detector: Monitor, batches: Sequence[Batch]) -> list[Alarm]:
    """Return what a monitor says about batches: counted one by one, summed by window of event time, then tested."""
    times = [
        batch.at if batch.at.any() else at_of(0) + np.arange(len(batch)) * 1_000_000 for batch in batches
    ]
    total = max(int(at.max() - AT) for at in times) // _WINDOW + 1
    parts = [
        aggregated(detector, detector.reference.scored(_at(batch, at)), (at - AT) // _WINDOW, total)
        for batch, at in zip(batches, times, strict=True)
    ]
    sizes = np.bincount(np.concatenate(times) // _WINDOW - AT // _WINDOW, minlength=total)
    whole = [reduce(partial(merged, detector), window) for window in zip(*parts, strict=True)]
    filled = np.flatnonzero(sizes)
    aggregates = [detector.aggregate_type.from_bytes(whole[window]) for window in filled]
    return detector.test(aggregates, sizes[filled].tolist())


def _at(batch: Batch, at: Any) -> Batch:
    """Return a batch as traffic of these times: a file has none of its own."""
    more = {"latency_ms": batch.latency_ms, "rate": batch.rate, "fields": batch.fields}
    return Batch(batch.model, ids=batch.ids, at=at, **more)


def _jsonable(value: Any) -> Any:
    """Return what a client writes into JSON: what travels, with null where something is missing."""
    value = plain(value)
    if isinstance(value, np.ndarray):
        if value.dtype.kind != "f":
            return value.tolist()
        value = value.astype(np.float64).tolist()
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    return None if is_missing(value) else value


Columns = dict[str, list[Any]]


def _flat(sample: Sample, make: Callable[[Any], Any] = lambda value: value) -> Columns:
    """Return the rows by column, as who writes a file of them would name them."""
    section, _, name = sample.kind.field.partition(".")
    rows = [flatten({name: make(value)}) for value in sample.values]
    names = dict.fromkeys(key for row in rows for key in row)
    columns = {f"{section}.{key}": [row.get(key) for row in rows] for key in names}
    return columns | _steady(sample, list)


def _steady(sample: Sample, make: Callable[[Any], Any]) -> dict[str, Any]:
    return {f"{section}.{STEADY}": make(sample.steady) for section in ("inputs", "outputs")}


def _cell(value: Any) -> str:
    value = _jsonable(value)
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, list) else str(value)


def _write_csv(directory: Path, sample: Sample) -> Path:
    columns = _flat(sample)
    path = directory / f"{uuid.uuid4().hex}.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(
            zip(*([_cell(value) for value in column] for column in columns.values()), strict=True)
        )
    return path


def _arrow(values: Sequence[Any]) -> Any:
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return pa.array([_listed(plain(value)) for value in values], from_pandas=True)


def _listed(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _write_parquet(directory: Path, sample: Sample) -> Path:
    make = sample.kind.arrow
    found = _arrow(sample.values) if make is AUTO else make(sample.values)
    found = found if isinstance(found, (pa.Array, pa.ChunkedArray)) else pa.array(found, from_pandas=True)
    columns = {sample.kind.field: found} | _steady(sample, pa.array)
    path = directory / f"{uuid.uuid4().hex}.parquet"
    parquet.write_table(pa.table(columns), path)
    return path


def _array(column: list[Any]) -> Any:
    values = [None if is_missing(value) else plain(value) for value in column]
    present = [value for value in values if value is not None]
    if all(isinstance(value, str) for value in present):
        return np.array([value or "" for value in values])
    if len(present) < len(values):
        return np.array([math.nan if value is None else value for value in values], np.float64)
    return np.array(values)


def _write_npz(directory: Path, sample: Sample) -> Path:
    make = sample.kind.numpy
    if make is AUTO:
        columns = {key: _array(column) for key, column in _flat(sample).items()}
    else:
        columns = {sample.kind.field: make(sample.values)} | _steady(sample, np.array)
    path = directory / f"{uuid.uuid4().hex}.npz"
    np.savez(path, **columns)
    return path


_WRITERS: Final[dict[str, Callable[[Path, Sample], Path]]] = {
    "CSV": _write_csv,
    "Parquet": _write_parquet,
    "NPZ": _write_npz,
}
