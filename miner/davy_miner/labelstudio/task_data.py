"""From a candidate to a task of Label Studio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from davy.codec import decode
from davy.errors import DecodeError, LabelError
from davy.event import Inference
from davy.gateway.media import media_url
from davy.outputs import Answer, read
from davy.runtime import Runtime
from davy_miner.candidates import Candidate
from davy_miner.labelstudio.forms import Forms
from davy_miner.labelstudio.templates import Form, Item, check_task, checked_tree, form_for
from davy_miner.labelstudio.templates.shown import cut, rows

_SAID: Final = 5_000


@dataclass(frozen=True, slots=True)
class Draft:
    """A task that can be sent: its form, what it offers and holds, and what "model correct" confirms."""

    form: Form
    classes: tuple[str, ...]
    task: Mapping[str, Any]
    answer: Any


def draft(runtime: Runtime, forms: Forms, candidate: Candidate, *, blind: bool) -> Draft:
    """Make the task of a candidate: by the first plug-in's form that suits it, else by one of ours.

    `score` is how suspicious the inference is, in [0, 1]: one minus its most extreme rank in the reference. It is a
    number, so that the Data Manager sorts by it.

    Raises
    ------
    LabelError
        There is nothing to look at or no answer to judge, or Label Studio would refuse the task, or accept it and not
        show it.
    """
    try:
        inference = decode(candidate.inference).inference(0)
    except DecodeError as error:
        size = f"{len(candidate.inference)} bytes"
        raise LabelError("candidate", size, f"its inference cannot be read: {error}") from error
    answer = read(inference.outputs)
    said = said_by(inference.outputs, answer)
    link = media_url(runtime, candidate.picture) if candidate.picture and _has_picture(candidate) else None
    item = Item(inference, answer, link, blind)
    for form in forms.of(candidate.model, item):
        made = forms.attempt(candidate.model, form.plugin, partial(_draft, form, candidate, item, said))
        if made is not None:
            return made
    return _draft(form_for(inference, answer, picture=link is not None, blind=blind), candidate, item, said)


def _draft(form: Form, candidate: Candidate, item: Item, said: str) -> Draft:
    classes, answer = tuple(form.classes(item)), item.answer
    data = {**form.data(item), **_data(candidate, item.inference)}
    if not item.blind:
        data |= {"model_answer": said, "confidence": answer.confidence}
    task = {"data": data, "predictions": form.predictions(item, candidate.model)}
    check_task(checked_tree(form, classes), task)
    return Draft(form, classes, task, said if answer.value is None else answer.value)


def said_by(outputs: Mapping[str, Any], answer: Answer) -> str:
    """Return what the model said, for people.

    Raises
    ------
    LabelError
        It said nothing that could be judged.
    """
    said = answer.shown()
    if not said.strip():
        shown = rows(outputs)
        said = "\n".join(f"{name}: {value}" for name, value in shown.items())
    if not said.strip():
        remedy = answer.note or "hold no answer of the model: send a label, probabilities, a value or a text"
        raise LabelError("outputs", sorted(outputs), remedy)
    return cut(said, _SAID)


def _data(candidate: Candidate, inference: Inference) -> dict[str, Any]:
    captured = datetime.fromtimestamp(inference.at / 1e9, UTC)
    return {
        "candidate_id": candidate.id,
        "inference_id": candidate.inference_id.hex(),
        "model": candidate.model,
        "score": round(1.0 - min(candidate.scores.values(), default=1.0), 6),
        "detectors": ", ".join(sorted({draw.arm for draw in candidate.draws})),
        "arm": candidate.arm,
        "incident": candidate.incident or "",
        "captured_at": captured.isoformat(timespec="milliseconds"),
    }


def _has_picture(candidate: Candidate) -> bool:
    return candidate.picture is not None and candidate.picture.media_type.startswith("image/")
