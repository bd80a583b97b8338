"""The section of docs/performance.md about scale: one small table for each question."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

_NOTE: Final = """\
One Kafka broker (JVM), Redis with its append-only file, the detectors and the serving app share these {cores} cores, so
the figures of one are held down by the others. An inference has {features} features and the model's answer: one number
(one stream more to watch) or two probabilities (three streams more, and three scorers). 200 inferences a call, an
envelope each. Every part verifies that the store has counted exactly what was sent. Medians, lowest and highest.
"""
_BACKLOG: Final = """\
A process of `davy run detect` that is behind: it decodes, bins, scores, flags, writes counts and position in one
transaction, publishes the flags, commits and tests. Produced is what one serving app sends by the SDK while the
detectors are held still. By the client library, and by the model's answer.
"""
_PEERS: Final = """\
{inferences:,} inferences, the same {features} features counted into the same bins by one process each, in the same run.
Davy reads envelopes and does all of the above; the others read a JSON message an inference and count in memory, row by
row or in blocks of 1,000 by numpy: Quix Streams {quix} by a function a row, without state; kafka-python polled. Quix
Streams reads by confluent-kafka.
"""
_PARTITIONS: Final = """\
One model spread over keys, a partition a process, two probabilities. All processes, the broker and Redis share
{cores} cores: beyond what these can do more processes only show that they share the work and lose nothing.
"""
_LATENCY: Final = """\
From the capture in the serving app to the flag in Kafka, by the clock of the machine, at shares of the end-to-end
maximum. The app answers by the clock, a call every 5 ms, whatever the detectors do, on the same cores.
"""
_MEMORY: Final = """\
One process, 1,000 inferences of each model, two probabilities. State is what Redis holds, in its own memory; references
apart.
"""


def body(found: Mapping[str, Any]) -> str:
    """Return the section without its head."""
    note = _NOTE.format(cores=found["cores"], features=found["features"])
    parts = [_targets, _backlog, _peers, _partitions, _latency, _memory]
    return "\n".join([note, *(part(found) for part in parts)])


def _targets(found: Mapping[str, Any]) -> str:
    reached, targets = found["reached"], found["targets"]
    rows = [(name.replace("_", " "), [number(reached[name]), number(targets[name])]) for name in targets]
    return grid(["reached", "target"], rows)


def _backlog(found: Mapping[str, Any]) -> str:
    runs = {
        f"{library}, {answer}": figures
        for library, each in found["backlog"].items()
        for answer, figures in each.items()
    }
    rows = [
        ("produced a second", [_spread(run["produced"]) for run in runs.values()]),
        ("consumed and binned a second", [_spread(run["consumed"]) for run in runs.values()]),
        ("processor us an inference", [number(run["processor_us_per_inference"]) for run in runs.values()]),
        ("flags per 1,000", [number(1000 * run["flags"] / run["counted"]) for run in runs.values()]),
        *(
            (
                f"Redis, {name.replace('_', ' ')} per 1,000",
                [number(run["redis_per_1000"][name]) for run in runs.values()],
            )
            for name in next(iter(runs.values()))["redis_per_1000"]
        ),
    ]
    others = [
        ("SDK, one inference a call, produced a second", [_spread(found["sdk_call_by_call"])]),
        ("SDK and detectors at once, end to end a second", [_spread(found["end_to_end"])]),
    ]
    return f"### A backlog\n\n{_BACKLOG}\n{grid(runs, rows)}\n{grid(['kafka-python'], others)}"


def _peers(found: Mapping[str, Any]) -> str:
    compared = found["peers"]
    note = _PEERS.format(
        inferences=compared["inferences"],
        features=found["features"],
        quix=compared["versions"]["quixstreams"],
    )
    ours = [name for name in compared["per_second"] if name not in compared["times"]]
    rows = [
        (name, [_spread(rates), *(number(compared["times"].get(name, {}).get(each, "")) for each in ours)])
        for name, rates in compared["per_second"].items()
    ]
    titles = ["inferences a second", *(f"{name}, over it" for name in ours)]
    return f"### Beside its peers\n\n{note}\n{grid(titles, rows)}"


def _partitions(found: Mapping[str, Any]) -> str:
    runs = found["partitions"]["processes"]
    rows = [
        ("consumed and binned a second", [_spread(run["consumed"]) for run in runs.values()]),
        ("times one process", [number(run["times_one_process"]) for run in runs.values()]),
        ("processor us an inference", [number(run["processor_us_per_inference"]) for run in runs.values()]),
    ]
    note = _PARTITIONS.format(cores=found["partitions"]["cores"])
    return f"### Partitions and processes\n\n{note}\n{grid(runs, rows)}"


def _latency(found: Mapping[str, Any]) -> str:
    return f"### From capture to flag\n\n{_LATENCY}\n{_by_column(found['latency'])}"


def _memory(found: Mapping[str, Any]) -> str:
    tables = [
        f"{name.replace('_', ' ').capitalize()}:\n\n{_by_column(sizes)}"
        for name, sizes in found["memory"].items()
    ]
    return "\n".join([f"### Models and features\n\n{_MEMORY}", *tables])


def _by_column(columns: Mapping[str, Mapping[str, Any]]) -> str:
    flat = {title: dict(_flat(column)) for title, column in columns.items()}
    names = next(iter(flat.values()))
    return grid(flat, [(name, [number(column[name]) for column in flat.values()]) for name in names])


def _flat(column: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in column.items():
        words = f"{before}{name.replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{words}, ")
        else:
            yield words, value


def _spread(found: Mapping[str, float]) -> str:
    return f"{found['median']:,} ({found['lowest']:,} … {found['highest']:,})"


def number(value: Any) -> str:
    """Return a number as a person reads it.

    Examples
    --------
    >>> number(312345), number(0.4567), number(12.0)
    ('312,345', '0.457', '12')
    """
    return (
        f"{value:,.3g}"
        if isinstance(value, float) and abs(value) < 1000
        else f"{value:,.0f}"
        if value != ""
        else ""
    )


def grid(titles: Iterable[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    titles = list(titles)
    lines = ["| |" + "".join(f" {title} |" for title in titles), "|---|" + "---|" * len(titles)]
    lines += [f"| {name} |" + "".join(f" {cell} |" for cell in cells) for name, cells in rows]
    return "\n".join(lines) + "\n"
