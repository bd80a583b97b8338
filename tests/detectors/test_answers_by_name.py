"""Usual answers are understood by their last names: probabilities, logits, a confidence beside the answer, objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from davy.codec import Encoder, decode, pack
from davy.config import Settings
from davy.outputs import read
from davy_detectors.batch import Batch
from davy_detectors.reference import Reference

pytestmark = pytest.mark.fast

Rng = np.random.Generator
OF_CLASSES = {"msp", "entropy", "margin"}


def name(rng: Rng) -> str:
    return ["cat", "dog", "cow"][rng.integers(3)]


def probs(rng: Rng) -> list[float]:
    return rng.dirichlet(np.ones(3)).tolist()


def box(rng: Rng) -> dict[str, Any]:
    return {"class": name(rng), "confidence": float(rng.random()), "bbox": [1, 2, 3, 4]}


ANSWERS: dict[str, tuple[Callable[[Rng], dict[str, Any]], set[str]]] = {
    "probabilities": (lambda rng: {"label": name(rng), "probabilities": probs(rng)}, OF_CLASSES),
    "class_probabilities": (lambda rng: {"class_probabilities": probs(rng)}, OF_CLASSES),
    "softmax": (lambda rng: {"softmax": probs(rng)}, OF_CLASSES),
    "own logits": (lambda rng: {"cls_logits": rng.normal(size=3).tolist()}, OF_CLASSES),
    "own probabilities": (lambda rng: {"risk_probs": probs(rng)}, OF_CLASSES),
    "in an envelope": (lambda rng: {"result": {"label": name(rng), "probs": probs(rng)}}, OF_CLASSES),
    "probability": (lambda rng: {"prediction": name(rng), "probability": float(rng.random())}, {"confidence"}),
    "of fraud": (lambda rng: _fraud(float(rng.random())), {"confidence"}),
    "a class in an envelope": (
        lambda rng: {"status": "ok", "data": {"label": name(rng), "score": float(rng.random())}},
        {"confidence"},
    ),
    "boxes in an envelope": (
        lambda rng: {"result": {"predictions": [box(rng) for _ in range(1 + rng.integers(3))]}, "version": "3"},
        {"confidence"},
    ),
    "two heads": (lambda rng: {"a_logits": probs(rng), "b_logits": probs(rng)}, set()),
}  # fmt: skip


def _fraud(probability: float) -> dict[str, Any]:
    return {"is_fraud": probability > 0.9, "fraud_probability": probability}


def batch(answers: list[dict[str, Any]]) -> Batch:
    encoder = Encoder()
    chunks = [encoder.encode("m:1", bytes(16), 1, {"x": 1.0}, answer) for answer in answers]
    groups: dict[int, list[Any]] = {}
    for chunk in chunks:
        groups.setdefault(id(chunk.layout), []).append(chunk)
    return Batch.concat([Batch.of(decode(pack(alike))) for alike in groups.values()])


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_has_the_scorers_of_its_kind(answer: str) -> None:
    make, scorers = ANSWERS[answer]
    rng = np.random.default_rng(0)
    given = batch([make(rng) for _ in range(200)])
    found = Reference.fit("m:1", given, settings=Settings().detect)
    assert set(found.scorers) == scorers
    assert ("outputs.confidence" in found.streams) == (scorers == OF_CLASSES)
    for scores in Reference.from_bytes(found.to_bytes()).scored(given).scores.values():
        assert np.isfinite(scores).all()


def test_of_two_classes_the_likelier_is_how_sure_the_model_is() -> None:
    given = batch([_fraud(place / 200) for place in range(200)])
    scores = Reference.fit("m:1", given, settings=Settings().detect).scored(given).scores["confidence"]
    assert (scores.argmax(), scores[0], scores[-1] < 0.01) == (100, 0.0, True)


def test_records_of_objects_in_a_mapping_are_columns_alone_and_in_batches() -> None:
    rng, encoder = np.random.default_rng(0), Encoder()
    answers = [{"result": {"predictions": [box(rng), box(rng)]}} for _ in range(3)]
    alone = decode(pack([encoder.encode("m:1", bytes(16), 1, {}, answers[0])])).inference(0).outputs
    columns = {"result": [answer["result"] for answer in answers]}
    rows = encoder.columns("m:1", "outputs", columns, 3, {}, lambda _: False)
    assert alone.keys() == rows.keys() == {"result.boxes", "result.labels", "result.scores"}
    assert read(alone).task == "detection"


def test_an_answer_is_read_by_the_names_of_a_models_own() -> None:
    assert read({"cls_logits": [0.0, 5.0], "class_names": ["a", "b"]}).value == "b"
    assert read({"label": "a", "fraud_probability": 0.25}).confidence == 0.25


ONE_NUMBER: dict[str, Callable[[float], Any]] = {
    "a vector": lambda z: [z],
    "a row": lambda z: [[z]],
    "in single precision": lambda z: np.array([z], np.float32),
    "in half precision": lambda z: np.array([z], np.float16),
    "a scalar": lambda z: z,
    "sometimes missing": lambda z: None if z > 1.2 else [z],
}


@pytest.mark.parametrize("name", ["logits", "probs", "cls_logits", "risk_probs", "reward"])
@pytest.mark.parametrize("kind", ONE_NUMBER)
def test_one_column_is_a_number_whatever_it_is_called(name: str, kind: str) -> None:
    numbers = np.random.default_rng(0).random(600) + (name == "logits")
    given = batch([{name: ONE_NUMBER[kind](float(z))} for z in numbers])
    found = Reference.fit("m:1", given, settings=Settings().detect)
    assert found.streams == ("inputs.x", f"outputs.{name}")
    assert not found.scorers
    other = batch([{name: ONE_NUMBER[kind](float(z) / 4)} for z in numbers])
    assert np.mean(found.scored(given).bins) > 1.2 * np.mean(found.scored(other).bins)


@pytest.mark.parametrize(
    ("one", "several"), [("probs", "logits"), ("logits", "probs"), ("own_probs", "own_logits")]
)
def test_one_column_hides_no_classes_beside_it(one: str, several: str) -> None:
    rng = np.random.default_rng(0)
    given = batch([{one: [float(rng.random())], several: probs(rng)} for _ in range(200)])
    found = Reference.fit("m:1", given, settings=Settings().detect)
    assert set(found.scorers) == OF_CLASSES
    assert {f"outputs.{one}", "outputs.confidence"} <= set(found.streams)
