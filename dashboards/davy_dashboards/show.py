"""The command ``davy show``: one inference by its id, with everything that any room knows of it."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from davy import console
from davy.errors import InvalidInference, SettingError
from davy.existing import require_model
from davy.runner import open_runtime
from davy.sdk.ids import parse
from davy_dashboards._values import as_json, as_line, as_time

if TYPE_CHECKING:
    from davy.event import Envelope, Flag, Inference
    from davy.runtime import Runtime
    from davy_detectors.history.lookup import Found
    from davy_detectors.incidents.incident import Incident
    from davy_detectors.samples import Score
    from davy_miner.samples import Mined

_UNFIT: Final = re.compile(r"[^\w.-]+")
_DAY_NS: Final = 86_400 * 10**9


@dataclass(frozen=True, slots=True)
class Picture:
    """An image among the fields of an inference: where, the bytes of its file, and their media type."""

    field: str
    data: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Sample:
    """An inference and what the rooms know of it; `found` is None where the log no longer has it."""

    inference: Inference
    found: Found | None
    scores: Mapping[str, Score]
    flags: Sequence[Flag]
    incidents: Sequence[Incident]
    mined: Sequence[Mined]


def show(
    id: Annotated[str, typer.Argument(help="The inference: 32 hexadecimal digits, or a UUID.")],
    model: Annotated[
        str, typer.Option("--model", help="Only an inference of this model, as name:version.")
    ] = "",
    save: Annotated[
        Path | None, typer.Option(help="Put pictures and payloads into this directory.", show_default=False)
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="How long to search where the time of the id does not lead.", min=0)
    ] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show one inference: fields, scores, answer, tags, flags, incidents, candidate, task and label."""
    from davy_miner.pictures import images

    wanted = _id(id)
    with open_runtime(make=False) as runtime:
        if model:
            require_model(model, runtime.store)
        sample = look_up(runtime, wanted, model, seconds=seconds)
        pictures = [
            Picture(field, *one)
            for field, value in fields_of(sample.inference).items()
            if field.startswith("inputs.")  # as on a form: a person looks at what the model saw
            for one in images(value, runtime.blobs)
        ]
        files = _saved(runtime, save, sample.inference, pictures) if save is not None else []
    if as_json:
        console.show_one(_json(sample, pictures, files), title="inference", as_json=True)
    else:
        _print(sample, pictures, files)


def look_up(runtime: Runtime, id: bytes, model: str = "", *, seconds: float = 10.0) -> Sample:
    """Return an inference, from the log, a candidate or a flag, with what is known of it.

    Raises
    ------
    SettingError
        Nobody has it, with what may have become of it.
    """
    from davy.codec import decode
    from davy_detectors.history.lookup import find, flags_of
    from davy_detectors.samples import incidents_of, scores_of
    from davy_miner.samples import mined

    kept = mined(runtime, id, model)
    flags = flags_of(runtime.log, id, model, seconds=seconds)
    copies = [one.candidate.inference for one in kept if one.candidate.inference]
    copies += [flag.inference for flag in flags]
    # With a copy at hand the place in the log is only looked for where the time of the id leads.
    found = find(runtime.log, id, model, seconds=0.0 if copies else seconds)
    envelope: Envelope
    if found is not None:
        envelope, row = found.envelope, found.row
    elif copies:
        envelope, row = decode(copies[0]), 0
    else:
        raise _unknown(runtime, id, model, seconds)
    name = envelope.model
    return Sample(
        inference=envelope.inference(row),
        found=found,
        scores=scores_of(runtime.store, envelope, row),
        flags=[one for one in flags if one.model == name],
        incidents=[one for one in incidents_of(runtime.store, id) if one.model == name],
        mined=[one for one in kept if one.candidate.model == name],
    )


def fields_of(inference: Inference) -> dict[str, Any]:
    """Return the fields of an inference by their dotted names, tags left out."""
    found = {f"inputs.{name}": value for name, value in inference.inputs.items()}
    found |= {f"outputs.{name}": value for name, value in inference.outputs.items()}
    if inference.embedding is not None:
        found["embedding"] = inference.embedding
    for model, outputs in inference.alternatives.items():
        found |= {f"alternatives.{model}.{name}": value for name, value in outputs.items()}
    return found


