"""Texts."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

from davy.event import Inference
from davy_miner.labelstudio.templates.base import SUBJECT


class Text:
    """Shows inputs that are all text; several are shown under their names."""

    name = "text"

    def suits(self, inference: Inference, *, picture: bool) -> bool:
        """When every input is text."""
        del picture
        values = [value for value in inference.inputs.values() if value is not None]
        return bool(values) and all(isinstance(value, str) for value in values)

    def view(self) -> Element:
        """A Text tag."""
        return Element("Text", name=SUBJECT, value="$text")

    def data(self, inference: Inference, link: str | None) -> dict[str, Any]:
        """The text."""
        del link
        texts = {name: value for name, value in inference.inputs.items() if value is not None}
        if len(texts) == 1:
            return {"text": next(iter(texts.values()))}
        return {"text": "\n\n".join(f"{name}: {value}" for name, value in sorted(texts.items()))}
