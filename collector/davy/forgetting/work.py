"""The work of forgetting: write the names down, let roles stand aside, remove every trace, then the payloads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from davy.errors import DavyError
from davy.forgetting.keepers import Keeper, Trace, keepers
from davy.forgetting.names import ForgottenIds, Ids
from davy.forgetting.receipts import Receipt, hashed, write
from davy.forgetting.rights import standing_aside
from davy.runtime import Runtime

KINDS: Final = (
    "inferences", "payloads", "vectors", "candidates", "tasks", "labels", "flags", "feedback", "datasets",
    "archive",
)  # fmt: skip
"""What is counted, in the order it is shown."""
_PATIENCE: Final = 120.0
_HOUR: Final = 3600 * 10**9


@dataclass(slots=True)
class ForgetReport:
    """What was removed, or would be.

    Attributes
    ----------
    things
        Names by kind.
    hidden
        Names by kind of what a log that cannot erase still has, and nobody is shown any more.
    problems
        What could not be removed, each with its remedy: the same command, run again, goes on from there.
    stays_until
        Time, in nanoseconds since the epoch, until which a log that cannot erase keeps the bytes; None when they are
        gone.
    """

    things: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    hidden: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    problems: list[str] = field(default_factory=list)
    stays_until: int | None = None

    @property
    def counts(self) -> dict[str, int]:
        """How many things of every kind are gone."""
        return {kind: len(self.things[kind] - self.hidden[kind]) for kind in KINDS}

    @property
    def hidden_counts(self) -> dict[str, int]:
        """How many things of every kind are hidden."""
        return {kind: len(self.hidden[kind]) for kind in KINDS}

    def add(self, traces: Iterable[Trace], stays_until: int) -> None:
        """Count what traces stand for; `stays_until` is when retention has removed what stays."""
        for trace in traces:
            counted = self.hidden if trace.stays else self.things
            for kind, names in trace.things.items():
                counted[kind] |= names
            if trace.stays:
                self.stays_until = stays_until


class Forgetting:
    """Removes inferences from everything Davy keeps.

    Each step may be interrupted at any moment; the next run finishes what an earlier one began.

    Parameters
    ----------
    runtime
        With the log that shows what is forgotten too.
    rooms
        Who keeps something; everybody by default.
    patience
        Longest wait, in seconds, for a role to stand aside.
    """

    def __init__(
        self, runtime: Runtime, rooms: Sequence[Keeper] | None = None, *, patience: float = _PATIENCE
    ) -> None:
        self._runtime = runtime
        self._rooms = keepers(runtime) if rooms is None else rooms
        self._patience = patience
        self._names = ForgottenIds(runtime.store)

    @property
    def unfinished(self) -> frozenset[bytes]:
        """The ids of which an earlier run left something."""
        return self._names.unfinished()

    def tagged(self, name: str, text: str) -> frozenset[bytes]:
        """Return the ids of all inferences that carry a tag whose value reads `text`."""
        return frozenset(id for room in self._rooms for id in room.tagged(name, text))

    def preview(self, ids: Ids) -> ForgetReport:
        """Say what forgetting `ids` would remove, and change nothing."""
        ids = ids | self.unfinished
        traces = self._traces(ids)
        outcome = ForgetReport()
        outcome.add(traces, self._retained_until())
        outcome.things["payloads"] |= self._unshared(self._payloads(traces), ids)
        return outcome

    def forget(self, ids: Ids) -> ForgetReport:
        """Remove `ids`, and what an earlier run left, from everywhere; return what was removed."""
        ids = ids | self.unfinished
        outcome = ForgetReport()
        if not ids:
            return outcome
        self._names.add(ids - self._names.finished(), at=self._runtime.clock())
        try:
            leases = sorted({name for room in self._rooms for name in room.leases()})
            with standing_aside(self._runtime, leases, self._patience) as check:
                traces = self._traces(ids)
                self._names.add_payloads(self._payloads(traces))
                for trace in traces:
                    check()
                    self._remove(trace, outcome)
                check()
                self._remove_payloads(ids, outcome)
                self._runtime.store.scrub()
                if not outcome.problems:
                    self._names.finish(ids, at=self._runtime.clock())
        except DavyError as error:
            outcome.problems.append(str(error))
        self._keep_receipt(ids, outcome)
        return outcome

    def _keep_receipt(self, ids: Ids, outcome: ForgetReport) -> None:
        counts, hidden = outcome.counts, outcome.hidden_counts
        left = len(set(outcome.problems))
        try:
            write(
                self._runtime.store,
                Receipt(self._runtime.clock(), hashed(ids), counts, hidden, outcome.stays_until, left),
            )
        except DavyError as error:
            outcome.problems.append(str(error))

    def _traces(self, ids: Ids) -> list[Trace]:
        return [trace for room in self._rooms for trace in room.traces(ids)]

    def _payloads(self, traces: Sequence[Trace]) -> frozenset[str]:
        return self._names.payloads().union(*(trace.payloads for trace in traces))

    def _remove(self, trace: Trace, outcome: ForgetReport) -> None:
        try:
            trace.remove()
        except DavyError as error:
            outcome.problems.append(str(error))
        else:
            outcome.add([trace], self._retained_until())

    def _retained_until(self) -> int:
        return self._runtime.clock() + int(self._runtime.settings.log.keep_hours * _HOUR)

    def _remove_payloads(self, ids: Ids, outcome: ForgetReport) -> None:
        for hash in sorted(self._unshared(self._names.payloads(), ids)):
            try:
                self._runtime.blobs.delete(hash)
            except DavyError as error:
                outcome.problems.append(str(error))
            else:
                outcome.things["payloads"].add(hash)

    def _unshared(self, hashes: frozenset[str], ids: Ids) -> set[str]:
        """Return those that are stored and that nothing but `ids` refers to."""
        left = {hash for hash in hashes if self._runtime.blobs.exists(hash)}
        for room in self._rooms:
            if not left:
                break
            left.difference_update(room.payloads(ids))
        return left
