"""An array comes back from its file bit by bit, and what is monitored of it does not depend on who works it out."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from support.inference_strategies import OIP_DTYPES

from davy.fields.measures import of_arrays, of_one, of_pictures
from davy.fields.media import PACKED
from davy.fields.payloads import as_array, as_file, png
from davy.fields.places import class_map, of_places, places_of

pytestmark = pytest.mark.fast
RNG = np.random.default_rng(0)


def arrays(draw: st.DrawFn) -> Any:
    dtype = np.dtype(draw(st.sampled_from(OIP_DTYPES)))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9))
    few = draw(st.booleans())
    bits = RNG.integers(0, 3 if few else 256, (int(np.prod(shape)), dtype.itemsize), np.uint8)
    if dtype.kind == "b":
        bits &= 1
    return bits.reshape(-1).view(dtype).reshape(shape)


@given(st.composite(arrays)())
def test_an_array_comes_back_bit_by_bit(array: Any) -> None:
    data, _ = as_file(array)
    back = as_array(data, {"shape": list(array.shape)})
    assert back is not None
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i2", "i8", "u2"])
@pytest.mark.parametrize("shape", [(60, 50), (3, 60, 50), (60, 50, 3), (1, 3, 60, 50), (1, 60, 50)])
def test_numbers_that_went_through_a_table_are_packed_in_a_byte_each(
    shape: tuple[int, ...], dtype: str
) -> None:
    array = (RNG.integers(0, 200, shape) * 3 - 40).astype(dtype)
    data, media_type = as_file(array)
    assert media_type == ("image/png" if dtype == "u2" and 3 not in shape else PACKED)
    assert len(data) < array.size * 1.35 + 2600
    back = as_array(data, {"shape": list(shape)})
    assert back is not None
    assert back.tobytes() == array.tobytes()


def test_nan_infinity_and_both_zeros_survive() -> None:
    array = np.tile(np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-310]), (40, 10))
    array.view(np.uint64)[0, 0] |= 5  # a NaN with a payload of its own
    for given_array in (array, np.where(RNG.random(array.shape) < 0.5, RNG.normal(size=array.shape), array)):
        back = as_array(as_file(given_array)[0])
        assert back is not None
        assert back.tobytes() == given_array.tobytes()


@pytest.mark.parametrize("shape", [(30, 40), (30, 40, 2), (30, 40, 3), (30, 40, 4)])
def test_any_reader_of_png_reads_ours_as_it_is(shape: tuple[int, ...]) -> None:
    pixels = RNG.integers(0, 256, shape, np.uint8)
    with Image.open(io.BytesIO(png(pixels))) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)
    deep = RNG.integers(0, 65536, (30, 40)).astype(np.uint16)
    with Image.open(io.BytesIO(png(deep))) as image:
        np.testing.assert_array_equal(np.asarray(image), deep)


@pytest.mark.parametrize("first", [True, False])
def test_a_picture_is_the_same_with_channels_first_and_last_and_without_its_opacity(first: bool) -> None:
    pixels = RNG.integers(0, 256, (12, 10, 3), np.uint8)
    wanted = {name: float(values[0]) for name, values in of_pictures(pixels[None]).items()}
    assert wanted["brightness"] == pytest.approx(pixels.mean())
    assert wanted["contrast"] == pytest.approx(pixels.std())
    steps = [np.abs(np.diff(pixels.astype(float), axis=axis)).mean() for axis in (0, 1)]
    assert wanted["sharpness"] == pytest.approx(np.mean(steps))
    clear = np.dstack([pixels, RNG.integers(0, 256, (12, 10), np.uint8)])
    for each in (pixels, clear):
        turned = each.transpose(2, 0, 1) if first else each
        for shaped in (turned, turned[None], turned[None, None]):
            found = of_one(shaped)
            assert {name: found[name] for name in wanted} == pytest.approx(wanted)


def test_large_arrays_are_measured_in_parts_to_the_same_numbers() -> None:
    array = RNG.normal(7.0, 2.0, (3, 2**20 + 77)).astype(np.float32)
    whole = array.astype(np.float64)
    found = of_arrays(array)
    np.testing.assert_allclose(found["mean"], whole.mean(axis=1), rtol=1e-9)
    np.testing.assert_allclose(found["sd"], whole.std(axis=1), rtol=1e-9)
    np.testing.assert_allclose(found["norm"], np.linalg.norm(whole, axis=1), rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "array", "expected"),
    [
        ("value", np.zeros((21, 40, 40), "f4"), 0),
        ("value", np.zeros((40, 40, 21), "f4"), 2),
        ("value", np.zeros((1, 21, 40, 40), "f2"), 0),
        ("logits", np.zeros((150, 32, 32), "f4"), 0),
        ("value", np.zeros((2, 40, 40), "f4"), 0),
        ("logits", np.zeros((3, 40, 40), "f4"), 0),
        ("logits", np.zeros((1, 40, 40), "f4"), 0),
        ("value", np.full((3, 40, 40), 1 / 3, "f4"), 0),
        ("value", RNG.normal(0, 8, (3, 40, 40)).astype("f4"), 0),
        ("logits", np.zeros((30, 9), "f4"), 1),
        ("value", np.full((30, 4), 0.25, "f4"), 1),
        ("value", np.zeros((40, 40), "i8"), None),
        ("value", np.zeros((40, 40), "?"), None),
        ("mask", np.zeros((1, 40, 40), "u1"), None),
        ("value", np.full((40, 40), -1, "i4"), None),
    ],
)
def test_what_is_a_dense_answer_is_told_by_shape_name_and_values(
    name: str, array: Any, expected: int | None
) -> None:
    found = places_of(("outputs", name), array)
    assert found is not None
    assert found.axis == expected
    assert sum(of_places(array, found)["areas"].values()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("path", "array"),
    [
        (("inputs", "x"), np.zeros((21, 40, 40), "f4")),
        (("outputs", "value"), RNG.random((3, 40, 40)).astype("f4")),  # a picture
        (("outputs", "value"), RNG.random((1, 40, 40)).astype("f4")),  # depth
        (("outputs", "value"), RNG.integers(0, 256, (40, 40), np.uint8)),  # a grey picture
        (("outputs", "value"), RNG.integers(0, 256, (40, 40, 3), np.uint8)),
        (("outputs", "boxes"), RNG.random((30, 4)).astype("f4")),
        (("outputs", "boxes"), RNG.integers(0, 500, (30, 4))),
        (("outputs", "tokens"), RNG.integers(0, 100_000, (30, 40))),
        (("outputs", "attentions"), np.full((12, 40, 40), 1 / 40)),
        (("outputs", "probs"), np.array([0.25, 0.75])),
        (("outputs", "probs"), np.array([[0.25, 0.75]])),
        (("outputs", "value"), np.zeros((0, 4))),
        (("outputs", "value"), np.zeros((2, 3, 40, 40))),
    ],
)
def test_other_answers_are_none(path: tuple[str, ...], array: Any) -> None:
    assert places_of(path, array) is None


def test_the_class_of_a_place_is_the_first_of_the_likeliest_in_the_smallest_integers() -> None:
    scores = RNG.integers(0, 3, (300, 20, 20)).astype("f4")
    places = places_of(("outputs", "logits"), scores)
    assert places is not None
    found = class_map(scores, places)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, scores.argmax(axis=0))
    wide = RNG.integers(-1, 5, (20, 20))
    whole = places_of(("outputs", "mask"), wide)
    assert whole is not None
    assert class_map(wide, whole).dtype == np.int8


def test_the_scores_of_a_whole_vocabulary_are_told_by_sureness() -> None:
    logits = RNG.normal(size=(40, 30_000)).astype("f4")
    places = places_of(("outputs", "logits"), logits)
    assert places is not None
    np.testing.assert_array_equal(class_map(logits, places), logits.argmax(axis=1))
    probs = np.exp(logits.astype(float))
    probs /= probs.sum(axis=1, keepdims=True)
    told = of_places(logits, places)
    ordered = np.sort(probs, axis=1)
    assert told["entropy"] == pytest.approx(-(probs * np.log(probs)).sum(axis=1).mean(), rel=1e-4)
    assert told["confidence"] == pytest.approx(ordered[:, -1].mean(), rel=1e-4)
    assert told["margin"] == pytest.approx((ordered[:, -1] - ordered[:, -2]).mean(), rel=1e-3)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e38])
def test_numbers_that_are_not_finite_are_measured_without_a_warning(value: float) -> None:
    array = RNG.normal(size=(5, 20, 20)).astype("f4")
    for place in (np.s_[:], np.s_[1], np.s_[:, 3]):
        odd = array.copy()
        odd[place] = value
        found = places_of(("outputs", "logits"), odd)
        assert found is not None
        assert sum(of_places(odd, found)["areas"].values()) == pytest.approx(1.0)
        assert of_one(odd)["length"] == odd.size
