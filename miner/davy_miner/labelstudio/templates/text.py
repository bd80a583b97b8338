"""Texts."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

from davy.event import Inference
from davy_miner.labelstudio.templates.base import SUBJECT
from davy_miner.labelstudio.templates.shown import leaves, rows


class Text:
    """Shows inputs that are all text; several are shown under their names."""

    name = "text"

    def suits(self, inference: Inference, *, picture: bool) -> bool:
        """When every input that is there is text."""
        del picture
        values = [value for value in leaves(inference.inputs) if value is not None]
        return bool(values) and all(isinstance(value, str) for value in values)

    def view(self) -> list[Element]:
        """A Text tag."""
        return [Element("Text", name=SUBJECT, value="$text")]

    def data(self, inference: Inference, link: str | None) -> dict[str, Any]:
        """The text."""
        del link
        texts = rows(inference.inputs)
        if len(texts) == 1:
            return {"text": next(iter(texts.values())) or " "}
        return {"text": "\n\n".join(f"{name}: {value}" for name, value in texts.items())}
