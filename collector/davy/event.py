"""What travels through Davy: inferences in envelopes, feedback, flags, alerts and labels.

Version rules: every event says which version of the format wrote it. A decoder of version N reads N-1
and N+1: fields are only ever appended, never reordered, retyped or removed; a decoder ignores fields it
does not know and gives defaults to those it does not find.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, KeysView, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray


def _escape(character: int) -> str:
    """Return a character as any dialect of regular expressions takes it."""
    return f"\\u{character:04x}" if character < 0x10000 else chr(character)


VERSION: Final = 1

INFERENCES: Final = "davy.inferences"
FEEDBACK: Final = "davy.feedback"
FLAGS: Final = "davy.flags"
ALERTS: Final = "davy.alerts"
LABELS: Final = "davy.labels"
TOPICS: Final = (INFERENCES, FEEDBACK, FLAGS, ALERTS, LABELS)

_UNSEEN: Final = (
    (0x0000, 0x001F), (0x007F, 0x009F), (0x00AD, 0x00AD), (0x034F, 0x034F), (0x061C, 0x061C), (0x115F, 0x1160),
    (0x17B4, 0x17B5), (0x180B, 0x180F), (0x200B, 0x200F), (0x2028, 0x202E), (0x2060, 0x206F), (0x2800, 0x2800),
    (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFFB), (0x13430, 0x1343F),
    (0x16FE4, 0x16FE4), (0x1BCA0, 0x1BCA3), (0x1D159, 0x1D159), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
"""Control characters, line breaks, and whatever else Unicode says nobody is to see: Default_Ignorable_Code_Point, what
formats without being drawn (Cf), and letters and signs that are blank."""
UNSEEN: Final = "".join(f"{_escape(first)}-{_escape(last)}" for first, last in _UNSEEN)
"""The same as part of a character class of a regular expression."""
MODEL_NAME: Final = rf"[^:\s{UNSEEN}]{{1,200}}:[^\s{UNSEEN}]{{1,200}}"
"""What a model may be called, as a regular expression: ``name:version``, without spaces and what cannot be seen: a name
stands in logs, on terminals and on pages, and two that look the same have to be one."""
MODEL_RULE: Final = "name models name:version, without spaces, control characters and what cannot be seen"

Path: TypeAlias = tuple[str, ...]
"""Where a field sits: ``("inputs", "age")``, ``("outputs", "probs")``, ``("embedding",)``,
``("tags", "country")``, ``("alternatives", "digits:2", "probs")``, ``("group",)``, ``("seq",)``."""

Array: TypeAlias = NDArray[Any]


def dead_letters(topic: str) -> str:
    """Name the topic that keeps what could not be read from `topic`."""
    return f"{topic}.dlq"


@dataclass(frozen=True, slots=True)
class BlobRef:
    """A claim check: where a large payload lies.

    `hash` is the BLAKE2b-256 of the payload in hexadecimal and also its name in the blob store, so equal
    payloads are stored once. `about` is what `davy.fields.measures` said of the value before it was stored: its
    shape and dtype and what is monitored of it, so that nobody need open the payload to watch it.
    """

    hash: str
    length: int
    media_type: str
    about: Mapping[str, Any] = field(default_factory=dict, compare=False)


class Summary(dict[str, Any]):
    """What stands for an array that was not stored: a mapping, and one value for everybody.

    `shape`, `dtype`, `hash` (BLAKE2b-256 of its bytes in C order), `mean`, `std`, `min` and `max`, and beside them what
    is monitored of it, as in `BlobRef.about`.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Inference:
    """One answer of one model, as a user reads it back.

    Fields of `inputs`, `outputs` and `alternatives` are scalars, strings, bytes, arrays, plain containers
    of these, or a `BlobRef`. `id` is 16 bytes that sort by time, `at` is nanoseconds since the epoch,
    `rate` is the sampling rate in force (an inference stands for ``1 / rate`` of its kind).
    """

    id: bytes
    at: int
    model: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    embedding: Array | None = None
    tags: Mapping[str, Any] = field(default_factory=dict)
    group: str | None = None
    seq: int | None = None
    alternatives: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    latency_ms: float | None = None
    rate: float = 1.0
    source: str = ""


class Column:
    """One field of every inference in an envelope.

    Parameters
    ----------
    values
        For numbers and tensors of one shape: a read-only array of shape ``(n, *shape)``, a view of the
        received bytes. For everything else a function that makes an object array of shape ``(n,)``;
        it is called on first use.
    missing
        Boolean array of shape ``(n,)``, true where the field was ``None``; ``None`` when nothing is missing.
    """

    __slots__ = ("_values", "missing")

    def __init__(self, values: Array | Callable[[], Array], missing: NDArray[np.bool_] | None = None) -> None:
        self._values = values
        self.missing = missing

    @property
    def values(self) -> Array:
        """The values, first axis the inferences; what stands where `missing` is true means nothing."""
        if callable(self._values):
            self._values = self._values()
        return self._values

    @property
    def present(self) -> NDArray[np.bool_]:
        """Boolean array of shape ``(n,)``, true where the field has a value."""
        if self.missing is None:
            return np.ones(len(self.values), dtype=bool)
        return ~self.missing


