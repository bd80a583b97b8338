"""How late a flag is: from the capture of an inference to the flag in the log, at a given load.

The load is open: a serving app answers by the clock, whatever the detectors do. The moment of capture is in the flag,
the moment of its append is Kafka's; both are of one clock.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from benchmarks.scale.redis_cost import Work
from benchmarks.scale.traffic import MODEL, reference
from benchmarks.scale.world import Place, World, accounts, closed, detecting, serving
from davy.codec import load
from davy.event import FLAGS, Flag

SHARES: Final = (0.1, 0.5, 0.9)
SECONDS: Final = 15.0
_WARM_SECONDS: Final = 2.0
"""Flags of the beginning are left out: the first inferences wait for a connection to the broker."""


def by_load(world: World, library: str, most: float, seconds: float = SECONDS) -> dict[str, Any]:
    """Measure at shares of `most` inferences a second."""
    found, sent = {}, 0
    with closed(world.place(library)) as place, detecting(place) as (detector,):
        place.give_references({MODEL: reference(probabilities=True).to_bytes()})
        for share in SHARES:
            before, first = Work.of(place.redis), place.flags()
            used = detector.processor_seconds()
            app = accounts(serving(place, "rate", share * most, seconds), thinned=True)
            place.wait_until_handled(place.records())
            sent += app["sent"]
            place.verify(sent)
            used = detector.processor_seconds() - used
            found[f"{share:.0%}"] = {
                "offered_per_second": round(share * most),
                "captured_per_second": round(app["sent"] / seconds),
                "thinned": app["thinned"],
                **_quantiles(place, first, app["begun_at"] + _WARM_SECONDS),
                "processor_share": round(used / seconds, 2),
                "redis_per_1000": Work.of(place.redis).since(before).per_thousand(app["sent"]),
            }
    return found


def _quantiles(place: Place, first: int, after: float) -> dict[str, Any]:
    """Return the quantiles over the flags from offset `first` on whose inference was captured after this time."""
    waits = []
    for record in place.log.read(FLAGS, 0, first):
        flag = load(Flag, record.value)
        if flag.at > after * 1e9:
            waits.append((record.at - flag.at) / 1e9)
    p50, p99 = np.quantile(waits, [0.5, 0.99])
    return {
        "flags": len(waits),
        "p50_seconds": round(float(p50), 3),
        "p99_seconds": round(float(p99), 3),
        "longest_seconds": round(max(waits), 3),
    }
