"""What belongs to no single inference of a batch stays apart, also where the numbers agree by chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.sdk_rig import inferences_in

import davy

pytestmark = pytest.mark.fast
PROMPTS = ["a cat", "a dog", "a bird"]


def pictures(count: int) -> Any:
    return np.zeros((count, 8, 8, 3), np.uint8)


def similar(pictures: Any, prompts: list[str]) -> Any:
    return {
        "per_picture": np.ones((len(pictures), len(prompts))),
        "embeds": np.ones((len(pictures), 5)),
        "prompt_embeds": np.ones((len(prompts), 5)),
    }


@pytest.mark.parametrize("counts", [(2, 3, 1, 3), (1, 3, 2, 3)])
def test_prompts_that_belong_to_no_picture_stay_apart_when_there_are_as_many(
    counts: tuple[int, ...], own_client: str
) -> None:
    watched = davy.watch(similar, "clip:1", batched=True)
    for count in counts:
        watched(pictures(count), PROMPTS)
    assert davy.flush()
    found = inferences_in(own_client)
    assert len(found) == sum(counts)
    assert {(*one.inputs, *one.outputs) for one in found} == {("pictures", "per_picture", "embeds")}
    assert davy.stats()["left_out"] == {
        "clip:1 inputs.prompts: length": sum(counts),
        "clip:1 outputs.prompt_embeds: length": sum(counts),
    }


def test_texts_that_always_belong_to_their_pictures_stay_with_them(own_client: str) -> None:
    watched = davy.watch(lambda pictures, texts: np.ones(len(texts)), "pairs:1", batched=True)
    for count in (3, 1, 2):
        watched(pictures(count), PROMPTS[:count])
    assert davy.flush()
    texts = sorted(one.inputs["texts"] for one in inferences_in(own_client))
    assert texts == sorted([*PROMPTS, *PROMPTS[:1], *PROMPTS[:2]])
    assert davy.stats()["left_out"] == {}