class Envelope(Mapping[Path, Column]):
    """Up to a few hundred inferences of one model with the same fields, by column.

    An envelope is a read-only mapping from field path to `Column`. System columns have properties of their own.

    Attributes
    ----------
    model, source
        Shared by every inference in the envelope.
    report
        The client report: what the sending process dropped since its last report, by reason.
    ids
        Array of shape ``(n,)``, dtype ``V16``.
    at
        Event times, nanoseconds since the epoch, shape ``(n,)``, int64.
    latency_ms
        Shape ``(n,)``, float64, NaN where not measured.
    rate
        Sampling rate in force, shape ``(n,)``, float64.
    """

    __slots__ = ("_columns", "at", "ids", "latency_ms", "model", "rate", "report", "source", "version")

    def __init__(  # noqa: PLR0913 - the parts of an envelope
        self,
        *,
        model: str,
        ids: Array,
        at: NDArray[np.int64],
        latency_ms: NDArray[np.float64],
        rate: NDArray[np.float64],
        columns: Mapping[Path, Column],
        source: str = "",
        report: Mapping[str, int] | None = None,
        version: int = VERSION,
    ) -> None:
        self.model = model
        self.ids = ids
        self.at = at
        self.latency_ms = latency_ms
        self.rate = rate
        self.source = source
        self.report = dict(report or {})
        self.version = version
        self._columns = columns

    @property
    def count(self) -> int:
        """How many inferences are inside."""
        return len(self.ids)

    def __getitem__(self, path: Path) -> Column:
        return self._columns[path]

    def __iter__(self) -> Iterator[Path]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def keys(self) -> KeysView[Path]:
        """The paths of all fields: as `Mapping` gives them, without a step in Python for each."""
        return self._columns.keys()

    def inference(self, row: int) -> Inference:
        """Return one row as a user reads it; for display, not for hot paths."""
        sections: dict[str, Any] = {"inputs": {}, "outputs": {}, "tags": {}, "alternatives": {}}
        single: dict[str, Any] = {}
        for path, column in self._columns.items():
            absent = column.missing is not None and bool(column.missing[row])
            value = None if absent else _plain(column.values[row])
            match path:
                case ("alternatives", name, key):
                    sections["alternatives"].setdefault(name, {})[key] = value
                case (section, key):
                    sections[section][key] = value
                case _:
                    single[path[0]] = value
        latency = float(self.latency_ms[row])
        return Inference(
            id=self.ids[row].tobytes(),
            at=int(self.at[row]),
            model=self.model,
            latency_ms=None if np.isnan(latency) else latency,
            rate=float(self.rate[row]),
            source=self.source,
            **sections,
            **single,
        )

    def inferences(self) -> Iterator[Inference]:
        """Return every row, in order."""
        return map(self.inference, range(self.count))


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


@dataclass(frozen=True, slots=True)
class Feedback:
    """What became known about an inference later: truth, a human override, an outcome.

    May arrive days later, in any order, more than once.
    """

    id: bytes
    truth: Any
    at: int
    kind: str = "truth"
    model: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Draw:
    """One way an inference came to be chosen, with the probability it had.

    Attributes
    ----------
    kind
        The arm that chose it: ``control``, ``score``, ``incident``, or that of a plug-in.
    name
        By which of its ways: a scorer, an incident; empty where the arm has one.
    probability
        Of being chosen so, in (0, 1], given that there was the inference.
    score
        How strongly the arm wanted it; greater is more.
    arm
        Kind and name in one text, as records before this had them and readers of those take them. It is made from the
        two, and only read where a record has no kind.

    Examples
    --------
    >>> Draw("score", "msp", 1.0, 4.6).arm, Draw(arm="score:msp") == Draw("score", "msp")
    ('score:msp', True)
    """

    kind: str = ""
    name: str = ""
    probability: float = 1.0
    score: float = 0.0
    arm: str = field(default="", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        if self.kind:
            object.__setattr__(self, "arm", f"{self.kind}:{self.name}" if self.name else self.kind)
        else:
            kind, *name = self.arm.split(":", 1)
            object.__setattr__(self, "kind", kind)
            object.__setattr__(self, "name", "".join(name))

    def wire(self) -> dict[str, Any]:
        """Return the fields as they travel: what was appended only where it says more than `arm`."""
        old = {"arm": self.arm, "probability": self.probability, "score": self.score}
        return {**old, "kind": self.kind, "name": self.name} if self.name else old


@dataclass(frozen=True, slots=True)
class Flag:
    """An inference that a detector, an incident, feedback or the random control arm wants looked at.

    `inference` is a complete envelope of one, so a flag never needs a second look-up. `id` is deterministic:
    the same inference flagged for the same reason has the same flag id after a replay.
    """

    id: str
    inference_id: bytes
    model: str
    at: int
    draws: Sequence[Draw]
    scores: Mapping[str, float]
    inference: bytes
    incident: str | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """One guilty feature of an alarm: where its distribution moved and by how much."""

    feature: str
    change: str
    reference: float
    current: float
    log_evidence: float


@dataclass(frozen=True, slots=True)
class Alert:
    """An incident opened, went on or ended.

    `onset_at` and `onset_event` say since when: event time in nanoseconds and the running number, per model,
    of the first inference after the change. `raised_event` is the number of the inference that raised the alarm.
    """

    id: str
    model: str
    cause: str
    state: str
    at: int
    onset_at: int
    onset_event: int
    raised_event: int
    features: Sequence[Evidence]
    statistic: float
    threshold: float
    samples: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class Label:
    """A person's answer to a candidate. An edit is a new revision; a skip has ``answer None``.

    `verdict` is what the person said of the model's answer: ``correct``, ``wrong``, ``unclear``, or empty where they
    only gave an answer. `annotation` names the annotation in the labelling tool; empty where there is none. `note` is
    what the person said in words.
    """

    candidate: str
    inference_id: bytes
    model: str
    answer: Any
    revision: int
    at: int
    annotator: str = ""
    seconds: float | None = None
    state: str = "labelled"
    verdict: str = ""
    annotation: str = ""
    note: str = ""
