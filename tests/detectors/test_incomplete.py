"""What apps recorded in part or did not understand is told apart from what they lost."""

from __future__ import annotations

import uuid
from collections import Counter

import pytest

from davy.codec import dump_any
from davy.config import Settings
from davy.fields.losses import BY_THE_APP, INCOMPLETE
from davy.runner import open_runtime
from davy.store import Batch
from davy_detectors.doctor import checks
from davy_detectors.stream.partial_aggregate import PartialAggregate
from davy_detectors.stream.totals import Totals

pytestmark = pytest.mark.fast


def test_calls_recorded_in_part_are_no_dropped_inferences() -> None:
    totals = Totals()
    for _ in range(2):
        totals.add(
            PartialAggregate(dropped=Counter(no_inputs=3, queue_full=2, **{"field:outputs.loss:length": 4}))
        )
    assert (totals.incomplete, totals.dropped) == ({"no_inputs": 6}, {"queue_full": 4})
    assert totals.left_out == {"field:outputs.loss:length": 8}
    assert Totals.load(totals.dump()) == totals


@pytest.mark.parametrize("reason", INCOMPLETE)
def test_the_doctor_names_the_model_the_count_and_the_remedy(reason: str) -> None:
    totals = Totals(events=9, incomplete=Counter({reason: 1_234}))
    with open_runtime(Settings(url=f"memory://{uuid.uuid4()}")) as runtime:
        runtime.store.apply(
            Batch().put("models", "net:1", b"").put("detect", "net:1", dump_any(totals.dump()))
        )
        (found,) = [check for check in checks(runtime) if check.what == "calls of net:1"]
    assert (found.state, found.found, found.remedy) == (
        "warning",
        f"{reason} 1,234 times",
        f"{INCOMPLETE[reason]}; {BY_THE_APP}",
    )
