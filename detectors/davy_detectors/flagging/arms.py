"""The installed arms over inferences, and the flags that come of what they draw."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from davy.codec import dump
from davy.event import FLAGS, Draw, Flag
from davy.log import Message
from davy.plugins import own_settings
from davy_detectors.base import Floats
from davy_detectors.flagging.contract import Arm, ArmFactory, Chance, Drawn, Traffic, checked
from davy_detectors.history.record_slice import RecordSlice

if TYPE_CHECKING:
    from davy.config import DetectSettings
    from davy.plugins import Subject
    from davy_detectors.plugins import Plugins

CONTROL: Final = "control"


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the arm `kind` drew in one of its ways."""

    kind: str
    drawn: Drawn

    @property
    def reason(self) -> str:
        """The arm and its way, without the id of an incident: what metrics show."""
        return self.kind if self.drawn.incident or not self.drawn.name else f"{self.kind}:{self.drawn.name}"


class Arms:
    """The installed arms, the control arm first; each fails alone.

    Parameters
    ----------
    plugins
        What is installed, and how it is called.
    settings
        The section ``detect``.
    """

    def __init__(self, plugins: Plugins, settings: DetectSettings) -> None:
        self._plugins = plugins
        self._settings = settings
        self._names = sorted(plugins.names("arm"), key=lambda name: (name != CONTROL, name))
        self._made: dict[str, Arm] = {}

    def draw(self, traffic: Traffic, subject: Subject) -> list[Chosen]:
        """Return what all arms choose; `subject` is the model, with its reference, that one is suspended for."""
        found = []
        for name in self._names:
            arm = self._arm(name, subject)
            if arm is None:
                continue
            draw = partial(_drawn, arm, traffic, Chance(name, traffic.model, traffic.ids))
            drawn = self._plugins.attempt("arm", subject, name, draw)
            found += [Chosen(name, one) for one in drawn or ()]
        return found

    def _arm(self, name: str, subject: Subject) -> Arm | None:
        if name not in self._made:
            made = self._plugins.attempt("arm", subject, name, partial(self._make, name), tries=1)
            if made is None:
                return None
            self._made[name] = made
        return self._made[name]

    def _make(self, name: str) -> Arm:
        make: ArmFactory = self._plugins.load("arm", name)
        return make(self._settings, own_settings(self._settings.arms, name))


def _drawn(arm: Arm, traffic: Traffic, chance: Chance) -> Sequence[Drawn]:
    return checked(arm.draw(traffic, chance), traffic.count)


def flags_of(
    records: RecordSlice, model: str, ranks: Mapping[str, Floats], choices: Sequence[Chosen]
) -> tuple[list[Message], Counter[str]]:
    """Make one flag for every inference that any arm chose; count the choices by reason."""
    chosen = np.zeros(records.count, dtype=bool)
    reasons: Counter[str] = Counter()
    for one in choices:
        chosen |= one.drawn.chosen
        reasons[one.reason] += int(np.count_nonzero(one.drawn.chosen))
    rows = np.flatnonzero(chosen)
    names, at = records.ids[rows].tobytes(), records.at[rows].tolist()
    draws, scores = _draws(choices, rows), _scores(ranks, rows)
    made = []
    for place, inference in enumerate(records.inferences(rows)):
        name = names[16 * place : 16 * place + 16]
        incident = _incident(choices, rows[place])
        flag = make_flag(model, name, at[place], draws[place], scores[place], inference, incident)
        made.append(Message(FLAGS, model, dump(flag)))
    return made, +reasons


def _draws(choices: Sequence[Chosen], rows: NDArray[np.intp]) -> list[list[Draw]]:
    found: list[list[Draw]] = [[] for _ in rows]
    for one in choices:
        drawn = one.drawn
        for place in np.flatnonzero(drawn.chosen[rows]).tolist():
            row = rows[place]
            draw = Draw(one.kind, drawn.name, float(drawn.probability[row]), float(drawn.score[row]))
            found[place].append(draw)
    return found


def _scores(ranks: Mapping[str, Floats], rows: NDArray[np.intp]) -> list[dict[str, float]]:
    columns = {name: rank[rows].tolist() for name, rank in ranks.items()}
    return [
        {name: column[place] for name, column in columns.items() if isfinite(column[place])}
        for place in range(len(rows))
    ]


def _incident(choices: Sequence[Chosen], row: int) -> str | None:
    drawn = (one.drawn for one in choices)
    return next((one.incident for one in drawn if one.incident and one.chosen[row]), None)


def make_flag(
    model: str,
    inference_id: bytes,
    at: int,
    draws: Sequence[Draw],
    scores: Mapping[str, float],
    inference: bytes,
    incident: str | None,
) -> Flag:
    """Make a flag; its id follows from model, inference and arms, so a replay makes the same one."""
    arms = "\0".join(sorted(draw.arm for draw in draws))
    key = b"\0".join([model.encode(), inference_id, b"flag", arms.encode()])
    name = hashlib.blake2b(key, digest_size=16).hexdigest()
    return Flag(name, inference_id, model, at, list(draws), dict(scores), inference, incident)


def scores_of(ranks: Mapping[str, Floats], row: int) -> dict[str, float]:
    """Return the ranks of one row by scorer, without those that could not be computed."""
    return {name: float(rank[row]) for name, rank in ranks.items() if np.isfinite(rank[row])}
