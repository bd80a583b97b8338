"""Networks on pictures: what is large is watched as what is small, and a change is named as its field."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

import davy
from davy.config import DetectSettings
from davy.event import BlobRef
from davy.log import open_log
from davy_detectors.batch import Batch
from davy_detectors.reference import Reference
from davy_detectors.reference.features import features
from davy_detectors.reference.loading import read_log

torch.set_num_threads(1)
SETTINGS = DetectSettings(false_alarm_every=1_000_000)


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 32, 32)
        self.head = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)))


class Segmenter(nn.Module):
    """Answers as torchvision's models do: a dict of scores at every place."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Conv2d(3, 21, 1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        found = self.scores(x)
        found[:, 7] += 4 * x[:, 0]  # the brighter, the more of class 7
        return {"out": found, "aux": found * 0.5}


def photos(rows: int, brightness: float, seed: int, side: int = 224) -> torch.Tensor:
    """Draw pictures as ToTensor and Normalize give them."""
    rng = np.random.default_rng(seed)
    plane = np.sin(np.add.outer(np.arange(side), np.arange(side)) / 29) * 40
    light = rng.normal(brightness, 10, (rows, 1, 1, 1))
    pixels = np.clip(plane + light + rng.normal(0, 5, (rows, 3, side, side)), 0, 255).astype(np.uint8)
    return torch.from_numpy((pixels / np.float32(255) - np.float32(0.45)) / np.float32(0.22))


def traffic(model: str, net: nn.Module, url: str, batches: Iterator[torch.Tensor]) -> Batch:
    watched = davy.watch(net.eval(), model)
    with torch.inference_mode():
        for batch in batches:
            watched(batch)
            davy.flush(30)
    return read_log(open_log(url), model)


def moved(known: Batch, live: Batch, reference: Reference, name: str) -> float:
    """Return by how many standard deviations a stream has moved: this environment has not what detectors need."""
    before, now = (features(batch, reference.schema)[name].values.astype(float) for batch in (known, live))
    return float(abs(now.mean() - before.mean()) / before.std())


def test_pictures_of_224_are_watched_by_their_pixels(own_client: str) -> None:
    torch.manual_seed(0)
    net = Classifier()
    known = traffic("m:1", net, own_client, (photos(8, 110, seed) for seed in range(26)))
    assert {type(value) for value in known.fields["inputs", "x"].values} == {BlobRef}
    reference = Reference.fit("m:1", known, settings=SETTINGS)
    assert reference.schema.fields["inputs.x"].kind.form == "image"
    fresh = traffic("m:2", Classifier(), own_client, (photos(8, 110, 100 + seed) for seed in range(6)))
    bright = traffic("m:3", Classifier(), own_client, (photos(8, 160, 200 + seed) for seed in range(6)))
    assert moved(known, fresh, reference, "inputs.x.brightness") < 1
    assert moved(known, bright, reference, "inputs.x.brightness") > 3


def test_a_segmentation_back_to_back_has_a_reference_scorers_and_areas_that_are_watched(
    own_client: str,
) -> None:
    torch.manual_seed(0)
    net = davy.watch(Segmenter().eval(), "seg:1")
    given = [photos(1, 110, seed, 256) for seed in range(20)]
    with torch.inference_mode():
        for place in range(300):
            answer = net(given[place % 20])
    assert answer["out"].shape == (1, 21, 256, 256)
    assert davy.flush(60)
    assert davy.stats()["sent"] >= 200
    known = read_log(open_log(own_client), "seg:1")
    reference = Reference.fit("seg:1", known, settings=SETTINGS)
    assert {"msp", "entropy", "margin"} <= reference.scorers.keys()
    assert reference.schema.fields["outputs.out"].kind.form == "places"
    other = Segmenter()
    other.load_state_dict(net.state_dict())
    bright = traffic("seg:2", other, own_client, (photos(4, 170, 300 + seed, 256) for seed in range(5)))
    assert moved(known, bright, reference, "outputs.out.area[7]") > 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_watched_as_well(own_client: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    davy.init(inline_bytes=1000)
    given = (photos(4, 110, seed, 32).to(dtype) for seed in range(3))
    found = traffic("m:1", Segmenter().to(dtype), own_client, given)
    for path in (("inputs", "x"), ("outputs", "out")):
        assert {type(value) for value in found.fields[path].values} == {BlobRef}
    assert all("brightness" in value.about for value in found.fields["inputs", "x"].values)
    assert all("areas" in value.about for value in found.fields["outputs", "out"].values)
