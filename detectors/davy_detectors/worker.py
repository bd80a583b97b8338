"""The detect role: inferences in; counts, incidents, alerts, flags and metrics out.

It has two halves. Counting is spread over the partitions of the log: it flags samples and puts what adds up into
tallies. Testing is done for each model by one process, whichever holds the lease of the model: it sums the tallies of
all partitions by epoch of event time and runs the monitors over the epochs in order, so that what it finds depends on
neither partitions nor processes.
"""

from __future__ import annotations

from functools import partial

from davy.consume import Failures, Loop, Spread, keep_going
from davy.event import Envelope
from davy.runtime import Runtime, Target
from davy_detectors._counting import Counting
from davy_detectors._expiry import Expiry
from davy_detectors._monitors import Monitors
from davy_detectors._pursuits import Pursuits
from davy_detectors._reducer import Reducer
from davy_detectors._references import References
from davy_detectors._roster import Roster
from davy_detectors._tools import Tools


class DetectTarget(Target):
    """The role `detect` of `davy up` and `davy run`.

    Parameters
    ----------
    runtime
        Settings (section ``detect``), log, store, meter, clock.
    """

    reads = Counting.topics

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        references, monitors = References(runtime), Monitors(runtime.settings.detect)
        tools = Tools(runtime, references, Pursuits(runtime), monitors, Roster(runtime, references))
        role = Spread(Counting.name, Counting.topics, lambda place: Counting(tools, place[1]))
        self.counting: Loop[Envelope] = Loop(runtime, role, max_records=runtime.settings.detect.poll_records)
        self.testing = Reducer(tools)
        self.expiry = Expiry(runtime)

    def run(self) -> None:
        """Detect until the runtime stops."""
        failures = Failures(self._runtime, Counting.name)
        try:
            keep_going(
                self._runtime,
                failures,
                partial(self.counting.step, timeout=0.2),
                self.testing.step,
                self.expiry.step,
                stand_aside=self.stand_aside,
            )
        finally:
            self.close()

    def stand_aside(self) -> None:
        """Give up every lease; the next step begins again from what is stored."""
        self.counting.stand_aside()
        self.testing.stand_aside()
        self.expiry.close()

    def close(self) -> None:
        """Leave the log and every lease."""
        self.counting.close()
        self.testing.close()
        self.expiry.close()
