"""Pipelines of pictures and sounds as ways in, with small models of random weights."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from rows_transformers import FACE, GROUP, pictures
from support.integration_rows import Answer, way_in
from transformers import (
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SegformerImageProcessor,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2ForSequenceClassification,
    YolosConfig,
    YolosForObjectDetection,
    YolosImageProcessor,
    pipeline,
)

import davy

SMALL: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "initializer_range": 0.6,
}  # fmt: skip
PLACES = ["sky", "sea", "land"]


def seeing(pipe: Any, **asked: Any) -> Answer:
    def answer(count: int, shifted: bool) -> None:
        pipe(pictures(count, shifted=shifted), **asked)

    return answer


@way_in(GROUP, FACE, "`object-detection`", named="inputs.image")
def objects(model: str) -> Answer:
    torch.manual_seed(0)
    yolos = YolosForObjectDetection(
        YolosConfig(
            **SMALL,
            image_size=[16, 16],
            patch_size=8,
            num_detection_tokens=4,
            id2label=dict(enumerate(PLACES)),
        )
    )
    processor = YolosImageProcessor(size={"height": 16, "width": 16}, do_pad=False)
    pipe = pipeline(
        "object-detection", model=yolos.eval(), image_processor=processor, device="cpu", threshold=0.4
    )
    return seeing(davy.watch(pipe, model))


@way_in(GROUP, FACE, "`image-segmentation`", named="inputs.image")
def segments(model: str) -> Answer:
    torch.manual_seed(0)
    config = SegformerConfig(
        num_encoder_blocks=1, depths=[1], sr_ratios=[1], hidden_sizes=[8], patch_sizes=[3], strides=[2],
        num_attention_heads=[1], mlp_ratios=[1], decoder_hidden_size=8, initializer_range=0.6,
        id2label=dict(enumerate(PLACES)), label2id={name: at for at, name in enumerate(PLACES)},
    )  # fmt: skip
    processor = SegformerImageProcessor(size={"height": 16, "width": 16})
    former = SegformerForSemanticSegmentation(config).eval()
    return seeing(
        davy.watch(
            pipeline("image-segmentation", model=former, image_processor=processor, device="cpu"), model
        )
    )


def wave(**more: Any) -> Wav2Vec2Config:
    return Wav2Vec2Config(
        **SMALL, conv_dim=[8, 8], conv_stride=[5, 4], conv_kernel=[10, 8], num_feat_extract_layers=2,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, **more,
    )  # fmt: skip


def sounds(count: int, *, shifted: bool) -> list[np.ndarray]:
    rng = np.random.default_rng(5 + shifted)
    loud = rng.uniform(0.1, 0.4, (count, 1)) * (4.0 if shifted else 1.0)
    return [*(loud * rng.normal(size=(count, 800))).astype(np.float32)]


def hearing(pipe: Any) -> Answer:
    def answer(count: int, shifted: bool) -> None:
        for sound in sounds(count, shifted=shifted):
            pipe({"raw": sound, "sampling_rate": 16_000})

    return answer


@way_in(GROUP, FACE, "`automatic-speech-recognition`", named="inputs.audio")
def speech(model: str) -> Answer:
    torch.manual_seed(0)
    with TemporaryDirectory() as directory:
        file = Path(directory) / "vocab.json"
        file.write_text(json.dumps({name: at for at, name in enumerate(["<pad>", "<unk>", "|", *"abcde"])}))
        letters = Wav2Vec2CTCTokenizer(
            str(file), pad_token="<pad>", unk_token="<unk>", bos_token=None, eos_token=None
        )
    net = Wav2Vec2ForCTC(wave(vocab_size=8, pad_token_id=0)).eval()
    return hearing(
        davy.watch(
            pipeline(
                "automatic-speech-recognition", model=net, tokenizer=letters,
                feature_extractor=Wav2Vec2FeatureExtractor(), device="cpu",
            ),
            model,
        )
    )  # fmt: skip


@way_in(GROUP, FACE, "`audio-classification`", named="inputs.audio")
def audio(model: str) -> Answer:
    torch.manual_seed(0)
    names = ["speech", "music", "noise"]
    config = wave(
        id2label=dict(enumerate(names)), label2id={name: at for at, name in enumerate(names)}, num_labels=3
    )
    net = Wav2Vec2ForSequenceClassification(config).eval()
    pipe = pipeline(
        "audio-classification", model=net, feature_extractor=Wav2Vec2FeatureExtractor(), device="cpu"
    )
    return hearing(davy.watch(pipe, model))
