"""Size does not switch monitoring off: a value means the same inline, stored apart, summarised and in a file.

Accepted is one false alarm in 1,000,000 inferences; some 20,000 of their own are tested.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

import davy
from davy.archive.tables import inference_table
from davy.codec import decode
from davy.config import DetectSettings
from davy.event import INFERENCES, BlobRef
from davy.log import open_log
from davy_detectors.batch import Batch
from davy_detectors.drift import ScoreDictionaryDetector
from davy_detectors.reference import Reference
from davy_detectors.reference.features import features
from davy_detectors.reference.loading import read_file, read_log
from davy_detectors.uncertainty import Margin, MaximumSoftmaxProbability, PredictiveEntropy

from .sources import alarms, at_of

pytestmark = pytest.mark.fast

SETTINGS = DetectSettings(false_alarm_every=1_000_000)
WAYS: dict[str, dict[str, Any]] = {
    "inline": {"inline_bytes": 1_000_000},
    "some inline": {"inline_bytes": 1_000},
    "blob": {"inline_bytes": 300},
    "summary": {"inline_bytes": 300, "oversize": "summary"},
    "blob by a rule": {"fields": {"inputs.x": "blob", "outputs.value": "blob"}},
    "summary by a rule": {"fields": {"inputs.x": "summary", "outputs.value": "summary"}},
}
REFERENCE, CHANGED, SIDE = 300, 150, 24
Draw = Callable[[np.random.Generator, float], Any]


def photo(rng: np.random.Generator, brightness: float = 110.0) -> Any:
    """Draw a picture of 8 bits, smooth and with some noise."""
    waves = np.sin(np.arange(SIDE) / rng.uniform(2, 5) + rng.uniform(0, 6))
    plane = np.multiply.outer(waves, waves[::-1])[:, :, None] * 30 + rng.normal(brightness, 12)
    return np.clip(plane + rng.normal(0, 4, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


def normalised(picture: Any) -> Any:
    return np.float32((picture / np.float32(255) - np.float32(0.45)) / np.float32(0.22))


def jpeg(picture: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


PICTURES: dict[str, Draw] = {
    "bytes, channels last": photo,
    "bytes, channels first": lambda rng, b: np.ascontiguousarray(photo(rng, b).transpose(2, 0, 1)),
    "grey": lambda rng, b: photo(rng, b)[:, :, 0],
    "transparent": lambda rng, b: np.dstack(
        [photo(rng, b), rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)]
    ),
    "16 bits": lambda rng, b: photo(rng, b)[:, :, 0].astype(np.uint16) * 200,
    "normalised, channels first": lambda rng, b: normalised(photo(rng, b)).transpose(2, 0, 1),
    "a batch of one": lambda rng, b: normalised(photo(rng, b)).transpose(2, 0, 1)[None],
    "JPEG": lambda rng, b: jpeg(photo(rng, b)),
}


def sent(way: str, pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]], **more: Any) -> Batch:
    """Return what the log holds of inferences that travelled this way."""
    url, model = f"memory://{uuid.uuid4()}", f"m:{uuid.uuid4().hex}"
    davy.init(url, queue_bytes=2**28, **WAYS[way], **more)
    for place, (inputs, outputs) in enumerate(pairs):
        davy.capture(model, inputs, outputs, at=at_of(place))
    assert davy.flush(timeout=60)
    assert davy.stats()["incomplete"] == {}
    return read_log(open_log(url), model)


def pictures(draw: Draw, seed: int, count: int, brightness: float = 110.0) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [({"x": draw(rng, brightness)}, {"value": float(i % 7)}) for i in range(count)]


def guilty(reference: Batch, live: Batch) -> str | None:
    detector = ScoreDictionaryDetector(Reference.fit("m:1", reference, settings=SETTINGS), SETTINGS)
    found = alarms(detector, [live])
    return found[0].features[0].feature if found else None


@pytest.mark.parametrize("name", PICTURES)
def test_streams_of_a_picture_are_the_same_whatever_way_it_came(name: str) -> None:
    draw = PICTURES[name]
    wanted = None
    for way in WAYS:
        if name == "JPEG" and "summary" in way:
            continue  # only arrays are summarised
        if name == "JPEG" and way == "blob":
            found = features(sent("inline", pictures(draw, 1, 40), fields={"inputs.x": "blob"}))
        else:
            found = features(sent(way, pictures(draw, 1, 40)))
        values = {key: one.values for key, one in found.items() if key.startswith("inputs.x")}
        wanted = wanted or values
        assert {"inputs.x.brightness", "inputs.x.contrast", "inputs.x.sharpness"} <= values.keys()
        assert values.keys() == wanted.keys()
        for key, one in values.items():
            np.testing.assert_allclose(one, wanted[key], rtol=1e-6, err_msg=f"{way} {key}")


@pytest.mark.parametrize("known", ["inline", "blob", "summary"])
@pytest.mark.parametrize("name", ["normalised, channels first", "bytes, channels last"])
def test_a_change_of_brightness_is_found_by_name_whatever_way_pictures_came(name: str, known: str) -> None:
    draw = PICTURES[name]
    reference = sent(known, pictures(draw, 1, REFERENCE))
    for live in ("inline", "blob", "summary"):
        assert guilty(reference, sent(live, pictures(draw, 2, CHANGED))) is None
        found = guilty(reference, sent(live, pictures(draw, 3, CHANGED, brightness=160.0)))
        assert found is not None
        assert found.startswith("inputs.x."), (known, live)


def test_a_column_of_values_that_came_in_several_ways_is_one_column() -> None:
    rng = np.random.default_rng(5)
    steps = [1 if i % 3 else 2 for i in range(60)]
    pairs = [({"x": photo(rng)[::step, ::step]}, {"value": 1.0}) for step in steps]
    mixed = sent("some inline", pairs)
    assert set(map(type, mixed.fields["inputs", "x"].values)) == {np.ndarray, BlobRef}
    wanted, found = features(sent("inline", pairs)), features(mixed)
    assert found.keys() == wanted.keys()
    for key, one in found.items():
        np.testing.assert_allclose(one.values.astype(float), wanted[key].values.astype(float), rtol=1e-6)


def test_a_file_of_pictures_is_watched_as_those_the_app_stores_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    stack = np.stack([normalised(photo(rng)).transpose(2, 0, 1) for _ in range(REFERENCE)])
    np.savez(tmp_path / "r.npz", **{"inputs.x": stack})
    reference = read_file("m:1", tmp_path / "r.npz")
    draw = PICTURES["normalised, channels first"]
    assert guilty(reference, sent("blob", pictures(draw, 2, CHANGED))) is None
    assert (guilty(reference, sent("blob", pictures(draw, 3, CHANGED, 160.0))) or "").startswith("inputs.x.")


@pytest.mark.parametrize("way", ["inline", "some inline", "blob", "summary"])
def test_a_file_of_the_archive_is_read_as_the_log_it_was_made_of(way: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    pairs = [
        ({"x": photo(rng)[:: 1 + i % 2, :: 1 + i % 2]}, {"value": regions(rng)[:, : 40 - i % 2]})
        for i in range(24)
    ]
    url, model = f"memory://{uuid.uuid4()}", f"m:{uuid.uuid4().hex}"
    davy.init(url, **WAYS[way])
    for place, (inputs, outputs) in enumerate(pairs):
        davy.capture(model, inputs, outputs, at=at_of(place))
    assert davy.flush(timeout=30)
    envelopes = [decode(record.value) for record in open_log(url).read(INFERENCES, 0, 0)]
    parquet.write_table(inference_table(envelopes), tmp_path / "r.parquet")
    wanted = features(read_log(open_log(url), model))
    found = features(read_file(model, tmp_path / "r.parquet"))
    assert found.keys() == wanted.keys()
    for key, one in found.items():
        np.testing.assert_allclose(one.values.astype(float), wanted[key].values.astype(float), rtol=1e-6)


def test_arrays_that_are_no_pictures_are_watched_as_well() -> None:
    rng = np.random.default_rng(1)
    made: dict[str, Callable[[], Any]] = {
        "wide": lambda: rng.normal(size=700),
        "ragged": lambda: rng.normal(size=rng.integers(300, 500)),
        "points": lambda: rng.normal(size=(rng.integers(100, 200), 3)),
        "boxes": lambda: rng.uniform(0, 9, (rng.integers(100, 200), 4)).cumsum(axis=1),
        "film": lambda: rng.normal(size=(4, 3, 9, 9)),
    }
    pairs = [({name: draw() for name, draw in made.items()}, {"value": 1.0}) for _ in range(50)]
    wanted = features(sent("inline", pairs))
    for way in ("blob", "summary"):
        found = features(sent(way, pairs))
        assert found.keys() == wanted.keys()
        for key, one in found.items():
            np.testing.assert_allclose(one.values.astype(float), wanted[key].values.astype(float), rtol=1e-6)


def test_numbers_of_a_short_vector_are_told_of_what_is_stored_and_not_of_what_is_summarised() -> None:
    rng = np.random.default_rng(1)
    pairs = [({"x": rng.normal(size=4)}, {"value": 1.0}) for _ in range(50)]
    apart = features(sent("blob by a rule", pairs))
    np.testing.assert_array_equal(apart["inputs.x[2]"].values, [inputs["x"][2] for inputs, _ in pairs])
    (column,) = (sent("summary by a rule", pairs).fields["inputs", "x"],)
    assert not any("parts" in summary for summary in column.values)


def regions(rng: np.random.Generator, share: float = 0.2, *, classes: int = 5) -> Any:
    """Draw logits of a segmentation: class 3 has about this share of the picture."""
    place = np.arange(SIDE * 2)
    side = SIDE * 2 * np.sqrt(share) * rng.uniform(0.9, 1.1)
    top, left = rng.uniform(0, SIDE * 2 - side, 2)
    inside = ((place >= top) & (place < top + side))[:, None] & ((place >= left) & (place < left + side))[
        None
    ]
    logits = rng.normal(0, 1, (classes, SIDE * 2, SIDE * 2)).astype(np.float32)
    logits[3] += np.where(inside, 9, -9)
    logits[0] += np.where(inside, 0, 5)
    return logits


DENSE: dict[str, Callable[[Any], Any]] = {
    "logits, classes first": lambda logits: logits,
    "logits, classes last": lambda logits: np.ascontiguousarray(logits.transpose(1, 2, 0)),
    "half precision": lambda logits: logits.astype(np.float16),
    "a batch of one": lambda logits: logits[None],
    "probabilities": lambda logits: np.exp(logits) / np.exp(logits).sum(axis=0),
    "a map of classes": lambda logits: logits.argmax(axis=0),
    "a map of bytes": lambda logits: logits.argmax(axis=0).astype(np.uint8),
    "tokens": lambda logits: (np.exp(logits) / np.exp(logits).sum(axis=0)).reshape(5, -1).T,
}


def dense(name: str, seed: int, count: int, share: float = 0.2) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [({"a": float(rng.normal())}, {"value": DENSE[name](regions(rng, share))}) for _ in range(count)]


@pytest.mark.parametrize("name", DENSE)
def test_streams_of_a_dense_answer_are_the_same_whatever_way_it_came(name: str) -> None:
    wanted = features(sent("inline", dense(name, 1, 30)))
    areas = {f"outputs.value.area[{number}]" for number in ("0", "3", "other")}
    sure = {f"outputs.value.{key}" for key in ("entropy", "entropy_high", "confidence", "confidence_low")}
    assert (areas if "map" in name else areas | sure) <= wanted.keys()
    for way in ("blob", "summary", "blob by a rule", "summary by a rule"):
        found = features(sent(way, dense(name, 1, 30)))
        assert found.keys() == wanted.keys()
        for key, one in found.items():
            np.testing.assert_allclose(one.values.astype(float), wanted[key].values.astype(float), rtol=1e-5)


@pytest.mark.parametrize("known", ["inline", "blob", "summary"])
def test_a_change_of_a_class_area_is_found_by_name_and_scorers_see_the_unsure(known: str) -> None:
    reference = sent(known, dense("logits, classes first", 1, REFERENCE))
    for live in ("inline", "blob", "summary"):
        assert guilty(reference, sent(live, dense("logits, classes first", 2, CHANGED))) is None
        changed = sent(live, dense("logits, classes first", 3, CHANGED, share=0.35))
        assert (guilty(reference, changed) or "").startswith("outputs.value.area["), (known, live)
    fitted = Reference.fit("m:1", reference, settings=SETTINGS)
    assert {"msp", "entropy", "margin"} <= fitted.scorers.keys()
    rng = np.random.default_rng(9)
    sure, unsure = regions(rng) * 4, regions(rng) / 8
    live = sent("blob", [({"a": 0.0}, {"value": sure}), ({"a": 0.0}, {"value": unsure})])
    for scorer in (MaximumSoftmaxProbability(), PredictiveEntropy(), Margin()):
        first, second = scorer.score(live)
        assert first < second
