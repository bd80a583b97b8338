"""Hugging Face pipelines as ways in, with small models of random weights."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from support.integration_rows import Answer, way_in
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    BertTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerBase,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    pipeline,
)

import davy

torch.set_num_threads(1)
GROUP, FACE = "pytorch", "Hugging Face"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "day", "night", "rain", "sun", "sea"]
SMALL: dict[str, Any] = {
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}
MOODS = ["bad", "fair", "good"]


def config(*names: str) -> BertConfig:
    return BertConfig(
        **SMALL,
        id2label=dict(enumerate(names)),
        label2id={name: at for at, name in enumerate(names)},
        initializer_range=0.6,
    )


def tokens() -> PreTrainedTokenizerBase:
    with TemporaryDirectory() as directory:
        file = Path(directory) / "vocab.txt"
        file.write_text("\n".join(WORDS))
        words = BertTokenizer(str(file))
    words.chat_template = "{% for each in messages %}{{ each['content'] }} {% endfor %}"
    return words


def piped(task: str, model: Any, **more: Any) -> Any:
    return pipeline(task, model=model.eval(), tokenizer=tokens(), device="cpu", **more)


def texts(count: int, *, shifted: bool, mask: bool = False) -> list[str]:
    """Return texts of two to six words; shifted ones have other words and are longer."""
    rng = np.random.default_rng(1 + shifted)
    vocabulary = WORDS[9:] if shifted else WORDS[5:9]
    found = [rng.choice(vocabulary, rng.integers(2, 6) + 6 * shifted).tolist() for _ in range(count)]
    for words in found if mask else ():
        words[1] = "[MASK]"
    return [" ".join(words) for words in found]


def answering(pipe: Any, **asked: Any) -> Answer:
    def answer(count: int, shifted: bool) -> None:
        pipe(texts(count, shifted=shifted), batch_size=32, **asked)

    return answer


@way_in(GROUP, FACE, "`text-classification`", named="inputs.text")
def classification(model: str) -> Answer:
    torch.manual_seed(0)
    bert = BertForSequenceClassification(config(*MOODS))
    return answering(davy.watch(piped("text-classification", bert), model))


@way_in(GROUP, FACE, "`text-classification`, `top_k=None`", named="inputs.text")
def all_scores(model: str) -> Answer:
    torch.manual_seed(0)
    bert = BertForSequenceClassification(config(*MOODS))
    return answering(davy.watch(piped("text-classification", bert), model), top_k=None)


@way_in(GROUP, FACE, "`token-classification`", named="inputs.text")
def entities(model: str) -> Answer:
    torch.manual_seed(0)
    bert = BertForTokenClassification(config("O", "PLACE", "TIME"))
    return answering(davy.watch(piped("token-classification", bert), model))


@way_in(GROUP, FACE, "`zero-shot-classification`", named="inputs.text")
def zero_shot(model: str) -> Answer:
    torch.manual_seed(0)
    bert = BertForSequenceClassification(config("contradiction", "neutral", "entailment"))
    pipe = davy.watch(piped("zero-shot-classification", bert), model)
    return answering(pipe, candidate_labels=["sun", "rain", "night"])


@way_in(GROUP, FACE, "`fill-mask`", named="inputs.text")
def fill_mask(model: str) -> Answer:
    torch.manual_seed(0)
    pipe = davy.watch(piped("fill-mask", BertForMaskedLM(config())), model)

    def answer(count: int, shifted: bool) -> None:
        pipe(texts(count, shifted=shifted, mask=True), batch_size=32)

    return answer


@way_in(GROUP, FACE, "`feature-extraction`", named="embedding.typicality")
def features(model: str) -> Answer:
    torch.manual_seed(0)
    return answering(davy.watch(piped("feature-extraction", BertModel(config())), model))


def generator() -> Any:
    torch.manual_seed(0)
    gpt = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(WORDS), n_positions=64, n_embd=16, n_layer=1, n_head=2, initializer_range=0.6
        )
    )
    gpt.generation_config.update(max_new_tokens=3, eos_token_id=None, bos_token_id=2, pad_token_id=0)
    return piped("text-generation", gpt)


@way_in(GROUP, FACE, "`text-generation`, two sequences", named="inputs.text")
def generation(model: str) -> Answer:
    return answering(davy.watch(generator(), model), num_return_sequences=2, do_sample=True)


@way_in(GROUP, FACE, "`text-generation`, a chat a call", named="inputs.messages")
def chat(model: str) -> Answer:
    pipe = davy.watch(generator(), model)

    def answer(count: int, shifted: bool) -> None:
        for text in texts(count, shifted=shifted):
            pipe([{"role": "system", "content": "good"}, {"role": "user", "content": text}])

    return answer


@way_in(GROUP, FACE, "`text-classification` of a generator", named="inputs.text")
def stream(model: str) -> Answer:
    torch.manual_seed(0)
    pipe = davy.watch(piped("text-classification", BertForSequenceClassification(config(*MOODS))), model)

    def answer(count: int, shifted: bool) -> None:
        for _ in pipe((text for text in texts(count, shifted=shifted)), batch_size=32):
            pass

    return answer


def pictures(count: int, *, shifted: bool) -> list[Image.Image]:
    rng = np.random.default_rng(3 + shifted)
    shade = rng.uniform(40, 200, (count, 1, 1, 1)) * (0.4 if shifted else 1.0)
    found = np.clip(shade + rng.normal(0, 20, (count, 16, 16, 3)), 0, 255).astype(np.uint8)
    return [Image.fromarray(each) for each in found]


@way_in(GROUP, FACE, "`image-classification`", named="inputs.image")
def image_classification(model: str) -> Answer:
    torch.manual_seed(0)
    names = [f"kind-{at}" for at in range(12)]
    vit = ViTForImageClassification(
        ViTConfig(
            image_size=16, patch_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=16, id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)},
            initializer_range=0.6,
        )
    )  # fmt: skip
    processor = ViTImageProcessor(size={"height": 16, "width": 16})
    pipe = davy.watch(
        pipeline("image-classification", model=vit.eval(), image_processor=processor, device="cpu"), model
    )

    def answer(count: int, shifted: bool) -> None:
        pipe(pictures(count, shifted=shifted), batch_size=32)

    return answer
