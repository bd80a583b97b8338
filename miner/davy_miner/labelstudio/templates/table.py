"""Rows of a table."""

from __future__ import annotations

import math
from typing import Any, Final
from xml.etree.ElementTree import Element

import numpy as np

from davy.event import Inference
from davy_miner.labelstudio.templates.base import SUBJECT

_SHOWN: Final = 32


class Table:
    """Shows scalar and text inputs, and short vectors, as a table of names and values."""

    name = "tabular"

    def suits(self, inference: Inference, *, picture: bool) -> bool:
        """When some input can be shown as text."""
        del picture
        return any(_shown(value) is not None for value in inference.inputs.values())

    def view(self) -> Element:
        """A Table tag."""
        return Element("Table", name=SUBJECT, value="$row")

    def data(self, inference: Inference, link: str | None) -> dict[str, Any]:
        """The row, without what cannot be shown."""
        del link
        row = {name: _shown(value) for name, value in sorted(inference.inputs.items())}
        return {"row": {name: value for name, value in row.items() if value is not None}}


def _shown(value: Any) -> Any:
    if isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, np.ndarray) and value.ndim <= 1 and value.size <= _SHOWN:
        return ", ".join(
            f"{item:.4g}" if isinstance(item, float) else str(item) for item in value.ravel().tolist()
        )
    return None
