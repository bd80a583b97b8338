"""Large answers and pictures: the caller pays one copy, the sender the rest, and dense traffic is kept as a sample."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import numpy as np
import pytest
from support.sdk_rig import inferences_in

import davy
from davy.blobs import open_blobs
from davy.config import DetectSettings
from davy.event import BlobRef, Summary
from davy.fields.payloads import as_array
from davy.log import open_log
from davy.sdk import payload, shaping
from davy_detectors.reference import Reference
from davy_detectors.reference.loading import read_log

pytestmark = pytest.mark.fast
RNG = np.random.default_rng(0)


def waves(*shape: int) -> Any:
    """Draw smooth planes, as scores of a segmentation are."""
    *lead, height, width = shape
    places = np.add.outer(np.arange(height), np.arange(width))
    shifts = RNG.uniform(0, 9, (*lead, 1, 1))
    return (np.sin(places / 17 + shifts) * 3 + RNG.normal(0, 0.1, shape)).astype(np.float32)


def photos(count: int) -> Any:
    """Draw pictures of bytes as a pipeline of `ToTensor` and `Normalize` gives them."""
    plane = 120 + 60 * np.sin(np.add.outer(np.arange(224), np.arange(224)) / 40)
    pixels = np.clip(plane + RNG.normal(0, 6, (count, 3, 224, 224)), 0, 255).astype(np.uint8)
    return (pixels / np.float32(255) - np.float32(0.45)) / np.float32(0.22)


def test_scores_at_every_place_become_a_map_of_classes_with_areas(own_client: str) -> None:
    logits = waves(2, 7, 128, 128)
    davy.watch(lambda x: logits, "seg:1", batched=True)(np.zeros((2, 4)))
    davy.flush()
    for row, found in zip(logits, inferences_in(own_client), strict=True):
        answer = found.outputs["value"]
        assert isinstance(answer, BlobRef)
        assert answer.media_type == "image/png"
        assert answer.length < row.nbytes / 20
        classes = as_array(open_blobs(own_client).get(answer.hash), {"shape": answer.about["map"]})
        np.testing.assert_array_equal(classes, row.argmax(axis=0))
        areas = {number: (classes == number).mean() for number in np.unique(classes).tolist()}
        assert answer.about["areas"] == pytest.approx(areas)
        assert list(answer.about["shape"]) == [7, 128, 128]


def test_a_rule_keeps_all_the_scores_and_they_are_watched_all_the_same(own_client: str) -> None:
    davy.init(fields={"outputs.value": "blob"})
    logits = waves(7, 128, 128)
    davy.capture("seg:1", {"a": 1.0}, {"value": logits})
    davy.flush()
    (found,) = inferences_in(own_client)
    answer = found.outputs["value"]
    np.testing.assert_array_equal(as_array(open_blobs(own_client).get(answer.hash)), logits)
    assert answer.about["areas"].keys() == set(np.unique(logits.argmax(axis=0)).tolist())


def test_without_a_blob_store_the_areas_travel_alone(own_client: str) -> None:
    davy.init(oversize="summary")
    davy.capture("seg:1", {"a": 1.0}, {"value": waves(7, 128, 128)})
    davy.flush()
    (found,) = inferences_in(own_client)
    assert sum(found.outputs["value"]["areas"].values()) == pytest.approx(1.0)
    assert found.outputs["value"]["dtype"] == "float32"


def test_normalised_pictures_are_stored_in_a_quarter_and_come_back_bit_by_bit(own_client: str) -> None:
    given = photos(4)
    davy.watch(lambda x: np.zeros(4), "m:1", batched=True)(given)
    davy.flush()
    for picture, found in zip(given, inferences_in(own_client), strict=True):
        reference = found.inputs["x"]
        assert reference.length < picture.nbytes / 4
        back = as_array(open_blobs(own_client).get(reference.hash), reference.about)
        assert back is not None
        assert back.dtype == picture.dtype
        assert back.tobytes() == picture.tobytes()


@pytest.mark.parametrize("shape", [(400, 400, 3), (3, 400, 400), (400, 400, 4), (600, 600), (1, 3, 400, 400)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pictures_of_whole_numbers_are_smaller_and_come_back(
    shape: tuple[int, ...], dtype: Any, own_client: str
) -> None:
    ramp = np.arange(np.prod(shape)).reshape(shape) // 7
    picture = (ramp % 251 + RNG.integers(0, 3, shape)).astype(dtype)
    davy.capture("m:1", {"x": picture}, {"value": 1.0})
    davy.flush()
    (found,) = inferences_in(own_client)
    reference = found.inputs["x"]
    assert reference.length < picture.nbytes
    back = as_array(open_blobs(own_client).get(reference.hash), reference.about)
    assert back is not None
    assert back.dtype == picture.dtype
    np.testing.assert_array_equal(back, picture)


def test_nothing_is_worked_out_on_the_thread_of_the_caller(
    own_client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: dict[str, set[str]] = {}

    def noted(name: str, function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            ran.setdefault(name, set()).add(threading.current_thread().name)
            return function(*args, **kwargs)

        return call

    for name in ("of_one", "of_places", "class_map", "as_file", "summary"):
        monkeypatch.setattr(payload, name, noted(name, getattr(payload, name)))
    davy.init(fields={"inputs.s": "summary"})
    davy.capture("m:1", {"x": photos(1)[0], "s": photos(1)[0]}, {"value": waves(7, 128, 128)})
    davy.flush()
    assert ran == {
        name: {"davy-sender"} for name in ("of_one", "of_places", "class_map", "as_file", "summary")
    }
    assert len(inferences_in(own_client)) == 1


def test_the_app_may_change_an_array_right_after_the_call(own_client: str) -> None:
    logits, picture = waves(7, 128, 128), photos(1)[0]
    wanted, kept = logits.argmax(axis=0), picture.copy()
    davy.capture("m:1", {"x": picture}, {"value": logits})
    logits[:], picture[:] = 0.0, 0.0
    davy.flush()
    (found,) = inferences_in(own_client)
    store = open_blobs(own_client)
    answer, given = found.outputs["value"], found.inputs["x"]
    np.testing.assert_array_equal(as_array(store.get(answer.hash), {"shape": [128, 128]}), wanted)
    np.testing.assert_array_equal(as_array(store.get(given.hash), given.about), kept)


def test_what_nobody_can_change_is_not_copied() -> None:
    body = np.frombuffer(bytes(64), np.uint8).reshape(8, 8)
    frozen = np.zeros((8, 8))
    frozen.flags.writeable = False
    assert payload.snapshot(body) is body
    assert payload.snapshot(frozen) is frozen
    open_array = np.zeros((8, 8))
    shown = open_array[:]
    shown.flags.writeable = False  # the app still holds the one it can write to
    for array in (open_array, shown, np.frombuffer(bytearray(64), np.uint8)):
        copied = payload.snapshot(array)
        assert not np.shares_memory(copied, array)


def test_dense_traffic_back_to_back_is_kept_coarse_instead_of_being_thinned(own_client: str) -> None:
    model = f"seg:{uuid.uuid4().hex}"
    logits, rng = waves(4, 21, 256, 256), np.random.default_rng(1)
    answers = iter(range(300))
    net = davy.watch(lambda x: logits[next(answers) % 4][None], model, batched=True)
    for _ in range(300):
        net(rng.normal(size=(1, 4)))
    assert davy.flush(60)
    assert (davy.stats()["sent"], davy.stats()["thinned"], davy.stats()["dropped"]) == (300, 0, {})
    batch = read_log(open_log(own_client), model)
    reference = Reference.fit(model, batch, settings=DetectSettings())
    assert "entropy" in reference.scorers
    assert reference.schema.fields["outputs.value"].kind.form == "places"


def test_pictures_beside_dense_answers_are_summarised_and_not_lost_while_much_waits(own_client: str) -> None:
    davy.init(queue_bytes=2**25)
    logits, given = waves(1, 21, 128, 128), photos(1)
    net = davy.watch(lambda x: logits, "seg:1", batched=True)
    for _ in range(200):
        net(given)
    assert davy.flush(60)
    stats = davy.stats()
    assert (stats["sent"], stats["thinned"], stats["dropped"]) == (200, 0, {})
    kinds = [type(found.inputs["x"]) for found in inferences_in(own_client)]
    assert set(kinds) == {BlobRef, Summary}
    told = [
        value.about if isinstance(value, BlobRef) else value
        for value in (f.inputs["x"] for f in inferences_in(own_client))
    ]
    for name in ("brightness", "contrast", "sharpness"):
        assert [each[name] for each in told] == pytest.approx([told[0][name]] * 200, rel=0.1)


def test_a_queue_with_room_takes_a_dense_answer_whole_and_a_crowded_one_takes_fewer_places() -> None:
    answer = waves(21, 256, 256)
    places = shaping.places_of(("outputs", "value"), answer)
    assert places is not None
    whole = payload.dense(answer, places, 2**24, stored=True)
    part = payload.dense(answer, places, 2**20, stored=True)
    none = payload.dense(answer, places, 0, stored=True)
    assert (whole.size, part.size < 2**20, none.size < part.size) == (answer.nbytes, True, True)
    exact, rough = whole.make(False), part.make(False)
    assert isinstance(exact, payload.PayloadUpload)
    assert isinstance(rough, payload.PayloadUpload)
    assert "step" not in exact.about
    assert rough.about["step"] > 1
    for number, share in exact.about["areas"].items():
        assert rough.about["areas"].get(number, 0.0) == pytest.approx(share, abs=0.02)
    assert rough.about["entropy"] == pytest.approx(exact.about["entropy"], rel=0.05)


def test_a_very_large_array_is_summarised_from_a_part_of_it(own_client: str) -> None:
    davy.init(payload_bytes=100_000)
    picture = np.add.outer(np.arange(700), np.arange(900)).astype(np.float32) + 5
    davy.capture("m:1", {"x": picture, "v": np.arange(90_000.0)}, {"value": 1.0})
    davy.flush()
    (found,) = inferences_in(own_client)
    told = found.inputs["x"]
    assert list(told["shape"]) == [700, 900]
    assert told["brightness"] == pytest.approx(picture.mean(), rel=0.02)
    assert told["contrast"] == pytest.approx(picture.std(), rel=0.02)
    assert told["sharpness"] == pytest.approx(1.0, rel=0.02)
    assert found.inputs["v"]["norm"] == pytest.approx(np.linalg.norm(np.arange(90_000.0)), rel=0.1)
