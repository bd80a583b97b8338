"""The contract of an arm: a reason to show inferences to a person, with the probability of every choice.

Third parties add their own by the entry point group ``davy.arms``; an arm that fails is left out alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from davy.errors import PluginFailed
from davy.event import Array
from davy_detectors.base import Floats

if TYPE_CHECKING:
    from davy.config import DetectSettings
    from davy_detectors.batch import Batch
    from davy_detectors.history.record_slice import RecordSlice
    from davy_detectors.reference.scored import ScoredBatch

_MIX: Final = tuple(np.array([value], np.uint64) for value in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_A = TypeVar("_A", bound=np.generic)


@dataclass(frozen=True, slots=True)
class OpenIncident:
    """An open incident, and how strongly each inference at hand speaks for it.

    Attributes
    ----------
    id, cause
        Which, and of what.
    scores
        Shape ``(n,)``, the sample scores of its monitor.
    level
        Score from which an inference is worth a look.
    probability
        With which such an inference is to be chosen, so that they do not become too many.
    """

    id: str
    cause: str
    scores: Floats
    level: float
    probability: float


class Traffic:
    """Inferences of one model in the order of the log, as an arm sees them; nothing of it can be changed.

    Attributes
    ----------
    model
        Whose, ``name:version``.
    count
        How many, ``n``.
    ids, at, rate
        Shape ``(n,)``: ids of 16 bytes, event time in nanoseconds, and the share the SDK sampled them with.
    scored
        What the model's reference says of them; None without a reference.
    """

    def __init__(
        self,
        model: str,
        records: RecordSlice,
        scored: ScoredBatch | None = None,
        incidents: Callable[[], Sequence[OpenIncident]] = tuple,
    ) -> None:
        self.model = model
        self.count = records.count
        self.ids: Array = _fixed(records.ids)
        self.at = _fixed(records.at)
        self.rate = _fixed(records.rate)
        self.scored = scored
        self._records = records
        self._look = incidents

    @property
    def batch(self) -> Batch:
        """The inferences as columns: as the reference's schema reads them, else as they came."""
        return self._records.batch if self.scored is None else self.scored.batch

    @cached_property
    def ranks(self) -> Mapping[str, Floats]:
        """The upper-tail rank in the reference by scorer, shape ``(n,)``; empty without a reference."""
        found = {} if self.scored is None else self.scored.ranks
        return {name: _fixed(ranks) for name, ranks in found.items()}

    @cached_property
    def incidents(self) -> Sequence[OpenIncident]:
        """The open incidents of the model."""
        return tuple(self._look())


class Chance:
    """An arm's own source of chance: two arms draw independently of each other, and a replay draws the same.

    Parameters
    ----------
    arm, model
        Whose.
    ids
        The inferences at hand, shape ``(n,)``, dtype V16.
    """

    def __init__(self, arm: str, model: str, ids: Array) -> None:
        self._arm, self._model, self._ids = arm, model, ids

    def uniform(self, salt: str = "") -> Floats:
        """Return for every inference a number of its own in [0, 1), shape ``(n,)``, whatever is at hand beside it.

        Another `salt` gives other numbers, independent of these.
        """
        return uniform(self._ids, self._model, f"{self._arm}\0{salt}" if salt else self._arm)

    def generator(self) -> np.random.Generator:
        """Return a generator seeded by the arm, the model and all the inferences at hand."""
        data = b"\0".join([self._arm.encode(), self._model.encode(), self._ids.tobytes()])
        return np.random.default_rng(int.from_bytes(hashlib.blake2b(data, digest_size=16).digest(), "little"))


@dataclass(frozen=True, slots=True)
class Drawn:
    """What an arm chose in one of its ways; arrays of shape ``(n,)``, of which rows that were not chosen are not read.

    Attributes
    ----------
    chosen
        Which inferences.
    probability
        With which each was chosen, in (0, 1]: 1 where a rule chose it. Where chance chose from all traffic it counts
        the sampling before us (`Traffic.rate`).
    score
        How strongly the arm wants each; greater is more.
    name
        The way: a scorer, an incident; empty where the arm has one. There should be few, for metrics show them.
    incident
        The incident that they are samples of.
    """

    chosen: NDArray[np.bool_]
    probability: Floats
    score: Floats
    name: str = ""
    incident: str | None = None


class Arm(Protocol):
    """Chooses inferences that a person should look at; vectorised, it loops over no rows.

    It is made once a process, by `ArmFactory`, and is known by the name of its entry point.
    """

    def draw(self, traffic: Traffic, chance: Chance) -> Sequence[Drawn]:
        """Return what it chooses among these inferences, one `Drawn` for each of its ways, with names of their own.

        It may be called for any model and any number of inferences, and keeps no state that they depend on.
        """


class ArmFactory(Protocol):
    """Makes an arm: a class, or anything called like one."""

    def __call__(self, settings: DetectSettings, own: Mapping[str, Any]) -> Arm:
        """Make it; `own` are its own settings, the table ``[detect.arms.NAME]``, as they are written there."""


def checked(drawn: Sequence[Drawn], count: int) -> Sequence[Drawn]:
    """Return what an arm drew of `count` inferences; raises PluginFailed where it is not what the contract says."""
    names: set[str] = set()
    given: Sequence[object] = drawn
    for one in given:
        if not isinstance(one, Drawn):
            raise PluginFailed("draw", type(one).__name__, "return Drawn objects")
        arrays = {
            "chosen": (one.chosen, "b"),
            "probability": (one.probability, "f"),
            "score": (one.score, "f"),
        }
        for field, (values, kind) in arrays.items():
            found = getattr(values, "shape", None), getattr(getattr(values, "dtype", None), "kind", "")
            if found != ((count,), kind):
                wanted = "truth values" if kind == "b" else "floats"
                raise PluginFailed(f"Drawn.{field}", found, f"give an array of {count} {wanted}")
        probability = one.probability[one.chosen]
        if not ((probability > 0) & (probability <= 1)).all():
            raise PluginFailed(
                "Drawn.probability", probability.tolist()[:5], "give numbers above 0 and up to 1"
            )
        if not np.isfinite(one.score[one.chosen]).all():
            raise PluginFailed("Drawn.score", "not finite", "give finite numbers where something is chosen")
        name: object = one.name
        if not isinstance(name, str) or name in names:
            raise PluginFailed("Drawn.name", one.name, "give each a text of its own")
        names.add(one.name)
    return drawn


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


def _fixed(values: NDArray[_A]) -> NDArray[_A]:
    """Return a view that cannot be written through: arms share what they are shown."""
    view = values.view()
    view.flags.writeable = False
    return view
