"""The detect role: inferences in; counts, incidents, alerts, flags and metrics out.

It has two halves. Counting is spread over the partitions of the log: it flags samples and puts what adds up into
partial aggregates. Testing is done for each model by one process, whichever holds the lease of the model: it sums what
all partitions found by window of event time and runs the monitors over the windows in order, so that what it finds
depends on neither partitions nor processes.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from davy.consume import Failures, Loop, Spread, keep_going
from davy.event import Envelope
from davy.runtime import Runtime, Target
from davy_detectors.incidents.matcher import SampleMatchers
from davy_detectors.models.expiry import Expiry
from davy_detectors.models.roster import Roster
from davy_detectors.plugins import Plugins
from davy_detectors.reference.active import References
from davy_detectors.reference.fitting import fit_new_scorers
from davy_detectors.stream.context import DetectContext
from davy_detectors.stream.coordinator import Coordinator
from davy_detectors.stream.partition_counter import PartitionCounter

_FITTING_SECONDS: Final = 120.0
"""So long the fitting of new scorers may take before the role counts as silent."""


class DetectTarget(Target):
    """The role `detect` of `davy up` and `davy run`.

    Parameters
    ----------
    runtime
        Settings (section ``detect``), log, store, meter, clock.
    """

    reads = PartitionCounter.topics

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        references, plugins = References(runtime), Plugins(runtime)
        context = DetectContext(
            runtime, references, SampleMatchers(runtime), plugins, Roster(runtime, references)
        )
        role = Spread(
            PartitionCounter.name, PartitionCounter.topics, lambda place: PartitionCounter(context, place[1])
        )
        self.counting: Loop[Envelope] = Loop(runtime, role, max_records=runtime.settings.detect.poll_records)
        self.testing = Coordinator(context)
        self.expiry = Expiry(runtime)
        self._complete = False

    def run(self) -> None:
        """Detect until the runtime stops."""
        failures = Failures(self._runtime, PartitionCounter.name)
        try:
            keep_going(
                self._runtime,
                failures,
                self._fit_new_scorers,
                partial(self.counting.step, timeout=0.2),
                self.testing.step,
                self.expiry.step,
                stand_aside=self.stand_aside,
            )
        finally:
            self.close()

    def _fit_new_scorers(self) -> None:
        """Fit once what was installed since the references were, before anything is held that others wait for."""
        if not self._complete:
            with self._runtime.pulse.busy(PartitionCounter.name, _FITTING_SECONDS):
                fit_new_scorers(self._runtime)
            self._complete = True

    def stand_aside(self) -> None:
        """Release every lease; the next step begins again from what is stored."""
        self.counting.stand_aside()
        self.testing.stand_aside()
        self.expiry.close()

    def close(self) -> None:
        """Leave the log and every lease."""
        self.counting.close()
        self.testing.close()
        self.expiry.close()
