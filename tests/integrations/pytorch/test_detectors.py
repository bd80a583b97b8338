"""Detectors of every family give boxes, scores and labels by these names, with the names of their classes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from stand_ins import NAMES, BaseDetector, Model, inference_detector, mmdet, ultralytics
from support.sdk_rig import inferences_in

import davy
from davy.outputs import Detection, read

torch.set_num_threads(1)
IMAGES = [np.full((8, 8, 3), shade, np.uint8) for shade in (1, 2, 3, 4)]


def captured(url: str) -> list[Any]:
    assert davy.flush()
    return inferences_in(url)


def counts(found: list[Any]) -> list[int]:
    assert all({"boxes", "scores", "labels"} <= set(one.outputs) for one in found)
    assert all(isinstance(read(one.outputs), Detection) for one in found)
    return [len(one.outputs["boxes"]) for one in found]


@pytest.mark.parametrize("method", ["__call__", "predict"])
@pytest.mark.parametrize("stream", [False, True])
def test_ultralytics_gives_a_row_a_picture_with_names_and_the_picture(
    method: str, stream: bool, own_client: str
) -> None:
    model = davy.watch(ultralytics()(), "yolo:1")
    assert isinstance(model, Model)
    results = list(getattr(model, method)(IMAGES, stream=stream))
    assert [type(each).__name__ for each in results] == ["Results"] * 4
    (alone,) = getattr(model, method)(IMAGES[1])
    found = captured(own_client)
    assert counts(found) == [1, 2, 3, 0, 2]
    np.testing.assert_array_equal(found[1].outputs["boxes"], results[1].boxes.xyxy)
    np.testing.assert_array_equal(found[4].outputs["scores"], alone.boxes.conf)
    np.testing.assert_array_equal(found[2].inputs["image"], IMAGES[2][..., ::-1])
    assert found[2].outputs["class_names"] == [*NAMES.values()]
    assert [one["label"] for one in read(found[2].outputs).value] == ["cat", "cow", "dog"]


def test_results_that_a_function_returns_are_opened(own_client: str) -> None:
    model = ultralytics()()

    def detect(image: np.ndarray) -> Any:
        return model(image)

    watched = davy.watch(detect, "yolo:2")
    for image in IMAGES:
        watched(image)
    assert counts(captured(own_client)) == [1, 2, 3, 0]


def test_samples_of_mmdetection_are_opened_by_module_and_by_function(own_client: str) -> None:
    model = BaseDetector().eval()
    davy.watch(lambda image: inference_detector(model, image), "mm:1")(IMAGES[2])
    found = captured(own_client)
    assert counts(found) == [3]
    davy.watch(model, "mm:2")([torch.as_tensor(each) for each in IMAGES])
    assert counts(captured(own_client)[1:]) == [1, 2, 3, 0]


def test_a_list_of_results_that_a_function_returns_is_a_row_a_picture(own_client: str) -> None:
    model = ultralytics()()

    def detect(images: list[np.ndarray]) -> Any:
        return model(images)

    davy.watch(detect, "yolo:3")(IMAGES)
    found = captured(own_client)
    assert counts(found) == [1, 2, 3, 0]
    np.testing.assert_array_equal(found[2].inputs["images"], IMAGES[2])


def test_an_inferencer_of_mmdetection_gives_a_row_a_picture_with_the_classes_of_its_data(
    own_client: str,
) -> None:
    infer = davy.watch(mmdet()(), "mm:3")
    infer(IMAGES[1], batch_size=1)
    infer(IMAGES)
    infer(inputs=[IMAGES[2]])
    found = captured(own_client)
    assert counts(found) == [2, 1, 2, 3, 0, 3]
    assert [set(one.inputs) for one in found] == [{"inputs"}] * 6
    np.testing.assert_array_equal(found[0].inputs["inputs"], IMAGES[1])
    assert read(found[0].outputs).shown() == "1 cat, 1 cow"
