"""What cannot travel: for every reason a value that is left out for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np


class Broken:
    """An object that raises when it is read."""

    @property
    def __array__(self) -> Any:
        raise RuntimeError("broken")


def _deep() -> Any:
    found: Any = "end"
    for _ in range(40):
        found = [found, "more"]
    return found


EXAMPLES: Final = {
    "complex": "`1 + 2j`, an array of complex numbers",
    "compiled": "the layer named by `embedding=`, inside of what `torch.compile` or TorchScript made",
    "count": "a mapping of 5,000 numbers as inputs",
    "inside": "`hidden_states`, `attentions`, `past_key_values` of a model of Hugging Face",
    "length": "a column of 3 values in a batch of 4; a loss beside the logits of a batch",
    "name": 'the name `"\\ud800"`, half of an emoji',
    "names": "`class_names` of two names beside probabilities of three classes",
    "nesting": "lists in lists, 40 deep; a list that holds itself",
    "noted": "a chat with a picture of 300 KB inline: of the picture the note, of the chat everything else",
    "path": "`pathlib.Path`, where no payloads are kept",
    "secret": "`headers.Authorization`, `clientSecret`, a `cookie` in a list of pairs; numbers of such names travel",
    "size": "a list of 30,000 texts",
    "stream": "an answer of more items or bytes than are kept of a stream",
    "too_large": "a mapping or list of 300 KB, where it cannot be stored apart",
    "type": "a function, a class, a lock, a file, an open generator among inputs",
    "unfit": "a text under the rule `summary`",
    "unreadable": "an object whose attributes raise",
}
VALUES: Final[dict[str, Callable[[], Any]]] = {
    "complex": lambda: 1 + 2j,
    "nesting": _deep,
    "path": lambda: Path("photo.jpg"),
    "size": lambda: ["text"] * 30_000,
    "type": lambda: len,
    "unreadable": Broken,
}
"""Of the reasons that are found on a single value by itself."""
_ = np
