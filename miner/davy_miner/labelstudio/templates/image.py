"""Pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from davy.event import BlobRef, Inference
from davy_miner.labelstudio.templates.base import SUBJECT
from davy_miner.labelstudio.templates.shown import rows, worth_a_look
from davy_miner.pictures import is_image


class Image:
    """Shows the candidate's picture by its signed link; nothing is copied into Label Studio."""

    name = "image"

    def suits(self, inference: Inference, *, picture: bool) -> bool:
        """Whenever there is a picture and nothing beside it."""
        return picture and not worth_a_look(_beside(inference.inputs))

    def view(self) -> list[Element]:
        """An Image tag, zoomable, pixels kept sharp, small enough to leave the question in sight."""
        tag = Element("Image", name=SUBJECT, value="$image", zoom="true", smoothing="false")
        tag.set("maxWidth", "420px")
        return [tag]

    def data(self, inference: Inference, link: str | None) -> dict[str, Any]:
        """The link."""
        del inference
        return {"image": link}


class ImageWithRow(Image):
    """Shows the picture and, below it, the other inputs: a question about it, what was known beside it."""

    name = "image-tabular"

    def suits(self, inference: Inference, *, picture: bool) -> bool:
        """Whenever there is a picture."""
        del inference
        return picture

    def view(self) -> list[Element]:
        """An Image tag and a Table tag."""
        return [*super().view(), Element("Table", name="row", value="$row")]

    def data(self, inference: Inference, link: str | None) -> dict[str, Any]:
        """The link and the row."""
        return {**super().data(inference, link), "row": rows(_beside(inference.inputs))}


def _beside(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs that are no pixels."""
    return {name: value for name, value in inputs.items() if not _is_pixels(value)}


def _is_pixels(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 4 or is_image(value.shape)
    return isinstance(value, (bytes, BlobRef))
