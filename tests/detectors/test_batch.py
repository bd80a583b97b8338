"""Batches: columns joined, picked and named."""

from __future__ import annotations

import numpy as np
import pytest

from davy.codec import Encoder, decode, pack
from davy.config import DetectSettings
from davy.errors import ReferenceInvalid
from davy_detectors.batch import Batch
from davy_detectors.reference import Reference
from davy_detectors.reference.features import features
from davy_detectors.reference.schema import Schema

pytestmark = pytest.mark.fast
TOPICS = tuple(f"topic[{i}]" for i in range(4))
TEXT = (
    "typicality",
    "words",
    *TOPICS,
    "length",
    "letters",
    "upper",
    "digits",
    "punctuation",
    "space",
    "repetition",
)


def _envelope(rows, **more):
    encoder = Encoder()
    chunks = [
        encoder.encode("m:1", bytes([i] * 16), i, row, out, **more) for i, (row, out) in enumerate(rows)
    ]
    return Batch.of(decode(pack(chunks)))


def test_fields_that_some_envelopes_lack_are_missing_there():
    joined = Batch.concat([_envelope([({"x": 1.0}, {})]), _envelope([({"x": 2.0, "y": 5.0}, {})])])
    assert joined.fields["inputs", "x"].values.tolist() == [1.0, 2.0]
    assert joined.fields["inputs", "x"].missing is None
    assert joined.fields["inputs", "y"].present.tolist() == [False, True]
    assert joined.at.tolist() == [0, 0]


def test_a_field_that_changes_shape_between_envelopes_keeps_its_values():
    joined = Batch.concat([_envelope([({"x": [1.0, 2.0]}, {})]), _envelope([({"x": [3.0, 4.0, 5.0]}, {})])])
    assert [value.tolist() for value in joined.fields["inputs", "x"].values] == [[1.0, 2.0], [3.0, 4.0, 5.0]]


def test_a_field_that_changes_from_numbers_to_text_keeps_its_values():
    joined = Batch.concat([_envelope([({"x": 1.5}, {})]), _envelope([({"x": "deep"}, {})])])
    assert joined.fields["inputs", "x"].values.tolist() == [1.5, "deep"]


def test_a_field_that_is_none_everywhere_in_one_envelope_does_not_change_the_others():
    joined = Batch.concat([_envelope([({"x": 1.5}, {})]), _envelope([({"x": None}, {})])])
    assert joined.fields["inputs", "x"].values.dtype == np.float64
    assert joined.fields["inputs", "x"].present.tolist() == [True, False]


def test_taking_rows_keeps_columns_and_missing_marks_together():
    batch = Batch.from_columns("m:1", {"x": [1.0, None, 3.0], "name": ["a", "b", None]})
    picked = batch.take([2, 1])
    assert picked.fields["inputs", "x"].present.tolist() == [True, False]
    assert picked.fields["inputs", "name"].present.tolist() == [False, True]
    assert picked.ids.tolist() == [batch.ids[2].tobytes(), batch.ids[1].tobytes()]
    assert len(batch.take(np.array([True, False, True]))) == 2
    assert len(batch.take(slice(0, 1))) == 1


def test_probabilities_come_from_logits_when_the_model_gives_only_these():
    batch = Batch.from_columns("m:1", {"outputs.logits": [[1000.0, 1000.0], [0.0, np.inf]]})
    assert batch.probs[0].tolist() == [0.5, 0.5]
    assert np.isnan(batch.probs[1]).all()


def test_the_label_a_model_gives_wins_over_its_likeliest_class():
    columns = {"outputs.probs": [[0.9, 0.1], [0.2, 0.8]]}
    assert Batch.from_columns("m:1", columns).label.tolist() == [0, 1]
    named = Batch.from_columns("m:1", {**columns, "outputs.label": ["cat", "dog"]})
    assert named.label.tolist() == ["cat", "dog"]


def test_missing_embeddings_become_rows_of_nan():
    batch = Batch.from_columns("m:1", {"embedding": [[1.0, 2.0], None]})
    assert np.isnan(batch.embedding[1]).all()
    assert batch.embedding[0].tolist() == [1.0, 2.0]


def test_columns_of_different_length_are_refused_by_name():
    with pytest.raises(ReferenceInvalid, match=r"inputs\.y"):
        Batch.from_columns("m:1", {"x": [1.0, 2.0], "y": [1.0]})