def _id(text: str) -> bytes:
    try:
        return parse(text)
    except InvalidInference as error:
        raise SettingError("ID", text, "give a UUID or 32 hexadecimal digits") from error


def _unknown(runtime: Runtime, id: bytes, model: str, seconds: float) -> SettingError:
    from davy.event import INFERENCES
    from davy_detectors.history.lookup import made_at

    at, oldest = made_at(id), _oldest(runtime)
    whose = f" of {model}" if model else ""
    if at is None:
        where = f"no inference{whose} was found with it within {seconds:g} s; its time is not in it"
    else:
        where = f"no inference{whose} was found with it, made {as_time(at)}"
    remedies = [f"`--seconds {max(60.0, 6 * seconds):g}` searches the log for longer"]
    if at is not None and oldest is not None and at < oldest:
        remedies = [f"the log begins {as_time(oldest)} (log.keep_hours): it has expired"]
    elif at is not None and at > runtime.clock() + _DAY_NS:
        remedies = ["that is in the future: is it an id of Davy's?"]
    if runtime.settings.archive.url:
        day = "" if at is None else f", day {(as_time(at) or '')[:10]}"
        remedies.append(f"the archive at {_place(runtime)} may have it{day}")
    remedies.append(f"what was forgotten is gone; {INFERENCES} of another deployment are not here")
    return SettingError("ID", id.hex(), f"{where}; {'; '.join(remedies)}")


def _place(runtime: Runtime) -> str:
    from davy._urls import without_password

    return without_password(runtime.settings.archive.url)


def _oldest(runtime: Runtime) -> int | None:
    """Return when the oldest record of inferences was appended, nanoseconds since the epoch; None without one."""
    from davy.event import INFERENCES

    starts = runtime.log.start(INFERENCES)
    records = (next(iter(runtime.log.read(*place, start)), None) for place, start in starts.items())
    return min((record.at for record in records if record is not None), default=None)


def _saved(
    runtime: Runtime, directory: Path, inference: Inference, pictures: Sequence[Picture]
) -> list[dict[str, Any]]:
    """Write pictures and all other payloads; return a row for each, also for one that is gone."""
    directory.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, one in enumerate(pictures):
        name = _file_name(inference, f"{one.field}-{number}", one.media_type)
        (directory / name).write_bytes(one.data)
        rows.append({"field": one.field, "file": str(directory / name), "media_type": one.media_type})
    drawn = {one.field for one in pictures}
    for field, value in fields_of(inference).items():
        for number, payload in enumerate(_payloads(value)):
            if field in drawn:
                continue
            row = {"field": field, "file": None, "media_type": payload.media_type}
            if runtime.blobs.exists(payload.hash):
                name = _file_name(inference, f"{field}-{number}", payload.media_type)
                (directory / name).write_bytes(runtime.blobs.get(payload.hash))
                row["file"] = str(directory / name)
            rows.append(row)
    return rows


