"""From a candidate to a task of Label Studio."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from davy.codec import decode
from davy.errors import DecodeError, LabelError
from davy.event import Inference
from davy.gateway.media import media_url
from davy.runtime import Runtime
from davy_miner.candidates import Candidate
from davy_miner.labelstudio.answers import classification
from davy_miner.labelstudio.templates import Form, check_task, form_for


def form_of(candidate: Candidate, *, blind: bool) -> Form:
    """Choose the form for a candidate; raises LabelError when there is none."""
    try:
        inference = decode(candidate.inference).inference(0)
    except DecodeError as error:
        raise LabelError("candidate", candidate.id, f"its inference cannot be read: {error}") from error
    return form_for(inference, picture=_has_picture(candidate), blind=blind)


def task_data(runtime: Runtime, candidate: Candidate, inference: Inference, form: Form) -> dict[str, Any]:
    """Make the task.

    `score` is how suspicious the inference is, in [0, 1]: one minus its most extreme rank in the reference. It is a
    number, so that the Data Manager sorts by it.

    Raises
    ------
    LabelError
        Label Studio would refuse the task, or accept it and not show it.
    """
    answer = classification(inference.outputs)
    link = media_url(runtime, candidate.picture) if candidate.picture and _has_picture(candidate) else None
    data = {
        **form.template.data(inference, link),
        "candidate_id": candidate.id,
        "inference_id": candidate.inference_id.hex(),
        "model": candidate.model,
        "score": round(1.0 - min(candidate.scores.values(), default=1.0), 6),
        "detectors": ", ".join(sorted({draw.arm for draw in candidate.draws})),
        "arm": candidate.arm,
        "incident": candidate.incident or "",
        "captured_at": datetime.fromtimestamp(inference.at / 1e9, UTC).isoformat(timespec="milliseconds"),
    }
    if not form.question.blind:
        data |= {"model_answer": answer.name, "confidence": answer.confidence}
    task = {"data": data, "predictions": form.question.predictions(answer, candidate.model)}
    check_task(form.tree(), task)
    return task


def _has_picture(candidate: Candidate) -> bool:
    return candidate.picture is not None and candidate.picture.media_type.startswith("image/")
