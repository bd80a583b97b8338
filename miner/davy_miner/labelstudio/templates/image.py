"""Pictures."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

from davy.event import Inference
from davy_miner.labelstudio.templates.base import SUBJECT


class Image:
    """Shows the candidate's picture by its signed link; nothing is copied into Label Studio."""

    name = "image"

    def suits(self, inference: Inference, *, picture: bool) -> bool:
        """Whenever there is a picture."""
        del inference
        return picture

    def view(self) -> Element:
        """An Image tag, zoomable, pixels kept sharp, small enough to leave the question in sight."""
        tag = Element("Image", name=SUBJECT, value="$image", zoom="true", smoothing="false")
        tag.set("maxWidth", "420px")
        return tag

    def data(self, inference: Inference, link: str | None) -> dict[str, Any]:
        """The link."""
        del inference
        return {"image": link}