def test_every_kind_of_field_becomes_the_features_documented_for_it():
    rng = np.random.default_rng(0)
    rows = 100
    columns = {
        "age": rng.normal(size=rows),
        "count": rng.integers(0, 5, rows),
        "cents": np.arange(rows),
        "member": rng.random(rows) < 0.5,
        "country": rng.choice(np.array(["de", "fr"], object), rows),
        "title": np.array([f"title {i} {'x' * (i % 7)}" for i in range(rows)], object),
        "signal": rng.normal(size=(rows, 3)),
        "long": rng.normal(size=(rows, 300)),
        "image": rng.integers(0, 255, (rows, 6, 6, 3), dtype=np.uint8),
        "words": [rng.normal(size=1 + i % 4) for i in range(rows)],
        "outputs.probs": rng.dirichlet([1, 1, 1], rows),
        "tags.team": np.array(["a"] * rows, object),
        "embedding": rng.normal(size=(rows, 4)),
    }
    found = features(Batch.from_columns("m:1", columns))
    image = [f"inputs.image.{key}" for key in ("brightness", "contrast", "sharpness", "minimum", "maximum")]
    assert {name: feature.kind for name, feature in found.items()} == {
        **dict.fromkeys(["inputs.age", "inputs.cents"], "numeric"),
        **dict.fromkeys([f"inputs.title.{key}" for key in TEXT], "numeric"),
        "inputs.title.script": "categorical",
        **dict.fromkeys(["inputs.count", "inputs.member", "inputs.country", "outputs.label"], "categorical"),
        **dict.fromkeys([f"inputs.signal[{i}]" for i in range(3)], "numeric"),
        **dict.fromkeys([f"inputs.long.{key}" for key in ("mean", "sd", "norm")], "numeric"),
        **dict.fromkeys(image, "numeric"),
        **dict.fromkeys([f"inputs.words.{key}" for key in ("mean", "sd", "norm", "length")], "numeric"),
        **dict.fromkeys(["outputs.confidence", "outputs.entropy"], "numeric"),
    }


def test_sharpness_falls_when_an_image_is_blurred_whatever_the_channel_order():
    rng = np.random.default_rng(0)
    sharp = rng.random((20, 12, 12, 3))
    blurred = (sharp + np.roll(sharp, 1, axis=1) + np.roll(sharp, 1, axis=2)) / 3
    for turn in (lambda images: images, lambda images: images.transpose(0, 3, 1, 2)):
        one, other = (
            features(Batch.from_columns("m:1", {"image": turn(images)}))["inputs.image.sharpness"].values
            for images in (sharp, blurred)
        )
        assert (one > other).all()


def test_a_known_reference_decides_which_features_there_are_and_how_they_are_read():
    schema = Schema.decide(Batch.from_columns("m:1", {"x": [1.5, 2.5], "gone": ["a", "b"]}))
    found = features(Batch.from_columns("m:1", {"x": ["now text", "3"], "new": [1.0, 2.0]}), schema)
    assert list(found) == ["inputs.x"]
    assert found["inputs.x"].values.tolist() == [np.inf, 3.0]


def test_numbers_of_single_precision_are_counted_like_those_of_one_inference_a_call():
    x = np.random.default_rng(3).normal(100.0, 20.0, 250).astype(np.float32)
    code = (x // 10).astype(np.float32)  # a category of the label's kind
    ids = b"".join(row.to_bytes(16, "big") for row in range(len(x)))
    together = Batch.of(
        decode(
            pack([Encoder().encode_batch("m:1", ids, 7, {"x": x}, {"label": code, "probs": 1 / x[:, None]})])
        )
    )
    apart = _envelope(
        [({"x": x[k]}, {"label": code[k], "probs": 1 / x[k : k + 1]}) for k in range(len(x))]
    )  # fmt: skip
    assert together.fields["inputs", "x"].values.dtype == np.float32
    assert apart.fields["inputs", "x"].values.dtype == np.float64
    reference = Reference.fit("m:1", apart, settings=DetectSettings())
    assert np.array_equal(reference.scored(together).bins, reference.scored(apart).bins)
    assert Reference.fit("m:1", together, settings=DetectSettings()).version == reference.version
    mixed = Batch.concat([together, apart])
    assert np.array_equal(
        reference.scored(mixed).bins, np.concatenate([reference.scored(apart).bins] * 2, axis=1)
    )
