"""The classes of a model: those that its outputs name, that it answered with, and that people answered with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from davy._near import meant
from davy.errors import LabelError
from davy.outputs import Answer
from davy.outputs.values import key
from davy.store import Store
from davy_miner.candidates import CANDIDATES
from davy_miner.labels import answer_of, revisions_of

_MOST_SHOWN = 10


class Classes:
    """Knows the classes of models by what is in the store, as they were when a model was first asked for."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, dict[str, str]] = {}

    def require(self, where: str, model: str, own: Answer | None, answer: Any) -> None:
        """Raise LabelError where an answer names a class that the model, with its `own` answer, has not.

        Answers that name no classes, as numbers and free text, always pass.
        """
        if own is None or own.form not in {"choice", "choices", "boxes", "entities"}:
            return
        told = set(map(key, own.class_names))
        for name in _named(answer):
            if key(name) not in told and key(name) not in self._of(model):
                known = list(self._of(model).values())
                shown = ", ".join(known[:_MOST_SHOWN]) + (", …" if len(known) > _MOST_SHOWN else "")
                remedy = f"is no class of {model}, {meant(name, known)}known are {shown}"
                raise LabelError(f"{where}: answer", name, f"{remedy}; --allow-new brings in new ones")

    def _of(self, model: str) -> dict[str, str]:
        if model not in self._known:
            self._known[model] = {key(name): name for name in self._seen(model)}
        return self._known[model]

    def _seen(self, model: str) -> Iterator[str]:
        for candidate in CANDIDATES.values(self._store):
            if candidate.model != model:
                continue
            own = answer_of(candidate)
            if own is not None:
                yield from own.class_names
                yield from _named(own.value)
            for label in revisions_of(self._store, candidate.id).labels:
                yield from _named(label.answer)


def _named(answer: Any) -> Iterator[str]:
    """Return the classes that an answer names: itself, those of a list, or the ``label`` of boxes and spans."""
    for one in answer if isinstance(answer, list) else [answer]:
        name = one.get("label") if isinstance(one, dict) else one
        if isinstance(name, (str, int, float, bool)):
            yield str(name)
