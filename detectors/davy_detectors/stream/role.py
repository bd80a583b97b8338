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
from davy_detectors.stream.context import DetectContext
from davy_detectors.stream.coordinator import Coordinator
from davy_detectors.stream.label_counter import LabelCounter, Told
from davy_detectors.stream.partition_counter import PartitionCounter

_LABELS: Final = 4_096
"""Of feedback and labels, which are one a record, so many are handled in one transaction."""


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
        self.labels: Loop[Told] | None = None
        if plugins.labelled:
            told = Spread(LabelCounter.name, LabelCounter.topics, lambda place: LabelCounter(context, place))
            self.labels = Loop(runtime, told, max_records=_LABELS)
        self.testing = Coordinator(context)
        self.expiry = Expiry(runtime)

    def run(self) -> None:
        """Detect until the runtime stops."""
        failures = Failures(self._runtime, PartitionCounter.name)
        try:
            keep_going(
                self._runtime,
                failures,
                partial(self.counting.step, timeout=0.2),
                self.hear,
                self.testing.step,
                self.expiry.step,
                stand_aside=self.stand_aside,
            )
        finally:
            self.close()

    def hear(self) -> int:
        """Take in the feedback and labels of one poll, where a monitor watches labelled inferences; return how many."""
        if self.labels is None:
            return 0
        heard = self.labels.step()
        self._runtime.pulse.beat(LabelCounter.name)
        return heard

    def stand_aside(self) -> None:
        """Release every lease; the next step begins again from what is stored."""
        self.counting.stand_aside()
        if self.labels is not None:
            self.labels.stand_aside()
        self.testing.stand_aside()
        self.expiry.close()

    def close(self) -> None:
        """Leave the log and every lease."""
        self.counting.close()
        if self.labels is not None:
            self.labels.close()
        self.testing.close()
        self.expiry.close()
