"""Hugging Face pipelines, with small models of random weights."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.sdk_rig import inferences_in
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    BertTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    Pipeline,
    pipeline,
)

import davy

torch.set_num_threads(1)
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "day"]
CONFIG = BertConfig(
    vocab_size=len(WORDS),
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=16,
    id2label={0: "bad", 1: "fair", 2: "good"},
    label2id={"bad": 0, "fair": 1, "good": 2},
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    file: Path = tmp_path_factory.mktemp("words") / "vocab.txt"
    file.write_text("\n".join(WORDS))
    return BertTokenizer(str(file))


@pytest.fixture(scope="module")
def classifier(tokenizer: Any) -> Any:
    torch.manual_seed(0)
    model = BertForSequenceClassification(CONFIG).eval()
    return pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")


def test_one_text_and_many_give_label_and_score(classifier: Any, own_client: str) -> None:
    watched = davy.watch(classifier, "mood:1")
    assert isinstance(watched, Pipeline)
    (one,) = watched("good day")
    many = watched(["bad day", "day"])
    davy.flush()
    found = inferences_in(own_client)
    assert [dict(each.inputs) for each in found] == [
        {"text": "good day"},
        {"text": "bad day"},
        {"text": "day"},
    ]
    assert [each.outputs["label"] for each in found] == [answer["label"] for answer in (one, *many)]
    assert [each.outputs["score"] for each in found] == [answer["score"] for answer in (one, *many)]


def test_all_scores_become_probabilities_in_the_order_of_the_classes(
    classifier: Any, own_client: str
) -> None:
    (scores,) = davy.watch(classifier, "mood:1")(["good day"], top_k=None)
    davy.flush()
    (one,) = inferences_in(own_client)
    ordered = {each["label"]: each["score"] for each in scores}
    np.testing.assert_allclose(one.outputs["probs"], [ordered[name] for name in ("bad", "fair", "good")])
    assert one.outputs["label"] == max(ordered, key=ordered.__getitem__)


def test_features_become_the_embedding(tokenizer: Any, own_client: str) -> None:
    extract = pipeline(
        "feature-extraction", model=BertModel(CONFIG).eval(), tokenizer=tokenizer, device="cpu"
    )
    tokens = davy.watch(extract, "features:1")("good day")
    davy.flush()
    (one,) = inferences_in(own_client)
    np.testing.assert_allclose(one.embedding, np.mean(tokens[0], axis=0), rtol=1e-5)


def test_a_transformer_called_as_a_module_gives_its_logits(tokenizer: Any, own_client: str) -> None:
    model = davy.watch(BertForSequenceClassification(CONFIG).eval(), "mood:2")
    with torch.inference_mode():
        answer = model(**tokenizer(["good day", "bad"], padding=True, return_tensors="pt"))
    davy.flush()
    found = inferences_in(own_client)
    np.testing.assert_array_equal([one.outputs["logits"] for one in found], answer.logits)
    assert {"input_ids", "attention_mask"} <= set(found[0].inputs)


@pytest.mark.parametrize("many", [False, True])
def test_a_chat_is_one_inference_and_its_last_message_the_answer(
    many: bool, tokenizer: Any, own_client: str
) -> None:
    gpt = GPT2LMHeadModel(
        GPT2Config(vocab_size=len(WORDS), n_positions=16, n_embd=16, n_layer=1, n_head=2)
    ).eval()
    gpt.generation_config.update(max_new_tokens=2, eos_token_id=None, bos_token_id=2, pad_token_id=0)
    words = copy.deepcopy(tokenizer)
    words.chat_template = "{% for each in messages %}{{ each['content'] }} {% endfor %}"
    watched = davy.watch(pipeline("text-generation", model=gpt, tokenizer=words, device="cpu"), "chat:1")
    asked = [{"role": "system", "content": "good"}, {"role": "user", "content": "day"}]
    answer = watched([asked])[0] if many else watched(asked)
    davy.flush()
    (one,) = inferences_in(own_client)
    assert one.inputs["messages"] == asked
    assert one.outputs["generated_text"] == answer[0]["generated_text"][-1]["content"]
