"""Rows of a table."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

from davy.event import Inference
from davy_miner.labelstudio.templates.base import SUBJECT
from davy_miner.labelstudio.templates.shown import rows, worth_a_look


class Table:
    """Shows whatever can be said in words, nested values and long ones too, as a table of names and values."""

    name = "tabular"

    def suits(self, inference: Inference, *, picture: bool) -> bool:
        """When some input can be shown as text."""
        del picture
        return worth_a_look(inference.inputs)

    def view(self) -> list[Element]:
        """A Table tag."""
        return [Element("Table", name=SUBJECT, value="$row")]

    def data(self, inference: Inference, link: str | None) -> dict[str, Any]:
        """The row, without what cannot be shown."""
        del link
        return {"row": rows(inference.inputs)}
