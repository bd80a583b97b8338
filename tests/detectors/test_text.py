"""Texts watched by what they say: what raises an alarm, what stays quiet, what any text whatever gives."""

# ruff: noqa: RUF001

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from davy.codec import dump_any, load_any
from davy.config import DetectSettings
from davy_detectors.batch import Batch
from davy_detectors.checks import watch
from davy_detectors.drift import ScoreDictionaryDetector
from davy_detectors.reference import Reference
from davy_detectors.reference.text import TextModel

from .texts import WORDS, exchange, invented, language, questions, records, sentences

SETTINGS = DetectSettings()
STEP = 20
REFUSED = ("I'm sorry, but I can't help with that.", "As an AI, I am unable to answer this.")


ENGLISH, FEW, GERMAN, RUSSIAN, ARABIC, CHINESE = (
    WORDS[name].split() for name in ("english", "few", "german", "russian", "arabic", "chinese")
)
TEXTS = {
    "invented words": (sentences(invented(1, 3_000)), invented(2, 3_000)),
    "words as usual as each other": (sentences(invented(1, 3_000), zipf=0), invented(2, 3_000)),
    "a dozen words": (sentences(FEW, zipf=0, least=12, most=12), ENGLISH),
    "the same dozen words": (sentences(FEW, zipf=0, least=12, most=12), FEW),
    "templates": (questions, ENGLISH),
    "english": (language("english"), ENGLISH),
    "german": (language("german"), GERMAN),
    "russian": (language("russian"), RUSSIAN),
    "arabic": (language("arabic"), ARABIC),
}


def _batch(model, texts):
    return Batch.from_columns("m:1", {f"x.{name}": values for name, values in model.features(texts).items()})


