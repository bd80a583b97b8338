"""How pipelines are asked and what they answer: kinds of call, task by task, also tasks of other versions."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.sdk_rig import inferences_in
from transformers import BertForMaskedLM, BertForSequenceClassification, BertForTokenClassification, Pipeline
from transformers.pipelines.pt_utils import KeyDataset

import davy
from davy.outputs import Classification, Detection, Entities, MultiLabel, Segmentation, Text, read

sys.path.insert(0, str(Path(__file__).parent))

from rows_transformers import MOODS, config, generator, piped

torch.set_num_threads(1)
TEXTS = ["good day", "bad night", "rain"]
PICTURE = Image.fromarray(np.full((4, 4, 3), 7, np.uint8))


def captured(url: str) -> list[Any]:
    assert davy.flush()
    return inferences_in(url)


@pytest.fixture
def classifier() -> Any:
    torch.manual_seed(0)
    return piped("text-classification", BertForSequenceClassification(config(*MOODS)))


@pytest.mark.parametrize("top_k", [None, 2])
@pytest.mark.parametrize("built", [True, False])
def test_several_classes_of_one_text_are_a_row_however_they_were_asked_for(
    top_k: int | None, built: bool, classifier: Any, own_client: str
) -> None:
    if built:
        classifier = piped("text-classification", classifier.model, top_k=top_k)
    pipe = davy.watch(classifier, "mood:1")
    pipe(TEXTS[0]) if built else pipe(TEXTS[0], top_k=top_k)
    (one,) = captured(own_client)
    assert dict(one.inputs) == {"text": TEXTS[0]}
    assert set(one.outputs) == {"label", "score", "class_names"} | ({"probs"} if top_k is None else set())
    assert not davy.stats()["left_out"]


def test_what_was_asked_keeps_its_name_where_the_answer_is_unreadable(own_client: str) -> None:
    pipe = davy.watch(Answers("text-classification", [{"label": "x", "score": "high"}]), "odd:1")
    pipe(TEXTS[0])
    pipe([TEXTS[1]])
    assert [dict(one.inputs) for one in captured(own_client)] == [{"text": each} for each in TEXTS[:2]]
    assert davy.stats()["left_out"] == {"odd:1 outputs.value: unreadable": 2}


class Answers(Pipeline):
    """A pipeline whose answer is given: what it is called with reaches it, and what it answers reaches the app."""

    def __init__(self, task: str, answer: Any, config: Any = None) -> None:
        self.task = task
        self.answer = answer
        self.model = type("Model", (), {"config": config})()
        self.asked: Any = None

    def __call__(self, inputs: Any = None, *args: Any, **kwargs: Any) -> Any:
        self.asked = inputs
        return self.answer

    def _sanitize_parameters(self, **_: Any) -> Any: ...
    def preprocess(self, *_: Any, **__: Any) -> Any: ...
    def _forward(self, *_: Any, **__: Any) -> Any: ...
    def postprocess(self, *_: Any, **__: Any) -> Any: ...


def test_a_generator_is_captured_answer_by_answer_as_the_app_takes_it(
    classifier: Any, own_client: str
) -> None:
    taken: list[str] = []

    def texts() -> Iterator[str]:
        for text in TEXTS:
            taken.append(text)
            yield text

    plain = list(classifier(iter_of(TEXTS)))
    answers = davy.watch(classifier, "mood:1")(texts())
    assert type(answers).__name__ == type(classifier(iter_of(TEXTS))).__name__
    first = next(iter(answers))
    assert len(taken) < len(TEXTS)
    assert len(captured(own_client)) == 1
    rest = list(answers_left(answers))
    assert [first, *rest] == plain
    found = captured(own_client)
    assert [one.inputs["text"] for one in found] == TEXTS
    assert [one.outputs["label"] for one in found] == [each["label"] for each in plain]


def iter_of(items: list[str]) -> Iterator[str]:
    yield from items


def answers_left(answers: Any) -> Iterator[Any]:
    while True:
        try:
            yield next(answers)
        except StopIteration:
            return


class Rows(torch.utils.data.Dataset):
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, at: int) -> Any:
        return self.items[at]


@pytest.mark.parametrize("keyed", [False, True])
def test_a_data_set_is_captured_with_what_it_holds(keyed: bool, classifier: Any, own_client: str) -> None:
    data: Any = KeyDataset(Rows([{"x": text} for text in TEXTS]), "x") if keyed else Rows(TEXTS)
    answers = davy.watch(classifier, "mood:1")(data, batch_size=2)
    labels = [each["label"] for each in answers]
    found = captured(own_client)
    assert [one.inputs["text"] for one in found] == TEXTS
    assert [one.outputs["label"] for one in found] == labels
    assert type(data) in {KeyDataset, Rows}


def test_an_empty_list_is_no_inference_and_counts_as_none(own_client: str) -> None:
    assert davy.watch(Answers("text-classification", []), "mood:1")([]) == []
    assert captured(own_client) == []
    assert davy.stats()["incomplete"] == {}


@pytest.mark.parametrize("text", ["good", "good day night sun"])
def test_entities_have_the_same_fields_whatever_their_number(text: str, own_client: str) -> None:
    torch.manual_seed(0)
    bert = BertForTokenClassification(config("O", "PLACE", "TIME"))
    pipe = davy.watch(piped("token-classification", bert), "ner:1")
    answers = [pipe(text), pipe("[UNK]", ignore_labels=["O", "PLACE", "TIME"]), pipe([text])[0]]
    found = captured(own_client)
    assert {tuple(sorted(one.outputs)) for one in found} == {("entities", "scores", "spans", "words")}
    for one, answer in zip(found, answers, strict=True):
        assert len(one.outputs["entities"]) == len(one.outputs["scores"]) == len(answer)
        assert isinstance(read(one.outputs), Entities)


def test_masks_one_two_and_in_a_list(own_client: str) -> None:
    torch.manual_seed(0)
    pipe = davy.watch(piped("fill-mask", BertForMaskedLM(config())), "mask:1")
    one, (two, three) = pipe("good [MASK]"), pipe("[MASK] day [MASK]")
    pipe(["bad [MASK]"])
    pipe(["bad [MASK]", "[MASK] day"])
    found = captured(own_client)
    assert len(found) == 5
    assert found[0].outputs["label"] == one[0]["token_str"]
    assert found[1].outputs["label"] == f"{two[0]['token_str']} {three[0]['token_str']}"
    assert found[2].inputs["text"] == found[3].inputs["text"] == "bad [MASK]"
    assert found[2].outputs["score"] == pytest.approx(found[3].outputs["score"])


def chat(text: str) -> list[dict[str, Any]]:
    return [{"role": "system", "content": "good"}, {"role": "user", "content": text}]


@pytest.mark.parametrize(
    "asked", [chat("day"), tuple(chat("day"))[:2], [chat("day")], [chat("day"), chat("sun")]]
)
def test_a_chat_is_one_inference_however_it_comes(asked: Any, own_client: str) -> None:
    davy.watch(generator(), "chat:1")(asked)
    found = captured(own_client)
    assert len(found) == (2 if asked[0] == chat("day") and len(asked) == 2 else 1)
    assert found[0].inputs["messages"] == chat("day")
    assert all(isinstance(read(one.outputs), Text) for one in found)


def test_a_generator_of_chats_gives_one_each(own_client: str) -> None:
    list(davy.watch(generator(), "chat:1")(chat(text) for text in ("day", "sun")))
    found = captured(own_client)
    assert [one.inputs["messages"] for one in found] == [chat("day"), chat("sun")]


def test_pictures_in_a_chat_become_a_field(own_client: str) -> None:
    content = [{"type": "image", "image": PICTURE}, {"type": "text", "text": "What is it?"}]
    messages = [{"role": "user", "content": content}]
    answer = [
        {"input_text": messages, "generated_text": [*messages, {"role": "assistant", "content": "grey"}]}
    ]
    davy.watch(Answers("image-text-to-text", answer), "see:1")(text=messages)
    (one,) = captured(own_client)
    np.testing.assert_array_equal(one.inputs["image"], np.asarray(PICTURE))
    assert one.outputs["generated_text"] == "grey"
    assert content[0]["image"] is PICTURE


BEST = {"score": 0.7, "start": 3, "end": 7, "answer": "late"}


@pytest.mark.parametrize(
    ("task", "answer", "kwargs", "expected"),
    [
        ("question-answering", BEST, {"question": "When?", "context": "It is late."}, BEST),
        ("question-answering", [BEST, {**BEST, "score": 0.1}], {"question": "When?", "context": "…"}, BEST),
        ("document-question-answering", [BEST], {"image": PICTURE, "question": "When?"}, BEST),
        (
            "document-question-answering",
            [],
            {"image": PICTURE, "question": "?"},
            {"answer": "", "score": 0.0},
        ),
    ],
)
def test_an_answer_to_a_question_is_the_best_one(
    task: str, answer: Any, kwargs: dict[str, Any], expected: dict[str, Any], own_client: str
) -> None:
    davy.watch(Answers(task, answer), "ask:1")(**kwargs)
    (one,) = captured(own_client)
    assert dict(one.outputs) == expected
    assert set(one.inputs) == set(kwargs)


def test_lists_of_questions_and_contexts_go_together(own_client: str) -> None:
    asked = {"question": ["When?", "Who?"], "context": ["It is late.", "It is me."]}
    davy.watch(Answers("question-answering", [BEST, {**BEST, "answer": "me"}]), "ask:1")(**asked)
    found = captured(own_client)
    assert [(one.inputs["question"], one.outputs["answer"]) for one in found] == [
        ("When?", "late"),
        ("Who?", "me"),
    ]


def test_several_classes_that_may_hold_have_probabilities_and_no_best(own_client: str) -> None:
    names = ["indoor", "night", "people"]
    kind = config(*names)
    kind.problem_type = "multi_label_classification"
    answer = [
        {"label": "people", "score": 0.9},
        {"label": "indoor", "score": 0.8},
        {"label": "night", "score": 0.1},
    ]
    davy.watch(Answers("text-classification", answer, kind), "many:1")("a picture", top_k=None)
    (one,) = captured(own_client)
    np.testing.assert_allclose(one.outputs["probs"], [0.8, 0.1, 0.9], rtol=1e-6)
    assert isinstance(read(one.outputs), MultiLabel)


def test_the_best_of_many_classes_is_a_label_with_its_score(own_client: str) -> None:
    names = [f"kind-{at}" for at in range(1_000)]
    answer = [{"label": name, "score": 0.3 - at / 20} for at, name in enumerate(names[:5])]
    davy.watch(Answers("image-classification", [answer, answer], config(*names)), "see:1")([PICTURE, PICTURE])
    found = captured(own_client)
    assert [(one.outputs["label"], one.outputs["score"]) for one in found] == [("kind-0", 0.3)] * 2
    answered = read(found[0].outputs)
    assert isinstance(answered, Classification)
    assert answered.confidence == pytest.approx(0.3)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_objects_and_regions_have_the_same_fields_whatever_their_number(count: int, own_client: str) -> None:
    box = {"xmin": 1, "ymin": 2, "xmax": 3, "ymax": 4}
    objects = [{"score": 0.9, "label": "sky", "box": box}] * count
    regions = [
        {"score": None, "label": "sky", "mask": Image.fromarray(np.eye(4, dtype=np.uint8) * 255)}
    ] * count
    places = config("land", "sky")
    davy.watch(Answers("object-detection", objects, places), "find:1")(PICTURE)
    davy.watch(Answers("image-segmentation", regions, places), "map:1")(PICTURE)
    found, mapped = captured(own_client)
    assert found.outputs["boxes"].shape == (count, 4)
    assert isinstance(read(found.outputs), Detection)
    assert len(mapped.outputs["areas"]) == count
    if count:
        np.testing.assert_array_equal(mapped.outputs["mask"], np.where(np.eye(4), 1, 2))
        assert isinstance(read(mapped.outputs), Segmentation)


def test_an_answer_that_fits_no_list_is_one_inference_and_counted(own_client: str) -> None:
    davy.watch(Answers("summarization", [{"summary_text": "all"}]), "sum:1")(["a", "b"])
    (one,) = captured(own_client)
    assert one.inputs["input"] == ["a", "b"]
    assert davy.stats()["incomplete"] == {"batch_as_row": 1}


def test_sound_that_a_pipeline_takes_out_of_its_record_is_captured(own_client: str) -> None:
    class Takes(Answers):
        def __call__(self, inputs: Any = None, *args: Any, **kwargs: Any) -> Any:
            inputs.pop("raw")
            return self.answer

    sound = np.zeros(16, np.float32)
    davy.watch(Takes("automatic-speech-recognition", {"text": "hm"}), "hear:1")(
        {"raw": sound, "sampling_rate": 8}
    )
    (one,) = captured(own_client)
    np.testing.assert_array_equal(one.inputs["audio"], sound)
    assert one.outputs["text"] == "hm"


@pytest.mark.parametrize("task", ["image-classification", "audio-classification"])
def test_the_name_of_a_file_is_a_path_and_no_text(task: str, own_client: str) -> None:
    davy.watch(Answers(task, [{"label": "a", "score": 0.9}]), "file:1")("somewhere/cat.png")
    (one,) = captured(own_client)
    assert dict(one.inputs) == {"path": "somewhere/cat.png"}
