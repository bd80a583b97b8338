"""Whatever can be captured can be fitted and detected on: a field is watched by what it has, or named as unwatched."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from davy.codec import Encoder, decode, pack
from davy.config import Settings
from davy.event import BlobRef
from davy.fields.flattening import NAMES
from davy_detectors.batch import Batch
from davy_detectors.reference import Reference

pytestmark = pytest.mark.fast
DETECT: Final = Settings().detect
_COUNT: Final = 200
_WORD: Final = {"word": "a", "start": 0.1, "end": 0.2}
_PAGE: Final = np.zeros((4, 3, 3), np.uint8)


def _crops(place: int) -> list[Any]:
    return [np.zeros((4 + each, 3, 3), np.uint8) + each for each in range(1 + place % 3)]


SHAPES: Final[dict[str, Any]] = {
    "polygons": lambda i: [[0.1] * 6, [0.2] * 8][: 1 + i % 2],
    "outlines": lambda i: [[[1.0, 2.0]] * (3 + i % 2), [[0.0, 1.0]] * 4],
    "segments": lambda i: [{"text": "a", "words": [_WORD] * 2}, {"text": "b", "words": [_WORD] * (1 + i % 2)}],
    "detections": lambda _: [[[1.0, 2.0, 3.0, 4.0]] * 2, [0.9, 0.4], ["cat", "dog"]],
    "sentences": lambda _: [["a", "b"], ["c"]],
    "spans": lambda _: [["PER", [1, 2]], ["LOC", [3]]],
    "gaps": lambda _: [[1.0, None], [2.0]],
    "all_gaps": lambda _: [[None, None], [None]],
    "crops": _crops,
    "pages_and_words": lambda i: [_PAGE, ["a"] * i, None],
    "nothing_in_lists": lambda _: [[], [[]]],
    "sometimes_ragged": lambda i: [[1.0, 2.0], [3.0, 4.0]] if i % 2 else [[1.0], [2.0, 3.0]],
    "sometimes_a_number": lambda i: 1.0 if i % 2 else [[1.0], [2.0, 3.0]],
    "sometimes_text": lambda i: "none" if i % 2 else [[1.0], [2.0, 3.0]],
    "sometimes_a_vector": lambda i: [1.0, 2.0] if i % 3 else [[1.0], [2.0, 3.0]],
    "deep": lambda _: [[[[1]], [[2, 3]]], []],
    "truths": lambda _: [[True], [False, True]],
    "beyond_a_float": lambda _: [[2**70], [1, 2]],
    "infinite": lambda _: [[float("inf")], [float("nan"), 1.0]],
    "bytes": lambda _: [[b"a"], [b"b", b"c"]],
    "references": lambda i: [[BlobRef("ab", i, "image/png")], []],
    "moments": lambda _: [[datetime(2026, 1, 1, tzinfo=UTC)], []],
    "mapping_of_lists": lambda _: [{"a": [[1], [2, 3]]}, {"b": {}}],
    "numbers_and_texts": lambda _: [1, "a", [2, "b"]],
}  # fmt: skip
_RAGGED: Final = {"polygons", "outlines", "gaps", "crops", "deep", "truths"}


def read(rows: Sequence[dict[str, Any]]) -> Batch:
    """Return inferences of these outputs as they are read from a log: an envelope for each layout."""
    encoder = Encoder()
    chunks = [
        encoder.encode("m:1", place.to_bytes(16, "big"), 1, {"steady": place % 7}, row)
        for place, row in enumerate(rows)
    ]
    found = groupby(chunks, key=lambda chunk: id(chunk.layout))
    return Batch.concat([Batch.of(decode(pack(list(alike)))) for _, alike in found])


def fitted(rows: Sequence[dict[str, Any]]) -> Reference:
    """Return a reference fitted on inferences of these outputs, with which they have been detected on."""
    batch = read(rows)
    made = Reference.fit("m:1", batch, settings=DETECT)
    reference = Reference.from_bytes(made.to_bytes())
    bins = reference.scored(batch).bins
    assert bins.shape == (len(reference.streams), len(rows))
    for scores in reference.scored(batch).scores.values():
        assert len(scores) == len(rows)
    return reference


def test_lists_of_lists_of_different_lengths_are_watched_by_what_they_have() -> None:
    found = fitted([{name: make(place) for name, make in SHAPES.items()} for place in range(_COUNT)])
    for name in SHAPES:
        field = f"outputs.{name}"
        streams = {each.removeprefix(field) for each in found.streams if each.startswith(field)}
        assert streams or field in found.unwatched, field
        if name in _RAGGED:
            assert streams == {".count", ".length", ".mean", ".norm", ".sd"}, field


def test_a_list_of_lists_is_measured_over_all_of_its_numbers() -> None:
    usual = [{"polygons": SHAPES["polygons"](place)} for place in range(_COUNT)]
    found = fitted(usual)
    more = [{"polygons": [[5.0] * 6] * 3 + [[0.0]]}] * _COUNT
    bins = found.scored(read([*usual, *more])).bins
    for name in ("count", "length", "mean", "sd", "norm"):
        stream = bins[found.streams.index(f"outputs.polygons.{name}")]
        assert set(stream[:_COUNT]).isdisjoint(stream[_COUNT:]), name


_LEAF: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=3),
    st.binary(max_size=3),
    st.datetimes(),
    st.builds(lambda height: np.ones((height, 2, 3), np.uint8), st.integers(0, 3)),
)
_VALUE: Final = st.recursive(
    _LEAF,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=12,
)


@settings(
    max_examples=10, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow]
)
@given(st.lists(_VALUE, min_size=3, max_size=6), st.lists(_VALUE, min_size=1, max_size=3))
def test_whatever_is_captured_can_be_fitted_and_detected_on(alike: list[Any], mixed: list[Any]) -> None:
    rows = [
        {f"alike_{number}": value for number, value in enumerate(alike)}
        | {"mixed": mixed[place % len(mixed)]}
        for place in range(_COUNT)
    ]
    fitted(rows)


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("section", ["inputs", "outputs"])
@pytest.mark.parametrize("beside", [{}, {"label": "cat"}])
def test_a_mapping_of_ids_is_one_value_also_where_it_is_all_there_is(
    batched: bool, section: str, beside: dict[str, Any]
) -> None:
    rng = np.random.default_rng(0)
    rows = [
        beside | {f"item{item}": rng.random() for item in rng.integers(0, 2**40, 20)} for _ in range(_COUNT)
    ]
    encoder, envelopes = Encoder(), []
    for start in range(0, _COUNT, 20 if batched else 1):
        sections: dict[str, Any] = {"inputs": {"x": 1.0}, "outputs": {"y": 2.0}}
        sections[section] = rows[start]
        if batched:
            names = dict.fromkeys(name for row in rows[start : start + 20] for name in row)
            gaps = {name: [row.get(name) for row in rows[start : start + 20]] for name in names}
            whole = {name: [1.0] * 20 for name in ("x", "y")}
            sections = {"inputs": {"x": whole["x"]}, "outputs": {"y": whole["y"]}} | {section: gaps}
            columns = {
                name: encoder.columns("m:1", name, found, 20, {}, lambda _: False)
                for name, found in sections.items()
            }
            chunk = encoder.encode_batch("m:1", bytes(16 * 20), 1, columns["inputs"], columns["outputs"])
        else:
            chunk = encoder.encode("m:1", bytes(16), 1, **sections)
        envelopes.append(decode(pack([chunk])))
    read = [envelope.inference(0) for envelope in envelopes]
    captured = [getattr(each, section) for each in read]
    assert len({name for fields in captured for name in fields}) <= NAMES + 400
    assert captured[-1].keys() == {"value", *beside}
    assert captured[-1]["value"].keys() == rows[-20 if batched else -1].keys() - beside.keys()
    found = Reference.fit("m:1", Batch.concat(list(map(Batch.of, envelopes))), settings=DETECT)
    assert all("item" not in name for name in [*found.streams, *found.unwatched])
    assert any("keys vary" in reason for reason in found.unwatched.values())


def test_a_table_of_many_columns_stays_one_of_fields() -> None:
    encoder = Encoder()
    for place in range(20):
        row = {f"x{number}": float(number) for number in range(1_000)} | {f"rare{place}": 1.0}
        found = decode(pack([encoder.encode("m:1", bytes(16), 1, row, {})])).inference(0)
        assert len(found.inputs) == 1_001
