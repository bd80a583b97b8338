"""Modules, detectors, encoders and trainers as ways in."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from rows_transformers import GROUP, config, generator, texts, tokens
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Pooling
from stand_ins import BaseDetector, ultralytics
from support.integration_rows import Answer, way_in
from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from transformers import BertModel

import davy

BATCH = 40


def shades(count: int, *, shifted: bool, size: int = 16) -> np.ndarray:
    rng = np.random.default_rng(7 + shifted)
    shade = rng.uniform(40, 200, (count, 1, 1, 1)) * (0.4 if shifted else 1.0)
    return np.clip(shade + rng.normal(0, 20, (count, size, size, 3)), 0, 255).astype(np.uint8)


def floats(count: int, *, shifted: bool, size: int = 16) -> torch.Tensor:
    return torch.tensor(shades(count, shifted=shifted, size=size)).permute(0, 3, 1, 2).float() / 255


@way_in(GROUP, "PyTorch", "module, a batch, `embedding=`", named="inputs.x")
def module(model: str) -> Answer:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(768, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    davy.watch(net, model, output="logits", embedding="2", inputs=lambda x: {"x": x})

    def answer(count: int, shifted: bool) -> None:
        with torch.inference_mode():
            for part in floats(count, shifted=shifted).split(BATCH):
                net(part)

    return answer


@way_in(GROUP, "PyTorch", "`generate()`, with `tokenizer=`", named="inputs.text")
def generate(model: str) -> Answer:
    words = tokens()
    gpt = davy.watch(generator().model, model, tokenizer=words)

    def answer(count: int, shifted: bool) -> None:
        asked = texts(count, shifted=shifted)
        for at in range(0, count, BATCH):
            given = words(asked[at : at + BATCH], padding=True, padding_side="left", return_tensors="pt")
            gpt.generate(given["input_ids"], attention_mask=given["attention_mask"])

    return answer


@way_in(GROUP, "PyTorch", "a causal model's forward pass", named="inputs.input_ids")
def forward(model: str) -> Answer:
    words = tokens()
    gpt = davy.watch(generator().model, model)

    def answer(count: int, shifted: bool) -> None:
        asked = texts(count, shifted=shifted)
        with torch.inference_mode():
            for text in asked:
                gpt(input_ids=words(text, return_tensors="pt")["input_ids"])

    return answer


class Backbone(nn.Module):
    out_channels = 4

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, stride=4, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


@way_in(GROUP, "torchvision", "`FasterRCNN`, a list of pictures", named="inputs.images")
def torchvision(model: str) -> Answer:
    torch.manual_seed(0)
    net = FasterRCNN(
        Backbone(), num_classes=3, min_size=16, max_size=16, box_detections_per_img=5, box_score_thresh=0.2,
        rpn_anchor_generator=AnchorGenerator(sizes=((8,),), aspect_ratios=((1.0,),)),
        rpn_pre_nms_top_n_test=10, rpn_post_nms_top_n_test=10,
    ).eval()  # fmt: skip
    davy.watch(net, model, class_names=["background", "cat", "dog"])

    def answer(count: int, shifted: bool) -> None:
        with torch.inference_mode():
            for part in floats(count, shifted=shifted).split(BATCH):
                net([*part])

    return answer


@way_in(GROUP, "Ultralytics", "`YOLO(…)(picture)`", named="inputs.image")
def yolo(model: str) -> Answer:
    net = davy.watch(ultralytics()(), model)

    def answer(count: int, shifted: bool) -> None:
        for image in shades(count, shifted=shifted, size=8):
            net(image)

    return answer


@way_in(GROUP, "MMDetection", "detector, a batch", named="inputs.inputs")
def mmdet(model: str) -> Answer:
    net = davy.watch(BaseDetector().eval(), model, class_names=["cat", "cow", "dog"])

    def answer(count: int, shifted: bool) -> None:
        for part in torch.tensor(shades(count, shifted=shifted, size=8)).split(BATCH):
            net([*part])

    return answer


class Words(nn.Module):
    """The first module of a sentence transformer: from texts to what the model thinks of their tokens."""

    save_in_root = True

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.bert = BertModel(config()).eval()
        self.words = tokens()
        self.max_seq_length = 32
        self.tokenizer = self.words

    def preprocess(self, texts: Any, *_: Any, **__: Any) -> Any:
        return self.tokenize(texts)

    def tokenize(self, texts: Any, **_: Any) -> Any:
        return dict(self.words(list(texts), padding=True, return_tensors="pt"))

    def forward(self, features: Any, **_: Any) -> Any:
        asked = {name: features[name] for name in ("input_ids", "attention_mask")}
        return {**features, "token_embeddings": self.bert(**asked).last_hidden_state}

    def get_word_embedding_dimension(self) -> int:
        return 16


@way_in(GROUP, "Sentence Transformers", "`encode`", named="embedding.typicality")
def sentences(model: str) -> Answer:
    encoder = davy.watch(SentenceTransformer(modules=[Words(), Pooling(16)], device="cpu"), model)

    def answer(count: int, shifted: bool) -> None:
        encoder.encode(texts(count, shifted=shifted))

    return answer


@way_in(GROUP, "Lightning", "`Trainer.predict`", named="inputs.batch")
def lightning(model: str) -> Answer:
    import lightning as pl

    class Net(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(6, 3)

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return self.body(batch)

        def predict_step(self, batch: torch.Tensor) -> torch.Tensor:
            return self(batch)

    torch.manual_seed(0)
    net = davy.watch(Net(), model, output="logits")

    def answer(count: int, shifted: bool) -> None:
        x = torch.randn(count, 6, generator=torch.Generator().manual_seed(1 + shifted)) + 2.0 * shifted
        trainer = pl.Trainer(
            accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False,
        )  # fmt: skip
        trainer.predict(net, torch.utils.data.DataLoader(x, batch_size=BATCH))

    return answer
