"""Whatever a model is given and answers: its sample becomes a task, or is set aside with a reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.fake_labelstudio import FakeLabelStudio
from support.inference_strategies import names, values
from support.labelstudio_world import BEGIN, MODEL, World

from davy.codec import Encoder, decode, dump, pack
from davy.errors import InvalidInference
from davy.event import Draw
from davy.store import Batch
from davy_miner.candidates import COLLECTION, Candidate, candidate_id
from davy_miner.pictures import picture

probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=5).map(np.array)
class_names = st.lists(st.text(max_size=8), max_size=6)
answers = st.one_of(
    st.fixed_dictionaries(
        {}, optional={"probs": probabilities, "class_names": class_names, "label": values, "scores": values}
    ),
    st.fixed_dictionaries({}, optional={"value": values, "text": values, "boxes": values, "labels": values}),
    st.dictionaries(names, values, max_size=4),
)
inputs = st.dictionaries(names, values, max_size=4)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(inputs, answers), min_size=1, max_size=6))
def test_every_selected_sample_is_pushed_or_unlabellable_with_a_reason(
    samples: list[tuple[dict[str, object], dict[str, object]]],
) -> None:
    with FakeLabelStudio() as fake, World(fake, timeout_seconds=5.0) as world:
        batch, encoder, count = Batch(), Encoder(), 0
        for number, (given_inputs, outputs) in enumerate(samples):
            inference_id = number.to_bytes(16, "big")
            try:
                chunk = encoder.encode(MODEL, inference_id, BEGIN, given_inputs, outputs)
            except InvalidInference:
                continue
            count += 1
            made = Candidate(
                id=candidate_id(MODEL, inference_id),
                model=MODEL,
                inference_id=inference_id,
                at=BEGIN,
                state="selected",
                draws=[Draw("control", probability=0.02)],
                scores={},
                inference=pack([chunk]),
            )
            drawn = _picture(world, made)
            batch.put(COLLECTION, made.id, dump(drawn))
        world.store.apply(batch)
        pushed = world.process().push()
        found = world.candidates().values()
        assert {one.state for one in found} <= {"pushed", "unlabellable"}
        assert all(one.reason and one.owed for one in found if one.state == "unlabellable")
        assert pushed == len(fake.tasks) == sum(one.state == "pushed" for one in found)
        assert len(found) == count


def _picture(world: World, candidate: Candidate) -> Candidate:
    return replace(candidate, picture=picture(decode(candidate.inference).inference(0), world.blobs))
