"""What the miner's tests share: flags of made-up inferences, a runtime in memory, a stream with bursts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np

from davy.blobs import open_blobs
from davy.codec import Encoder, dump, load, pack
from davy.config import Settings
from davy.consume import Loop, stored_positions
from davy.event import FLAGS, LABELS, Draw, Flag, Label
from davy.log import Message, open_log
from davy.meter import Meter
from davy.runtime import Runtime
from davy.store import Store, open_store
from davy_miner import rounds
from davy_miner.candidates import COLLECTION, Candidate, candidate_id
from davy_miner.exchange import Tool
from davy_miner.rounds import Round
from davy_miner.worker import Mine

MODEL = "digits:1"
_names = count()


def make_runtime(
    *, store: Store | None = None, url: str = "", clock: Callable[[], int] | None = None, **mine: Any
) -> Runtime:
    """Return a runtime of its own; keywords are settings of the miner. Rounds run on request only."""
    name = url or f"memory://mining-{next(_names)}"
    settings = Settings(url=name)
    settings = replace(settings, mine=replace(settings.mine, **{"round_seconds": 0.0, **mine}))
    return Runtime(
        settings=settings,
        log=open_log(name),
        store=store or open_store(name),
        blobs=open_blobs(f"memory://mining-{next(_names)}"),
        meter=Meter(),
        clock=clock or (lambda: 1_700_000_000_000_000_000),
    )


def make_flag(
    number: int,
    *,
    embedding: Sequence[float] | None = None,
    control: float = 0.0,
    scores: Mapping[str, float] | None = None,
    incident: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    outputs: Mapping[str, Any] | None = None,
    model: str = MODEL,
    group: str | None = None,
) -> Flag:
    """Flag inference `number`; unless an embedding is given it resembles no other, with an empty one it has none."""
    key = number.to_bytes(16, "big")
    rng = np.random.default_rng([7, number])
    vector = rng.normal(size=32) if embedding is None else np.asarray(embedding, np.float64)
    vector = vector if vector.size else None
    if inputs is None:
        inputs = {"image": rng.random((8, 8))}
    if outputs is None:
        outputs = {"label": number % 10, "probs": np.full(10, 0.1)}
    chunk = Encoder().encode(model, key, number, inputs, outputs, embedding=vector, group=group)
    scores = dict(scores or {})
    draws = [Draw("score", name, 1.0, -np.log(rank)) for name, rank in scores.items()]
    draws += [Draw("control", probability=control)] if control else []
    draws += [Draw("incident", incident, 1.0, 2.0)] if incident else []
    return Flag(f"f{number}", key, model, 10**18 + number, draws, scores, pack([chunk]), incident)


def make_candidate(flag: Flag, **changes: Any) -> Candidate:
    """Return the candidate a flag makes."""
    key = candidate_id(flag.model, flag.inference_id)
    made = Candidate(
        key,
        flag.model,
        flag.inference_id,
        flag.at,
        "waiting",
        flag.draws,
        flag.scores,
        flag.inference,
        flag.incident,
    )
    return replace(made, **changes)


def send(runtime: Runtime, *events: Flag | Label) -> None:
    """Append flags and labels to the log."""
    producer = runtime.log.producer()
    topic = {Flag: FLAGS, Label: LABELS}
    producer.append([Message(topic[type(event)], event.model, dump(event)) for event in events])
    producer.close()


def run(runtime: Runtime, tool: Tool | None = None) -> Mine:
    """Let the miner handle what the log holds and what is due, then leave."""
    role = Mine(runtime, tool)
    loop: Loop[Any] = Loop(runtime, role)
    try:
        loop.drain()
    finally:
        loop.close()
    return role


def mine_once(runtime: Runtime, budget: int = 20) -> rounds.Result:
    """Let a round run over what was flagged, and give what it did."""
    key = rounds.request(runtime, MODEL, budget)
    run(runtime)
    done = rounds.read(runtime.store, key)
    assert done is not None
    assert done.state == rounds.DONE
    return done.results[0]


def stored(runtime: Runtime) -> dict[str, Candidate]:
    """Read every candidate, but for the time of the wall clock in it."""
    found = {key: load(Candidate, data) for key, data in runtime.store.items(COLLECTION)}
    return {key: replace(candidate, logged_at=0) for key, candidate in found.items()}


def in_state(runtime: Runtime, *states: str) -> list[Candidate]:
    """Read the candidates in some states."""
    return [candidate for candidate in stored(runtime).values() if candidate.state in states]


def everything(store: Store) -> dict[str, Any]:
    """Read every collection the miner writes, but for the name of the log it read."""
    names = ("candidates", "labels", "feedback", "datasets")
    return {
        **{name: dict(store.items(name)) for name in names},
        "rounds": [replace(load(Round, data), log="") for _, data in store.items("rounds")],
        "positions": {key: place.offset for key, place in stored_positions(store).items()},
    }


def make_label(candidate: Candidate, answer: Any, revision: int = 1, **more: Any) -> Label:
    """Answer a candidate."""
    return Label(candidate.id, candidate.inference_id, candidate.model, answer, revision, revision, **more)
