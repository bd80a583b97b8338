"""Ten days of a model whose fields come, change their kind and their width, in an archive beside another model's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from davy.codec import Encoder, dump, pack
from davy.event import ALERTS, FEEDBACK, FLAGS, LABELS, Alert, Draw, Evidence, Feedback, Flag, Label
from davy.runtime import Runtime
from support.archived import DAY, drain, loop_of, runtime_of, send
from support.streams import Clock, id_of

FIRST = 20_000
DAYS = 10
ROWS = 12
CAUGHT_UP = 5
"""The days from this one on are archived at once."""


@dataclass(frozen=True)
class Day:
    """What is sent on one day: `rows` as inputs, answers and tags, by `model`."""

    number: int
    rows: list[tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=list)

    @property
    def model(self) -> str:
        return "fraud:4" if self.number >= 8 else "fraud:3"

    @property
    def name(self) -> str:
        return str(np.datetime64(FIRST + self.number, "D"))

    @property
    def at(self) -> int:
        return (FIRST + self.number) * DAY

    def ids(self) -> list[bytes]:
        return [id_of(self.number * 100 + row) for row in range(len(self.rows))]


def days() -> list[Day]:
    """Return what is sent: each day changes something."""
    return [Day(number, [row(number, place) for place in range(ROWS)]) for number in range(DAYS)]


def row(day: int, place: int) -> tuple[dict[str, Any], dict[str, Any]]:
    value = float(day * 10 + place)
    inputs: dict[str, Any] = {
        "amount": int(value) if day == 0 else value + 0.5,
        "vec": np.full(3, value, np.float32),
        "flag": place % 2 == 0,
        "customer": place,
        "opened": f"2026-11-{day + 1:02d}T08:{place:02d}:00+00:00",
        "device": {"os": "ios" if place % 2 else "android", "tabs": [1, "a"]},
        "words": ["a", "b"] if day in {2, 5} and place else [],
    }
    outputs: dict[str, Any] = {"label": "fraud" if place % 3 == 0 else "fine"}
    if day >= 2:
        inputs["channel"] = "web" if day < 4 else float(place)
    if day == 3:
        inputs |= {"amount": "1.20 EUR", "vec": np.full(3, value), "flag": "yes"}
    if day >= 5:
        inputs |= {"vec": [value] * 3, "customer": 2**60 + place}
    if day == 6:
        inputs |= {"amount": "n/a" if place % 2 else value, "Amount": 7.0}
    if day == 7:
        inputs["vec"] = [value] * (1 + place % 3)
        outputs["label"] = place % 3
    if day >= 8:
        inputs["age"] = place if place % 3 else None
    return inputs, outputs


def amounts() -> dict[tuple[str, str], tuple[int, float | None]]:
    """Return, by model and day, how many inferences there were, and the mean of the amounts that were numbers."""
    found: dict[tuple[str, str], tuple[int, float | None]] = {}
    for day in days():
        numbers = [inputs["amount"] for inputs, _ in day.rows if not isinstance(inputs["amount"], str)]
        found[day.model, day.name] = (len(day.rows), float(np.mean(numbers)) if numbers else None)
    return found


def accuracy() -> dict[str, float]:
    """Return the share of answers that the last feedback agrees with, by day."""
    return {
        day.name: float(
            np.mean([str(outputs["label"]) == truth(place) for place, (_, outputs) in enumerate(day.rows)])
        )
        for day in days()
        if day.number != 7
    }


def truth(place: int) -> str:
    return "fraud" if place % 4 == 0 else "fine"


def send_day(runtime: Runtime, day: Day) -> None:
    """Send a day's inferences, what became known of them, flags, answers and an incident, and another model's."""
    encoder = Encoder()
    for place, (inputs, outputs) in enumerate(day.rows):
        at = day.at + place * 10**9
        chunk = encoder.encode(day.model, day.ids()[place], at, inputs, outputs, tags={"shop": "web"})
        send(runtime, [pack([chunk])])
        other = encoder.encode(
            "digits:1", id_of(5000 + day.number * 100 + place), at, {"amount": "one"}, {"label": 1}
        )
        send(runtime, [pack([other])])
        wrong = Feedback(day.ids()[place], "unknown", at, model=day.model)
        right = Feedback(day.ids()[place], truth(place), at + 10**9, model=day.model)
        send(runtime, [dump(wrong), dump(right), dump(right)], topic=FEEDBACK)  # corrected, and sent twice
        scores = {"msp": 0.5} if day.number < 5 else {"msp": 0.5, "knn": 1.0}
        flag = Flag(
            f"f{day.number}-{place}",
            day.ids()[place],
            day.model,
            at,
            [Draw("msp", probability=1.0)],
            scores,
            b"",
        )
        send(runtime, [dump(flag)], topic=FLAGS)
    answered = [
        Label(
            f"c{day.number}", day.ids()[0], day.model, answer, number, day.at + number, "ann", verdict=verdict
        )
        for number, (answer, verdict) in enumerate([("fine", "wrong"), ("fraud", "correct")])
    ]
    send(runtime, [dump(label) for label in answered], topic=LABELS)
    told = [
        Alert(
            f"i{day.number}", day.model, "drift", state, day.at + later, day.at, 7, 9,
            [Evidence("inputs.amount", "larger", 1.0, 2.0, 30.0)], 40.0, 20.0, day.ids()[:2],
        )
        for later, state in enumerate(("open", "resolved"))
    ]  # fmt: skip
    send(runtime, [dump(alert) for alert in told], topic=ALERTS)


def archived(directory: Path, batches: Sequence[Sequence[Day]]) -> Path:
    """Archive days, each of the batches at once; return the archive's directory."""
    clock = Clock()
    runtime, root = runtime_of("memory", directory, clock=clock, seconds=60.0), directory / "archive"
    loop = loop_of(runtime, root)
    for batch in batches:
        for day in batch:
            send_day(runtime, day)
        loop.drain()
        clock.now += 61 * 10**9
        loop.step()  # seals
        drain(loop)
        drain(loop)
    loop.close()
    return root


def ten_days(directory: Path) -> Path:
    """Archive the first days one by one and the others at once; return the archive's directory."""
    every = days()
    return archived(directory, [*([day] for day in every[:CAUGHT_UP]), every[CAUGHT_UP:]])


def by_day(root: Path, table: str = "inferences") -> Iterator[tuple[str, list[Path]]]:
    """Yield the files of each folder of a day."""
    folders = sorted({path.parent for path in (root / table).rglob("*.parquet")})
    for folder in folders:
        yield folder.relative_to(root / table).as_posix(), sorted(folder.iterdir())
