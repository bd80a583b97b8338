"""PyTorch, Hugging Face and Keras on their way to a person, with small models of random weights."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from support.integration_keras import keras_answers  # sets the backend before Keras is imported
from support.integration_loop import captures, main
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    BertTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    pipeline,
)

import davy

torch.manual_seed(0)
torch.set_num_threads(1)
X = torch.randn(12, 4)
ANIMALS = ["cat", "cow", "dog"]
MOODS = ["bad", "fair", "good"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "day", "night", "rain", "sun", "sea"]
TEXTS = [f"{first} {second}" for first in WORDS[5:9] for second in WORDS[9:]]
SMALL = {
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}
CONFIG = BertConfig(
    **SMALL, id2label=dict(enumerate(MOODS)), label2id={name: at for at, name in enumerate(MOODS)}
)


def tokens() -> BertTokenizer:
    with TemporaryDirectory() as directory:
        file = Path(directory) / "vocab.txt"
        file.write_text("\n".join(WORDS))
        return BertTokenizer(str(file))


@captures("PyTorch, `logits`")
def logits(model: str) -> list[Any]:
    net = davy.watch(nn.Linear(4, 3).eval(), model, output="logits", class_names=ANIMALS)
    with torch.inference_mode():
        return [ANIMALS[at] for at in net(X).argmax(dim=1)]


@captures("PyTorch, several labels")
def several_labels(model: str) -> list[Any]:
    net = nn.Sequential(nn.Linear(4, 3), nn.Sigmoid()).eval()
    davy.watch(net, model, output="probs", class_names=ANIMALS)
    with torch.inference_mode():
        return [[name for name, each in zip(ANIMALS, row, strict=True) if each >= 0.5] for row in net(X)]


@captures("PyTorch, a number")
def number(model: str) -> list[Any]:
    net = davy.watch(nn.Linear(4, 1).eval(), model)
    with torch.inference_mode():
        return net(X).flatten().tolist()


class Detector(nn.Module):
    """Answers as detectors of torchvision do, a mapping an image."""

    def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        corners = torch.tensor([[1.0, 2.0, 9.0, 12.0], [3.0, 1.0, 14.0, 8.0]])
        return [
            {
                "boxes": corners[: 1 + at % 2] + at / 10,
                "labels": torch.tensor([1, 2][: 1 + at % 2]),
                "scores": torch.tensor([0.9, 0.8][: 1 + at % 2]),
            }
            for at in range(len(images))
        ]


@captures("PyTorch, detection")
def detection(model: str) -> list[Any]:
    net = davy.watch(Detector().eval(), model, class_names=["background", "cat", "dog"])
    with torch.inference_mode():
        found = net([torch.rand(3, 16, 16 + at % 3) for at in range(12)])
    return ["1 cat, 1 dog" if len(each["boxes"]) == 2 else "1 cat" for each in found]


@captures("Hugging Face, `text-classification`")
def classification(model: str) -> list[Any]:
    bert = BertForSequenceClassification(CONFIG).eval()
    pipe = davy.watch(pipeline("text-classification", model=bert, tokenizer=tokens(), device="cpu"), model)
    return [each["label"] for each in pipe(TEXTS)]


@captures("Hugging Face, `text-classification` with `top_k=None`")
def all_scores(model: str) -> list[Any]:
    bert = BertForSequenceClassification(CONFIG).eval()
    pipe = davy.watch(pipeline("text-classification", model=bert, tokenizer=tokens(), device="cpu"), model)
    return [max(each, key=lambda one: one["score"])["label"] for each in pipe(TEXTS, top_k=None)]


@captures("Hugging Face, `token-classification`")
def entities(model: str) -> list[Any]:
    bert = BertForTokenClassification(CONFIG).eval()
    pipe = davy.watch(pipeline("token-classification", model=bert, tokenizer=tokens(), device="cpu"), model)
    pipe(TEXTS)
    return [None] * len(TEXTS)


@captures("Hugging Face, `text-generation`")
def generation(model: str) -> list[Any]:
    return [each[0]["generated_text"] for each in davy.watch(_generator(), model)(TEXTS)]


@captures("Hugging Face, `text-generation` of messages")
def chat(model: str) -> list[Any]:
    pipe = davy.watch(_generator(), model)
    found = [
        pipe([{"role": "system", "content": "good"}, {"role": "user", "content": text}]) for text in TEXTS
    ]
    return [each[0]["generated_text"][-1]["content"] for each in found]


def _generator() -> Any:
    config = GPT2Config(vocab_size=len(WORDS), n_positions=16, n_embd=16, n_layer=1, n_head=2)
    gpt = GPT2LMHeadModel(config).eval()
    gpt.generation_config.update(max_new_tokens=4, eos_token_id=None, bos_token_id=2, pad_token_id=0)
    words = tokens()
    words.chat_template = "{% for each in messages %}{{ each['content'] }} {% endfor %}"
    return pipeline("text-generation", model=gpt, tokenizer=words, device="cpu")


@captures("Hugging Face, `feature-extraction`")
def features(model: str) -> list[Any]:
    bert = BertModel(CONFIG).eval()
    davy.watch(pipeline("feature-extraction", model=bert, tokenizer=tokens(), device="cpu"), model)(TEXTS)
    return [None] * len(TEXTS)


@captures("Hugging Face, a model as a module")
def module(model: str) -> list[Any]:
    bert = davy.watch(BertForSequenceClassification(CONFIG).eval(), model)
    with torch.inference_mode():
        found = bert(**tokens()(TEXTS, padding=True, return_tensors="pt")).logits
    return [MOODS[at] for at in found.argmax(dim=1)]


@captures("Keras, on PyTorch")
def keras(model: str) -> list[Any]:
    return keras_answers(model)


if __name__ == "__main__":
    main()
