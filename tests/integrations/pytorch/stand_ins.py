"""Detectors as ultralytics and MMDetection have them: what their documentation says a caller gets, and no more."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

NAMES = {0: "cat", 1: "cow", 2: "dog"}


class Boxes:
    """Found boxes: a row of corners, score and class for each (docs.ultralytics.com/reference/engine/results)."""

    def __init__(self, data: torch.Tensor) -> None:
        self.data = data

    @property
    def xyxy(self) -> torch.Tensor:
        return self.data[:, :4]

    @property
    def conf(self) -> torch.Tensor:
        return self.data[:, 4]

    @property
    def cls(self) -> torch.Tensor:
        return self.data[:, 5]

    def __len__(self) -> int:
        return len(self.data)


class Results:
    """What was found in one picture, with the picture."""

    def __init__(self, image: np.ndarray, boxes: torch.Tensor, names: dict[int, str]) -> None:
        self.orig_img = image
        self.orig_shape = image.shape[:2]
        self.boxes = Boxes(boxes)
        self.masks = self.probs = self.keypoints = self.obb = None
        self.speed = {"preprocess": 1.0, "inference": 2.0, "postprocess": 1.0}
        self.names = names
        self.path = "image0.jpg"
        self.save_dir = None

    def __len__(self) -> int:
        return len(self.boxes)


def found_in(image: np.ndarray) -> torch.Tensor:
    """Return boxes that depend on a picture: as many as it is bright, and larger."""
    shade = float(image.mean())
    count = int(shade) % 4
    corners = torch.arange(count * 4).reshape(count, 4).float() % 7
    corners[:, 2:] = corners[:, :2] + 2 + shade / 50
    scores = 0.45 + (torch.arange(count) + shade) % 5 / 10
    return torch.cat([corners, scores[:, None], (torch.arange(count) % 3)[:, None].float()], dim=1)


class Model(nn.Module):
    """A model of ultralytics: a call predicts for a picture or for several (…/reference/engine/model)."""

    __module__ = "ultralytics.engine.model"

    @property
    def names(self) -> dict[int, str]:
        return NAMES

    def __call__(self, source: Any = None, stream: bool = False, **kwargs: Any) -> Any:
        return self.predict(source, stream, **kwargs)

    def predict(self, source: Any = None, stream: bool = False, **kwargs: Any) -> Any:
        images = source if isinstance(source, list) else [source]
        results = (Results(np.asarray(each), found_in(np.asarray(each)), NAMES) for each in images)
        return self._streamed(results) if stream else list(results)

    def _streamed(self, results: Iterator[Results]) -> Iterator[Results]:
        yield from results


class YOLO(Model):
    """The model that is imported."""

    __module__ = "ultralytics.models.yolo.model"


def ultralytics() -> type[YOLO]:
    """Return the class of the models, imported as the app does."""
    sys.modules.setdefault("ultralytics", types.ModuleType("ultralytics")).YOLO = YOLO  # type: ignore[attr-defined]
    return YOLO


class DetDataSample:
    """A sample of MMDetection (mmdet.structures): what was found is held privately and given by a property."""

    def __init__(self, found: torch.Tensor) -> None:
        self._metainfo_fields = {"img_shape"}
        self._data_fields = {"pred_instances"}
        self._pred_instances = SimpleNamespace(
            bboxes=found[:, :4], scores=found[:, 4], labels=found[:, 5].long()
        )

    @property
    def pred_instances(self) -> Any:
        return self._pred_instances


class BaseDetector(nn.Module):
    """A detector of MMDetection: `test_step` and `inference_detector` call it for samples, one a picture."""

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = "predict") -> list[DetDataSample]:
        del data_samples, mode
        return [DetDataSample(found_in(each.numpy())) for each in inputs]


class DetInferencer:
    """What detects for an app that does not know tensors (mmdet.apis): records of lists, one a picture."""

    def __init__(self) -> None:
        self.model = BaseDetector()
        self.model.dataset_meta = {"classes": ("cat", "cow", "dog")}  # type: ignore[assignment]

    def __call__(self, inputs: Any, batch_size: int = 1, **kwargs: Any) -> dict[str, Any]:
        found = [found_in(each) for each in (inputs if isinstance(inputs, list) else [inputs])]
        names = ("labels", "scores", "bboxes")
        parts = [(each[:, 5].int().tolist(), each[:, 4].tolist(), each[:, :4].tolist()) for each in found]
        return {"predictions": [dict(zip(names, part, strict=True)) for part in parts], "visualization": []}


def mmdet() -> type[DetInferencer]:
    """Return the class of the inferencer, imported as the app does."""
    sys.modules.setdefault("mmdet", types.ModuleType("mmdet"))
    return DetInferencer


def inference_detector(model: BaseDetector, image: Any) -> Any:
    """Detect in a picture, or in several (mmdet.apis)."""
    several = isinstance(image, list)
    images = [torch.as_tensor(np.asarray(each)) for each in (image if several else [image])]
    found = model(images, mode="predict")
    return found if several else found[0]
