"""Which inferences are flagged for the miner, by which arms, with which probability."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final

import numpy as np
from numpy.typing import NDArray

from davy.codec import dump
from davy.event import FLAGS, Array, Draw, Flag
from davy.log import Message
from davy_detectors.batch import Floats
from davy_detectors.history.record_slice import RecordSlice

CONTROL: Final = "control"
_MIX: Final = tuple(np.array([value], np.uint64) for value in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


@dataclass(frozen=True, slots=True)
class Arm:
    """One reason to flag rows of a slice, all arrays of shape ``(n,)``; `incident` names one."""

    name: str
    chosen: NDArray[np.bool_]
    probability: Floats
    score: Floats
    incident: str | None = None

    @property
    def reason(self) -> str:
        """The arm without the id of an incident: what metrics show."""
        return "incident" if self.incident else self.name


def uniform(ids: Array, model: str, salt: str) -> Floats:
    """Return for every id (shape ``(n,)``, dtype V16) a number of its own in [0, 1), the same every time.

    The finaliser of SplitMix64 (Steele, Lea, Flood 2014) over both halves of the id, keyed by model and salt, so the
    numbers of two salts, and those by which the SDK samples, are independent.

    Examples
    --------
    >>> uniform(np.frombuffer(bytes(range(32)), "V16"), "digits:1", "control").round(3)
    array([0.357, 0.156])
    """
    digest = hashlib.blake2b(f"{salt}\0{model}".encode(), digest_size=16).digest()
    keys = np.frombuffer(digest, "<u8")
    halves = np.ascontiguousarray(ids).view("<u8").reshape(-1, 2)
    state: NDArray[np.uint64] = np.full(len(halves), keys[0], np.uint64)
    for column in (0, 1):
        state = _mixed((state ^ halves[:, column]) + keys[1:2])
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * _MIX[0]
    state = (state ^ (state >> np.uint64(27))) * _MIX[1]
    return state ^ (state >> np.uint64(31))


def control_arm(records: RecordSlice, model: str, share: float) -> Arm:
    """Choose `share` of all inferences by chance alone; the probability counts the sampling before us."""
    chosen = uniform(records.ids, model, CONTROL) < share
    return Arm(CONTROL, chosen, share * records.rate, np.zeros(records.count))


def score_arms(ranks: Mapping[str, Floats], share: float) -> list[Arm]:
    """Choose, for every scorer, the inferences whose upper-tail rank in the reference is at most `share`."""
    arms = []
    for name, rank in ranks.items():
        chosen = rank <= share
        score = -np.log(np.where(chosen, rank, 1.0))
        arms.append(Arm(f"score:{name}", chosen, np.ones(len(rank)), score))
    return arms


def flags_of(
    records: RecordSlice, model: str, ranks: Mapping[str, Floats], arms: Sequence[Arm]
) -> tuple[list[Message], Counter[str]]:
    """Make one flag for every inference that any arm chose; count the choices by reason."""
    chosen = np.zeros(records.count, dtype=bool)
    reasons: Counter[str] = Counter()
    for arm in arms:
        chosen |= arm.chosen
        reasons[arm.reason] += int(np.count_nonzero(arm.chosen))
    rows = np.flatnonzero(chosen)
    names, at = records.ids[rows].tobytes(), records.at[rows].tolist()
    draws, scores = _draws(arms, rows), _scores(ranks, rows)
    made = []
    for place, inference in enumerate(records.inferences(rows)):
        name = names[16 * place : 16 * place + 16]
        flag = make_flag(
            model, name, at[place], draws[place], scores[place], inference, _incident(arms, rows[place])
        )
        made.append(Message(FLAGS, model, dump(flag)))
    return made, +reasons


def _draws(arms: Sequence[Arm], rows: NDArray[np.intp]) -> list[list[Draw]]:
    found: list[list[Draw]] = [[] for _ in rows]
    for arm in arms:
        for place in np.flatnonzero(arm.chosen[rows]).tolist():
            row = rows[place]
            found[place].append(Draw(arm.name, float(arm.probability[row]), float(arm.score[row])))
    return found


def _scores(ranks: Mapping[str, Floats], rows: NDArray[np.intp]) -> list[dict[str, float]]:
    columns = {name: rank[rows].tolist() for name, rank in ranks.items()}
    return [
        {name: column[place] for name, column in columns.items() if isfinite(column[place])}
        for place in range(len(rows))
    ]


def _incident(arms: Sequence[Arm], row: int) -> str | None:
    return next((arm.incident for arm in arms if arm.incident and arm.chosen[row]), None)


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
