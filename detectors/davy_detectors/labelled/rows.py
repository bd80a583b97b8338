"""The two halves of a pair as they travel: what is kept of an inference, and what became known about one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from davy.codec import dump_any, load_any
from davy.event import Array, Feedback, Label
from davy.outputs import CORRECT, LABELS, WRONG
from davy.outputs.labels import VALUES
from davy_detectors.labelled.columns import Columns, halves
from davy_detectors.labelled.values import Values, Vocabulary, digest_of

if TYPE_CHECKING:
    from davy_detectors.base import Floats
    from davy_detectors.batch import Batch
    from davy_detectors.flagging.arms import Arm
    from davy_detectors.history.record_slice import RecordSlice

LABEL: Final = "label"
"""The kind of what a person answered in the labelling tool; feedback says its own."""
SCORE: Final = "score:"
"""Before the name of a scorer, in the name of a column."""
SEGMENT: Final = "segment:"
"""Before the name of a segment, in the name of a column; nothing fills it yet."""
INFERENCE_COLUMNS: Final = {
    "inference_at": "i8", "inference_time": "i8", "answer_number": "f8", "answer_text": "u8", "arm": "u8",
    "probability": "f8", "rate": "f8",
}  # fmt: skip
"""What is kept of every inference beside its id and its scores: event time, when it counts, answer, draw."""
_VERDICTS: Final = {CORRECT: 1.0, WRONG: 0.0}

Told: TypeAlias = Feedback | Label


def inference_rows(records: RecordSlice, ranks: Mapping[str, Floats], arms: Sequence[Arm]) -> bytes:
    """Return what is kept of inferences until their labels come, as `read_rows` reads it.

    `arm` is the first that chose the inference, which is the random one where that did, and `probability` what it had.
    """
    vocabulary, count = Vocabulary(), records.count
    high, low = halves(records.ids)
    answers = answers_of(records.batch, vocabulary)
    arm, probability = np.zeros(count, np.uint64), np.full(count, np.nan)
    for one in reversed(arms):
        arm[one.chosen] = digest_of(one.reason)
        probability[one.chosen] = one.probability[one.chosen]
    vocabulary.learn({one.reason for one in arms if one.chosen.any()})
    rows: Columns = {
        "high": high,
        "low": low,
        "inference_at": records.at,
        "inference_time": records.window_times,
        "answer_number": answers.numbers,
        "answer_text": answers.texts,
        "arm": arm,
        "probability": probability,
        "rate": records.rate,
        **{SCORE + name: rank.astype(np.float32) for name, rank in ranks.items()},
    }
    return pack_rows(rows, vocabulary)


def answers_of(batch: Batch, vocabulary: Vocabulary) -> Values:
    """Return what the model answered: a class or a number; nothing where the answer is not one value."""
    outputs = {path[1]: column for path, column in batch.fields.items() if path[0] == "outputs"}
    name = next((name for name in LABELS if name in outputs and outputs[name].values.ndim == 1), "")
    if not name and batch.label is not None and batch.probs is not None:
        found = Values.of(batch.label, vocabulary)
        return _without(found, np.all(np.isnan(batch.probs), axis=1, keepdims=True)[:, 0])
    name = name or next((name for name in VALUES if name in outputs and outputs[name].values.ndim == 1), "")
    if not name:
        return Values.nothing(len(batch))
    return _without(Values.of(outputs[name].values, vocabulary), ~outputs[name].present)


def label_rows(told: Sequence[tuple[Told, int]], horizon: int, *, offered: bool = False) -> bytes:
    """Return what became known of inferences of one model, as `read_rows` reads it.

    Parameters
    ----------
    told
        Feedback and labels with the append time of each.
    horizon
        When one counts is its own time, but neither after its append nor more than so many nanoseconds before it.
    offered
        Whether nobody knows that the inferences are of this model: they may be another's.
    """
    vocabulary = Vocabulary()
    high, low = halves(np.frombuffer(b"".join(_id(one) for one, _ in told), "V16"))
    appended = np.array([at for _, at in told], np.int64)
    kinds = [one.kind if isinstance(one, Feedback) else LABEL for one, _ in told]
    vocabulary.learn(set(kinds))
    truth = Values.of(
        _objects([one.truth if isinstance(one, Feedback) else one.answer for one, _ in told]), vocabulary
    )
    verdicts = [_VERDICTS.get(one.verdict, np.nan) if isinstance(one, Label) else np.nan for one, _ in told]
    rows: Columns = {
        "high": high,
        "low": low,
        "kind": np.array([digest_of(kind) for kind in kinds], np.uint64),
        "label_time": np.clip(
            np.array([_within(one.at) for one, _ in told], np.int64), appended - horizon, appended
        ),
        "truth_number": truth.numbers,
        "truth_text": truth.texts,
        "verdict": np.array(verdicts),
        "offered": np.full(len(told), offered),
    }
    return pack_rows(rows, vocabulary)


def pack_rows(rows: Columns, vocabulary: Vocabulary) -> bytes:
    """Return rows, and the texts behind their digests, as bytes."""
    return dump_any([dict(sorted(rows.items())), vocabulary.texts()])


def read_rows(data: bytes) -> tuple[Columns, list[str]]:
    """Read what `pack_rows` gave."""
    rows, texts = load_any(data)
    return rows, texts


def _id(one: Told) -> bytes:
    return one.id if isinstance(one, Feedback) else one.inference_id


def _within(at: int) -> int:
    return min(max(at, 0), 2**63 - 1)


def _objects(values: Sequence[Any]) -> Array:
    found: Array = np.empty(len(values), object)
    for place, value in enumerate(values):  # assigned at once, lists among them would become a matrix
        found[place] = value
    return found


def _without(values: Values, absent: NDArray[np.bool_]) -> Values:
    if not absent.any():
        return values
    return Values(np.where(absent, np.nan, values.numbers), np.where(absent, np.uint64(0), values.texts))
