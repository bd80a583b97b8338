"""What a field is: decided once, read however it comes, said by the user where guessing fails."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from davy.config import DetectSettings
from davy.errors import ReferenceInvalid
from davy.event import BlobRef, Column
from davy.fields.fitting import kind_of
from davy.fields.reading import categories, clocks, numbers, texts, times, vectors
from davy_detectors.batch import Batch
from davy_detectors.checks import watch
from davy_detectors.drift import ScoreDictionaryDetector
from davy_detectors.reference import Reference
from davy_detectors.reference.features import features

pytestmark = pytest.mark.fast
SETTINGS = DetectSettings()
SECOND = 10**9
BEGIN = 1_760_000_000 * SECOND
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=4),
    st.binary(max_size=4),
    st.lists(st.floats(), max_size=3),
    st.lists(st.lists(st.integers(0, 9), min_size=2, max_size=2), max_size=2),
    st.lists(st.text(max_size=3), max_size=2),
    st.dictionaries(st.text(max_size=2), st.floats(), max_size=2),
    st.builds(BlobRef, st.just("0" * 64), st.integers(0, 9), st.just("image/png")),
    st.builds(np.zeros, st.tuples(st.integers(0, 3), st.integers(0, 3)), st.sampled_from(["f4", "u1", "?"])),
)


def column(*values: Any) -> Column:
    rows = np.empty(len(values), object)
    rows[:] = values
    return Column(rows)


def fit(columns: dict[str, Any], *fields: tuple[str, str], **more: Any) -> Reference:
    at = more.pop("at", None)
    batch = Batch.from_columns("m:1", columns, at=at)
    return Reference.fit("m:1", batch, settings=DetectSettings(fields=fields), **more)


@given(st.lists(VALUES, min_size=1, max_size=12))
def test_any_mixture_of_values_is_read_by_every_kind_and_never_raises(values: list[Any]) -> None:
    given_column = column(*values)
    kind_of(given_column)
    for read in (numbers, times, clocks):
        assert read(given_column).dtype == np.float64
    assert len(texts(given_column)) == len(values)
    assert all(key is None or isinstance(key, str) for key in categories(given_column))
    vectors(given_column)
    found = features(
        Batch.from_columns("m:1", {"x": values, "outputs.label": values, "outputs.probs": values})
    )
    assert all(len(feature.values) == len(values) for feature in found.values())


@given(st.lists(VALUES, min_size=1, max_size=8), st.lists(VALUES, min_size=1, max_size=8))
def test_whatever_a_live_column_holds_it_gives_the_streams_of_the_reference(
    known: list[Any], live: list[Any]
) -> None:
    schema_of = Batch.from_columns("m:1", {"x": known * 30})
    reference = (
        Reference.fit("m:1", schema_of, settings=DetectSettings(flag_share=0)) if len(known) > 6 else None
    )
    if reference is None:
        return
    bins = reference.scored(Batch.from_columns("m:1", {"x": live})).bins
    assert bins.shape == (len(reference.streams), len(live))


@pytest.mark.parametrize("hole", [None, float("nan"), np.float64("nan"), np.datetime64("NaT", "D"), ""])
def test_what_is_missing_is_missing_in_every_kind_of_column(hole: Any) -> None:
    assert np.isnan(numbers(column(1.0, hole))[1])
    assert np.isnan(times(column("2024-01-01", hole))[1])
    assert categories(column("a", hole))[1] is None
    assert texts(column("a", hole))[1] is None
    assert kind_of(column(*["2024-01-01", hole] * 9)).form == "time"


def test_a_moment_is_the_same_as_a_header_of_http_spells_it_and_as_iso_8601_does() -> None:
    spelt = ["Sat, 28 Nov 2026 10:00:00 GMT", "28 Nov 2026 12:00:00 +0200", "Sat, 28 Nov 2026 05:00 EST"]
    assert set(times(column(*spelt, "2026-11-28T10:00:00Z"))) == {1_795_860_000.0}


def test_infinity_and_what_is_no_number_are_not_finite_and_not_missing() -> None:
    reference = fit({"x": np.random.default_rng(0).normal(size=500)})
    odd = Batch.from_columns("m:1", {"x": [np.inf, -np.inf, "deep", [1.0, 2.0], None]})
    (bins,) = reference.scored(odd).bins
    missing = reference.bins["inputs.x"].missing
    assert bins.tolist() == [missing + 1] * 4 + [missing]


@pytest.mark.parametrize(
    ("values", "form"),
    [
        (["00123", "04567"] * 9, "category"),
        (["1234567890123456", "1234567890123457"] * 9, "category"),
        (["12.50", "3.75"] * 9, "number"),
        (["2024-01-31", "2024-02-29"], "time"),
        (["2024-01-31T10:00:00+02:00", "2024-01-31T10:00:00.123456789Z"], "time"),
        (["Sat, 28 Nov 2026 10:00:00 GMT", "1 Feb 2026 09:30 -0500"], "time"),
        (["Sat, 28 Nov of that year", "Sun, 31 Nov 2026 10:00:00 GMT"], "category"),
        (["10:30", "23:59:59"], "clock"),
        (["true", "False"], "category"),
        ([datetime(2024, 1, 1), None], "time"),  # noqa: DTZ001 - without a zone
        ([date(2024, 1, 1)], "time"),
        ([f"answer {i} of many" for i in range(100)], "text"),
        ([[], [[0.0, 0.0, 1.0, 1.0]], [[0.0] * 4] * 3], "rows"),
        ([np.zeros((0, 4)), np.zeros((2, 4))], "rows"),
        ([[1.0, 2.0], [1.0], []], "ragged"),
        ([[1.0, None, 3.0], [1.0, 2.0, 3.0]], "vector"),
        ([np.ones((1, 3)), np.ones(3)], "vector"),
        ([np.ones((9, 9)), np.ones((8, 7, 3))], "image"),
        ([b"ab", b"abc"], "bytes"),
        ([1, 2.5, 3], "number"),
        ([{"role": "user"}, {"role": "tool"}], "category"),
    ],
)
def test_a_field_is_what_its_values_say(values: list[Any], form: str) -> None:
    assert kind_of(column(*values)).form == form


def _uuid1(moment: int, random: int) -> str:
    return str(
        UUID(fields=(moment % 2**32, moment >> 32 & 0xFFFF, moment >> 48, 0x80, 1, random % 2**12 * 3))
    )


def _ulid(moment: int, random: int) -> str:
    number = moment // 10_000 << 80 | random * 2**20 + 7
    return "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[number >> shift & 31] for shift in range(125, -5, -5))


IDENTIFIERS: dict[str, Any] = {
    "uuid1": _uuid1,
    "ulid": _ulid,
    "hash": lambda _, random: f"{random * 0x9E3779B97F4A7C15 % 2**64:016x}",
    "order": lambda moment, _: f"ORD-{moment // 10**7:012d}",
    "token": lambda moment, random: f"v1.{moment:x}.{random:x}==",
}


def identifiers(make: Any, begin: int, count: int) -> list[str]:
    """Make identifiers, one a second, whose times are counted in units of 100 ns."""
    randoms = np.random.default_rng(begin).integers(2**58, 2**59, count).tolist()
    return [make((1_400_000_000 + begin + i) * 10**7, random) for i, random in enumerate(randoms)]


@pytest.mark.parametrize("name", IDENTIFIERS)
def test_identifiers_are_quiet_as_time_goes_on_and_raise_an_alarm_when_empty_or_of_another_length(
    name: str,
) -> None:
    make = IDENTIFIERS[name]
    reference = fit({"id": identifiers(make, 0, 2_000)})
    assert reference.streams == ("inputs.id.length",)

    def alarms(values: list[str]) -> list[Any]:
        detector = ScoreDictionaryDetector(reference, SETTINGS)
        return watch(detector, Batch.from_columns("m:1", {"id": values}), [50])

    later = identifiers(make, 10**7, 4_000)
    assert not alarms(later)
    assert alarms(["" if i % 2 else text for i, text in enumerate(later[:300])])
    assert alarms([text[:-4] for text in later[:300]])


def test_distinct_texts_that_are_no_identifiers_or_that_the_user_calls_text_are_watched_as_text() -> None:
    prose = [f"item {i} of many" for i in range(300)]
    answers = [f'{{"age":{i}}}' for i in range(300)]
    orders = identifiers(IDENTIFIERS["order"], 0, 300)
    names = ["".join(map(chr, row)) for row in np.random.default_rng(0).integers(97, 123, (300, 9)).tolist()]
    columns = {"prose": prose, "answers": answers, "orders": orders, "names": names}
    reference = fit(columns, ("orders", "text"))
    assert {f"inputs.{name}.typicality" for name in columns} <= set(reference.streams)


def test_a_mapping_with_a_long_tail_of_keys_is_named_once_and_quiet_in_whatever_form_it_comes() -> None:
    rng = np.random.default_rng(0)

    def batch(count: int, *, whole: bool = False) -> Batch:
        bags = [
            {f"k{key}": float(rng.poisson(3)) for key in rng.zipf(1.3, 8) if key < 5_000}
            for _ in range(count)
        ]
        columns: dict[str, Any] = {"x": rng.normal(size=count), "user.age": rng.normal(size=count)}
        if whole:
            return Batch.from_columns("m:1", {**columns, "bag": bags})
        keys = dict.fromkeys(key for bag in bags for key in bag)
        spread = {f"bag.{key}": [bag.get(key) for bag in bags] for key in keys}
        return Batch.from_columns("m:1", {**columns, **spread})

    for known in (batch(1_000), batch(1_000, whole=True), Batch.concat([batch(50), batch(950, whole=True)])):
        reference = Reference.fit("m:1", known, settings=SETTINGS)
        assert reference.streams == ("inputs.x", "inputs.user.age")
        assert list(reference.unwatched) == ["inputs.bag"]
        assert "its keys vary" in reference.unwatched["inputs.bag"]
        assert reference.schema.reason(("inputs", "bag.new")) == (
            "inputs.bag",
            reference.unwatched["inputs.bag"],
        )
        for live in (batch(1_000), batch(1_000, whole=True)):
            assert not watch(ScoreDictionaryDetector(reference, SETTINGS), live, [50])
    asked = Reference.fit("m:1", batch(1_000), settings=DetectSettings(fields=[("bag.k1", "numeric")]))
    assert "inputs.bag.k1" in asked.streams


def test_a_mapping_kept_as_one_value_is_judged_by_the_keys_of_the_mappings_in_it() -> None:
    rng = np.random.default_rng(0)
    wide = [{f"c{i}": float(rng.normal()) for i in range(300)} for _ in range(300)]
    varied = [
        {"age": 4.0, "seen": {f"k{key}": {"n": 1.0} for key in rng.integers(0, 900, 9)}} for _ in range(300)
    ]
    reference = fit({"wide": wide, "varied": varied})
    assert list(reference.unwatched) == ["inputs.varied"]
    assert all(name.startswith("inputs.wide") for name in reference.streams)


def test_many_fields_beside_or_in_a_mapping_are_watched_when_its_keys_do_not_vary() -> None:
    rng = np.random.default_rng(0)
    steady = {f"row.c{i}": rng.normal(size=300) for i in range(40)}
    seldom = {f"row.tags.k{i}": np.where(rng.random(300) < 0.05, 1.0, np.nan) for i in range(40)}
    few = {f"opt.k{i}": np.where(rng.random(300) < 0.05, 1.0, np.nan) for i in range(20)}
    reference = fit({**steady, **seldom, **few})
    assert list(reference.unwatched) == ["inputs.row.tags"]
    assert len(reference.streams) == 60
    assert not any(name.startswith("inputs.row.tags") for name in reference.streams)


def test_a_value_in_single_precision_is_the_value_that_a_file_spells() -> None:
    rng = np.random.default_rng(0)
    prices = [0.1, 0.3, 1.1, 9.99]
    reference = fit({"x": rng.choice(prices, 3_000), "y": np.full(3_000, 0.1)})
    single = {"x": rng.choice(prices, 3_000).astype(np.float32), "y": np.full(3_000, 0.1, np.float32)}
    assert not watch(ScoreDictionaryDetector(reference, SETTINGS), Batch.from_columns("m:1", single), [50])
    back = fit(single)
    double = {"x": rng.choice(prices, 3_000), "y": np.full(3_000, 0.1)}
    assert not watch(ScoreDictionaryDetector(back, SETTINGS), Batch.from_columns("m:1", double), [50])


def test_images_without_boxes_are_no_other_kind_of_field_whatever_holds_them() -> None:
    rng = np.random.default_rng(0)

    def boxes(count: int, scale: float = 1.0) -> list[Any]:
        return [(rng.random((rng.poisson(1.5), 4)) * scale).tolist() for _ in range(count)]

    reference = fit({"outputs.boxes": boxes(2_000)})
    detector = ScoreDictionaryDetector(reference, SETTINGS)
    arrays = [np.array(value).reshape(-1, 4) for value in boxes(2_000)]
    assert not watch(detector, Batch.from_columns("m:1", {"outputs.boxes": boxes(2_000)}), [50])
    assert not watch(detector, Batch.from_columns("m:1", {"outputs.boxes": arrays}), [50])
    alarm = watch(detector, Batch.from_columns("m:1", {"outputs.boxes": boxes(400, 5.0)}), [50])[0]
    assert alarm.features[0].feature.startswith("outputs.boxes")


@pytest.mark.parametrize(
    ("name", "scale", "beside", "streams"),
    [
        ("boxes", 1.0, "", "count"),
        ("found", 1.0, "scores", "count"),
        ("found", 640.0, "", "count"),
        ("found", 1.0, "", "brightness"),
        ("found", 255.0, "", "brightness"),
    ],
)
def test_four_boxes_everywhere_are_boxes_by_name_by_their_scores_or_by_numbers_that_are_no_pixels(
    name: str, scale: float, beside: str, streams: str
) -> None:
    rng = np.random.default_rng(0)
    columns = {f"outputs.{name}": rng.random((600, 4, 4)) * scale}
    if beside:
        columns[f"outputs.{beside}"] = rng.random((600, 4))
    assert f"outputs.{name}.{streams}" in fit(columns).streams


def test_small_pictures_stay_pictures_and_other_small_squares_are_none() -> None:
    rng = np.random.default_rng(0)
    digits, standard = rng.random((600, 8, 8)) * 16, rng.normal(size=(600, 8, 8)).clip(-4, 4)
    forms = [
        kind_of(Column(values)).form for values in (digits, standard, digits * 100, digits.astype(np.uint8))
    ]
    assert forms == ["image", "image", "tensor", "image"]


def test_a_field_of_now_is_always_young_and_one_of_a_fixed_day_grows_old() -> None:
    rng = np.random.default_rng(0)
    at = BEGIN + np.arange(2_000) * SECOND

    def batch(moments: Any, delay: int) -> Batch:
        stamps = (moments + np.zeros(2_000)).astype("M8[s]")
        return Batch.from_columns("m:1", {"t": stamps}, at=at + delay * SECOND)

    now = at // SECOND
    reference = Reference.fit("m:1", batch(now, 0), settings=SETTINGS)
    year = 365 * 86_400
    assert not watch(ScoreDictionaryDetector(reference, SETTINGS), batch(now + year, year), [50])
    assert watch(ScoreDictionaryDetector(reference, SETTINGS), batch(now, year), [50])
    opened = BEGIN // SECOND - rng.integers(0, 30 * 86_400, 2_000)
    reference = Reference.fit("m:1", batch(opened, 0), settings=SETTINGS)
    assert watch(ScoreDictionaryDetector(reference, SETTINGS), batch(opened - year, 0), [50])


def test_a_row_of_another_width_is_left_out_alone_and_said() -> None:
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=17 if i == 300 else 16) for i in range(600)]
    reference = fit({"embedding": rows, "x": rng.normal(size=600)})
    assert "embedding.typicality" in reference.streams
    assert list(reference.unwatched) == ["embedding (1 of 600)"]
    live = Batch.from_columns("m:1", {"embedding": rows[299:302]})
    assert np.isnan(reference.scored(live).scores["mahalanobis"]).tolist() == [False, True, False]


@pytest.mark.parametrize("value", [{"a": 1.0}, np.ones((3, 4)), "text"])
def test_an_embedding_that_is_no_vector_has_one_said_reason(value: Any) -> None:
    reference = fit({"embedding": [value] * 300, "x": np.arange(300.0)})
    assert "not a vector of numbers" in reference.unwatched["embedding"]


def test_the_user_decides_where_guessing_fails() -> None:
    rng = np.random.default_rng(0)
    columns = {
        "zip": rng.integers(10_000, 99_999, 500),
        "user_id": rng.integers(0, 10**9, 500),
        "stamp": 1_700_000_000.0 + rng.random(500) * 1e6,
        "note": rng.choice(np.array(["a", "b"], object), 500),
        "size": rng.choice(np.array(["1 m", "2 m"], object), 500),
        "grade": np.array([str(i % 3) for i in range(500)], object),
    }
    asked = [
        ("m:*/zip", "categorical"),
        ("inputs.*_id", "ignore"),
        ("stamp", "time"),
        ("note", "text"),
        ("grade", "numeric"),
        ("other:1/size", "ignore"),
    ]
    reference = fit(columns, *asked)
    schema = reference.schema.fields
    assert {name: each.kind.form for name, each in schema.items()} == {
        "inputs.zip": "category",
        "inputs.stamp": "time",
        "inputs.note": "text",
        "inputs.size": "category",
        "inputs.grade": "number",
    }
    assert reference.unwatched == {"inputs.user_id": "ignored, as asked"}
    with pytest.raises(ReferenceInvalid, match=r"inputs\.note.*numeric"):
        fit(columns, ("note", "numeric"))


def test_what_no_inference_ever_has_is_no_alarm_and_what_vanishes_is() -> None:
    rng = np.random.default_rng(0)

    def batch(count: int, *names: str) -> Batch:
        return Batch.from_columns("m:1", {name: rng.normal(size=count) for name in names})

    of_file = Reference.fit("m:1", batch(2_000, "age", "target"), settings=SETTINGS, proven=False)
    detector = ScoreDictionaryDetector(of_file, SETTINGS)
    assert not watch(detector, batch(2_000, "age"), [50])
    resumed = ScoreDictionaryDetector(of_file, SETTINGS)
    resumed.restore(detector.to_bytes())
    assert not watch(resumed, batch(500, "age", "target"), [50])
    assert watch(resumed, batch(500, "age"), [50])[0].features[0].feature == "inputs.target"
    of_log = Reference.fit("m:1", batch(2_000, "age", "target"), settings=SETTINGS)
    assert watch(ScoreDictionaryDetector(of_log, SETTINGS), batch(500, "age"), [50])


def test_classes_are_told_by_name_where_names_are_known_in_whatever_order_they_come() -> None:
    rng = np.random.default_rng(0)

    def batch(names: list[str] | None, count: int = 1_000) -> Batch:
        cats = rng.random(count) < 0.8
        probs = np.where(cats[:, None], [0.9, 0.1], [0.2, 0.8])
        if names == ["dog", "cat"]:
            probs = probs[:, ::-1]
        columns: dict[str, Any] = {"outputs.probs": probs}
        if names:
            columns["outputs.class_names"] = [names] * count
        return Batch.from_columns("m:1", columns)

    named = Reference.fit("m:1", batch(["cat", "dog"]), settings=SETTINGS)
    unnamed = Reference.fit("m:1", batch(None), settings=SETTINGS)
    assert named.bins["outputs.label"].categories == ("cat", "dog")  # type: ignore[union-attr]
    assert "outputs.class_names" not in named.schema.fields
    for reference, live in ((named, ["dog", "cat"]), (named, None), (unnamed, ["cat", "dog"])):
        assert not watch(ScoreDictionaryDetector(reference, SETTINGS), batch(live), [50])


def test_an_old_reference_is_refused_with_what_to_do() -> None:
    from davy.codec import dump_any, load_any
    from davy.errors import DecodeError

    state = load_any(fit({"x": np.arange(300.0)}).to_bytes())
    with pytest.raises(DecodeError, match="fit the reference again"):
        Reference.from_bytes(dump_any({**state, "v": 1}))