def _watched(draw, rng, size):
    """Fit on one half of a reference and count on the other."""
    texts = draw(rng, size)
    model = TextModel.fit(texts[: size // 2], answers=True, seed=0)
    reference = Reference.fit("m:1", _batch(model, texts[size // 2 :]), settings=SETTINGS)
    return ScoreDictionaryDetector(reference, SETTINGS), model


def _alarms(draw, changed, *, size=2_000, seed=0, events=200):
    """Watch 1 000 clean texts and then changed ones; return the streams named first, and how late."""
    rng = np.random.default_rng(seed)
    detector, model = _watched(draw, rng, size)
    assert watch(detector, _batch(model, draw(rng, 1_000)), [STEP]) == []
    alarms = watch(detector, _batch(model, changed(rng, events)), [STEP])
    return [found.feature.removeprefix("inputs.x.") for found in alarms[0].features] if alarms else None


@pytest.mark.fast
@pytest.mark.parametrize("name", TEXTS)
def test_every_word_exchanged_for_another_of_equal_length_is_seen_within_200_texts(name):
    draw, words = TEXTS[name]
    assert _alarms(draw, lambda rng, n: exchange(draw(rng, n), words))


@pytest.mark.parametrize("name", TEXTS)
def test_it_is_seen_with_a_reference_of_10_000_too(name):
    draw, words = TEXTS[name]
    assert _alarms(draw, lambda rng, n: exchange(draw(rng, n), words), size=10_000)


@pytest.mark.parametrize("size", [400, 2_000])
@pytest.mark.parametrize("name", [*TEXTS, "chinese", "records"])
def test_another_sample_of_the_same_texts_stays_quiet(name, size):
    """5 x 10 000 texts at one accepted alarm in 20 000: 2.5 accepted; small references, where the band matters."""
    draw = {
        **{key: each for key, (each, _) in TEXTS.items()},
        "chinese": language("chinese"),
        "records": records,
    }[name]
    alarms = 0
    for seed in range(5):
        rng = np.random.default_rng(seed)
        texts = draw(rng, size)
        model = TextModel.fit(texts[: size // 2], answers=True, seed=0)
        settings = DetectSettings(false_alarm_every=20_000)
        reference = Reference.fit("m:1", _batch(model, texts[size // 2 :]), settings=settings)
        detector = ScoreDictionaryDetector(reference, settings)
        alarms += len(watch(detector, _batch(model, draw(rng, 10_000)), [STEP]))
    assert alarms <= 5


def _some(share, change):
    """Change a share of the texts."""

    def draw(rng, n):
        return [change(rng, text) if rng.random() < share else text for text in CHANGED(rng, n)]

    return draw


CHANGED = language("english")


def _refuse(rng, text):
    return REFUSED[rng.integers(len(REFUSED))]


def _loop(rng, text):
    words = text.split()
    return " ".join(
        words[: len(words) // 3] + words[len(words) // 3 : len(words) // 3 + 3] * (len(words) // 4 + 1)
    )


CHANGES = {
    "another language in the same script": (CHANGED, language("german"), "words"),
    "another script": (language("german"), language("russian"), "script"),
    "loops": (CHANGED, _some(0.3, _loop), "repetition"),
    "refusals, from 2 % to 20 %": (_some(0.02, _refuse), _some(0.2, _refuse), "shape"),
    "broken JSON": (records, lambda rng, n: [r[:-9] if rng.random() < 0.2 else r for r in records(rng, n)], "shape"),
    "empty answers": (CHANGED, _some(0.1, lambda rng, text: "  "), "shape"),
    "all in capitals": (CHANGED, _some(0.3, lambda rng, text: text.upper()), "upper"),
    "words in another order": (
        questions,
        lambda rng, n: [" ".join(rng.permutation(text.split())) for text in questions(rng, n)],
        "words",
    ),
    "letters that are not words": (
        CHANGED,
        lambda rng, n: ["".join(rng.permutation(list(text))) for text in CHANGED(rng, n)],
        "typicality",
    ),
}  # fmt: skip


@pytest.mark.fast
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_what_texts_say_is_seen_within_200_and_named(name):
    before, after, stream = CHANGES[name]
    assert stream in (_alarms(before, after) or ())


@pytest.mark.fast
def test_another_chinese_text_of_the_same_length_is_seen():
    other = dict(zip(map(ord, CHINESE), reversed(CHINESE), strict=True))
    draw = language("chinese")
    assert _alarms(draw, lambda rng, n: [text.translate(other) for text in draw(rng, n)])


MODEL = TextModel.fit(
    [*language("english")(np.random.default_rng(0), 200), "Ein 中文 текст", ""], answers=True, seed=0
)
ODD = [
    None, "", " \n\t ", "\0\0", "\ud800", "日本語のテキスト。", "中文文本", "Привет, мир", "مرحبا بالعالم", "שלום",
    "한국어", "สวัสดี", "😀😀 hi", "x" * 100_000, "İSTANBUL", "e\u0301te\u0301", "[" * 5_000, '{"a": NaN}', "12,5 €",
]  # fmt: skip


@pytest.mark.fast
@given(st.lists(st.none() | st.sampled_from(ODD) | st.text(st.characters(codec=None))))
def test_any_text_gives_the_same_numbers_alone_as_in_a_batch_and_none_that_is_not_finite(texts):
    together = MODEL.features(texts)
    assert list(together) == [name for name, _ in MODEL.streams]
    for row, text in enumerate(texts):
        for (name, kind), (found,) in zip(MODEL.streams, MODEL.features([text]).values(), strict=True):
            if kind == "categorical":
                assert found == together[name][row]
                assert (found is None) == (text is None)
            else:
                assert np.array_equal(found, together[name][row], equal_nan=True)
                assert np.isfinite(found) == (text is not None)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("text", "script", "shape"),
    [
        ("Wie spät ist es?", "Latin", "plain"), ("Который час?", "Cyrillic", "plain"), ("現在時間", "Han", "plain"),
        ("いまは何時ですか", "Japanese", "plain"), ("كم الساعة", "Arabic", "plain"), ("12:30 😀", "none", "plain"),
        ("지금 몇 시", "Hangul", "plain"), ("समय क्या है", "Indic", "plain"), ("", "none", "empty"),
        ('{"hour": 12}', "Latin", "json"), ('{"hour": 12', "Latin", "broken json"),
        ("[" * 9_000, "none", "broken json"),
        ("```python\nx = 1\n```", "Latin", "code"), ('```json\n{"a": 1}\n```', "Latin", "json"),
        ("I’m sorry, I can’t say.", "Latin", "refusal"), ("Извините, я не могу.", "Cyrillic", "refusal"),
        ("对不起,我不能回答。", "Han", "refusal"), ("Es tut mir leid, das kann ich nicht.", "Latin", "refusal"),
    ],
)  # fmt: skip
def test_script_and_shape_are_those_a_reader_would_name(text, script, shape):
    found = MODEL.features([text])
    assert (found["script"][0], found["shape"][0]) == (script, shape)


@pytest.mark.fast
def test_shares_of_characters_are_what_they_say():
    found = MODEL.features(["AB cd 12 ?!", "abababababababababab", "abcdefghijklmnopqrst"])
    shares = {name: values[0] for name, values in found.items() if values.dtype == float}
    assert shares["letters"] == shares["space"] + 1 / 11 == 4 / 11
    assert shares["digits"] == shares["punctuation"] == 2 / 11
    assert (shares["upper"], shares["length"]) == (0.5, 11)
    assert found["repetition"][1] > 0.5 > found["repetition"][2] == 0


@pytest.mark.fast
def test_a_model_travels_in_64_kilobytes_however_much_it_has_read_and_says_the_same_after():
    draw = sentences(invented(3, 20_000), most=300)
    model = TextModel.fit([*draw(np.random.default_rng(0), 300), None], answers=False, seed=0)
    data = dump_any(model.dump())
    assert len(data) <= 64_000
    asked = draw(np.random.default_rng(1), 20)
    again = TextModel.load(load_any(data)).features(asked)
    assert "shape" not in again
    for name, values in model.features(asked).items():
        assert values.tolist() == again[name].tolist()


@pytest.mark.fast
def test_the_same_texts_give_the_same_model_and_more_than_can_be_read_a_random_part():
    texts = questions(np.random.default_rng(0), 25_000)
    one, same, other = (TextModel.fit(texts, answers=True, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(one.grams, same.grams)
    assert not np.array_equal(one.grams, other.grams)


@pytest.mark.fast
def test_of_a_huge_text_the_beginning_and_the_end_are_looked_at():
    text = "the price is good " * 60_000
    found = MODEL.features([text, text[:-7_000] + "цена и погода " * 500, json.dumps([text]), "{" + text])
    assert found["length"].tolist()[0] == len(text)
    assert found["typicality"][1] < found["typicality"][0] - 1
    assert found["shape"].tolist() == ["plain", "plain", "json", "broken json"]