def _payloads(value: Any) -> Iterator[Any]:
    from davy.event import BlobRef

    if isinstance(value, BlobRef):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _payloads(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _payloads(one)


def _file_name(inference: Inference, what: str, media_type: str) -> str:
    ending = mimetypes.guess_extension(media_type) or ".bin"
    return f"{inference.id.hex()}-{_UNFIT.sub('_', what)[:100]}{ending}"


def _json(sample: Sample, pictures: Sequence[Picture], files: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    inference = sample.inference
    return {
        **_head(sample),
        "inputs": as_json(inference.inputs),
        "outputs": as_json(inference.outputs),
        "embedding": as_json(inference.embedding),
        "alternatives": as_json(inference.alternatives),
        "tags": as_json(inference.tags),
        "answer": _answer(inference),
        "scores": {name: as_json(asdict(score)) for name, score in sample.scores.items()},
        "flags": [
            {"id": one.id, "draws": [as_json(asdict(draw)) for draw in one.draws], "incident": one.incident}
            for one in sample.flags
        ],
        "incidents": [
            {"id": one.id, "cause": one.cause, "state": one.state, "onset_at": as_time(one.onset_at)}
            for one in sample.incidents
        ],
        "candidates": [_candidate(one) for one in sample.mined],
        "pictures": [
            {"field": one.field, "media_type": one.media_type, "bytes": len(one.data)} for one in pictures
        ],
        "files": list(files),
    }


def _head(sample: Sample) -> dict[str, Any]:
    inference, found = sample.inference, sample.found
    where = None if found is None else f"{found.topic}/{found.partition}/{found.offset} row {found.row}"
    return {
        "id": inference.id.hex(),
        "model": inference.model,
        "at": as_time(inference.at),
        "logged_at": None if found is None else as_time(found.appended_at),
        "record": where,
        "source": inference.source,
        "group": inference.group,
        "seq": inference.seq,
        "latency_ms": as_json(inference.latency_ms),
        "rate": as_json(inference.rate),
    }


def _answer(inference: Inference) -> dict[str, Any]:
    from davy.outputs import read

    answer = read(inference.outputs)
    return {
        "task": answer.task,
        "value": as_json(answer.value),
        "confidence": as_json(answer.confidence),
        "note": answer.note,
    }


def _candidate(one: Mined) -> dict[str, Any]:
    found, sent, decision = one.candidate, one.sent, one.decision
    label = decision.label if decision is not None else None
    return {
        "id": found.id,
        "state": found.state,
        "reason": found.reason,
        "arm": found.arm,
        "probability": found.probability,
        "round": found.round,
        "incident": found.incident,
        "draws": [as_json(asdict(draw)) for draw in found.draws],
        "ranks": as_json(dict(found.scores)),
        "duplicate_of": found.duplicate_of,
        "project": None if sent is None else sent.project,
        "task": found.task,
        "verdict": one.verdict if decision is not None else None,
        "label": None if label is None else as_json(label.answer),
        "answers": [
            {
                "annotator": said.annotator,
                "answer": as_json(said.answer),
                "verdict": said.verdict,
                "note": said.note,
                "state": said.state,
            }
            for said in (decision.opinions if decision is not None else ())
        ],
        "feedback": None if one.feedback is None else as_json(one.feedback.truth),
    }


def _print(sample: Sample, pictures: Sequence[Picture], files: Sequence[Mapping[str, Any]]) -> None:
    inference = sample.inference
    head = _head(sample) | {f"tag {name}": as_line(value) for name, value in inference.tags.items()}
    answer = _answer(inference)
    head["answer"] = f"{as_line(answer['value'])} ({answer['task']})"
    if sample.found is None:
        head["record"] = "no longer in the log: shown as it was flagged"
    console.show_one(head, title="inference")
    fields = [{"field": name, "value": as_line(value)} for name, value in fields_of(inference).items()]
    console.show(fields, title="fields", empty="none")
    tables: dict[str, list[dict[str, Any]]] = {
        "scores": [{"scorer": name, **asdict(score)} for name, score in sample.scores.items()],
        "draws": [asdict(draw) for draw in _draws(sample)],
        "incidents": [
            {"incident": one.id, "cause": one.cause, "state": one.state} for one in sample.incidents
        ],
        "files": [dict(one, file=one["file"] or "the payload has expired") for one in files],
    }
    for title, rows in tables.items():
        if rows:
            console.show(rows, title=title)
    for one in sample.mined:
        row = _candidate(one)
        for listed in ("draws", "answers", "ranks"):
            del row[listed]
        row["label"], row["feedback"] = as_line(row["label"]), as_line(row["feedback"])
        console.show_one(row, title="candidate")
    _draw(pictures)


def _draws(sample: Sample) -> list[Any]:
    """Return every draw once: a candidate has those of its flags."""
    every = [draw for one in sample.mined for draw in one.candidate.draws]
    return every or [draw for flag in sample.flags for draw in flag.draws]


def _draw(pictures: Sequence[Picture]) -> None:
    room = console.room()
    if room is None:
        return
    from davy_miner.pictures import pixels

    for one in pictures:
        console.say(f"{one.field} ({one.media_type}, {len(one.data):,} bytes)")
        found = pixels(one.data, *room)
        if found is None:
            console.say("cannot be drawn here; --save DIR puts it into a file")
        else:
            console.draw(found)
