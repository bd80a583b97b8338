"""Snapshots, encoded many at once, are the inferences that the caller's thread would have encoded one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.inference_strategies import OIP_DTYPES

from davy.codec import Encoder, Recipe, Snapshot, decode, pack
from davy.event import Array

pytestmark = pytest.mark.fast
LABELS = [7, -3, 2**62]


@st.composite
def calls(draw: st.DrawFn) -> list[tuple[Array, Array, str]]:
    """An input of any dtype and shape, scores of three classes and the text of a tag, several times."""
    dtype = np.dtype(draw(st.sampled_from(OIP_DTYPES)))
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=3))
    scores = hnp.arrays(np.float32, 3, elements=st.floats(width=32))
    texts = st.text(st.characters(exclude_categories=()), max_size=3)
    one = st.tuples(hnp.arrays(dtype, shape), scores, texts)
    return draw(st.lists(one, min_size=1, max_size=6))


@given(calls(), st.data())
def test_a_snapshot_is_what_would_have_been_encoded(found: list[Any], data: st.DataObject) -> None:
    encoder = Encoder()
    chunks = [
        encoder.encode(
            "m:1", bytes([row] * 16), row, {"x": x}, {"probs": probs, "label": LABELS[int(probs.argmax())]},
            tags={"route": route}, latency_ms=row / 2, rate=0.5,
        )
        for row, (x, probs, route) in enumerate(found)
    ]  # fmt: skip
    recipe = Recipe(chunks[0].layout, 0.5, LABELS)
    assert Recipe.makes(chunks[0].layout)
    snapshots = [
        Snapshot(recipe, bytes([row] * 16), row, row / 2, (x.tobytes(), probs.tobytes(), route))
        for row, (x, probs, route) in enumerate(found)
    ]
    loads: list[Any] = [data.draw(st.sampled_from(pair)) for pair in zip(chunks, snapshots, strict=True)]
    assert pack(snapshots) == pack(loads) == pack(chunks)
    assert decode(pack(snapshots)).inference(0).tags == {"route": found[0][2]}


def test_no_recipe_is_for_fields_that_differ_in_shape_or_are_objects() -> None:
    encoder = Encoder()
    for first, second in ((np.zeros(2), np.zeros(3)), ([1, "a"], [2]), (1.5, 2.5)):
        for value in (first, second):
            layout = encoder.encode("m:1", bytes(16), 0, {"x": value}, {}).layout
        assert not Recipe.makes(layout)
        encoder = Encoder()
