"""The miner's role: flags to candidates, rounds, the labelling tool, labels."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, TypeAlias

from davy import metrics
from davy._urls import without_password
from davy.codec import decode, dump, load
from davy.consume import Loop
from davy.event import FEEDBACK, FLAGS, LABELS, Feedback, Flag, Label
from davy.log import Message, Record
from davy.plugins import Suspension, suspensions
from davy.retired import Retirements
from davy.runtime import Runtime, Target
from davy.store import Batch
from davy_miner.candidates import State, candidate_id
from davy_miner.dataset.build import COLLECTION as DATASETS
from davy_miner.decision import as_said, called
from davy_miner.exchange import Exchange, Tool
from davy_miner.labels import COLLECTION as REVISIONS
from davy_miner.labels import FEEDBACK_NOTES, Revisions, answer_of
from davy_miner.orders import Orders
from davy_miner.plugins import KINDS
from davy_miner.pool import Pool
from davy_miner.rounds import ROLE, Rounds

Item: TypeAlias = Flag | Label | Feedback

_MINUTE: Final = 60 * 10**9
_HOUR: Final = 60 * _MINUTE
_UNANSWERED_DAYS: Final = 30
"""So long the chosen candidates of a retired model wait for an answer."""
_ANSWERED: Final[frozenset[State]] = frozenset({"labelled", "disputed", "skipped", "deleted"})
_logger = logging.getLogger("davy.mine")


class Mine:
    """Implements `davy.consume.Role` over flags, labels and feedback.

    Parameters
    ----------
    runtime
        Settings, log, store, blobs, meter and clock.
    tool
        Where candidates go to be labelled; Label Studio when its URL is set, else none: selected candidates then wait
        for ``davy labels import``.
    """

    name = ROLE
    topics: Sequence[str] = (FLAGS, LABELS, FEEDBACK)

    def __init__(self, runtime: Runtime, tool: Tool | None = None) -> None:
        self._runtime = runtime
        self._pool = Pool(runtime)
        tool = tool or _label_studio(runtime)
        self._rounds = Rounds(runtime, self._pool, tool)
        self._orders = Orders(runtime.store, self._pool)
        self.exchange = Exchange(runtime, tool) if tool is not None else None
        self._revisions: dict[str, Revisions] = {}
        self._notes: dict[str, int] = {}
        self._unsettled: set[str] = set()
        self._retirements = Retirements(runtime)
        self._tidied_at = 0
        self._datasets = 0
        self._suspended: set[Suspension] = set()

    def restore(self) -> None:
        """Build the index of candidates and take up what a crash left between an answer and its candidate."""
        self._pool.restore()
        self._rounds.restore()
        if self.exchange is not None:
            self.exchange.begin()
        self._revisions = {}
        answers = {
            key: len(Revisions.from_bytes(data).labels) for key, data in self._runtime.store.items(REVISIONS)
        }
        # Where several spoke, the rule may be another than when it was decided.
        several = {key for key, count in answers.items() if count > 1}
        self._unsettled = (answers.keys() - set(self._pool.ids(_ANSWERED))) | several

    def decode(self, record: Record) -> Item:
        """Read a flag with its inference, a label or feedback; raises DecodeError on damaged bytes."""
        if record.topic == LABELS:
            return as_said(load(Label, record.value))
        if record.topic == FEEDBACK:
            return load(Feedback, record.value)
        flag = load(Flag, record.value)
        decode(flag.inference).inference(0)
        return flag

    def handle(self, items: Sequence[tuple[Record, Item]], batch: Batch) -> list[Message]:
        """Turn flags into candidates and keep labels and feedback; nothing is published."""
        self._begin()
        for record, item in items:
            match item:
                case Flag():
                    self._pool.take(item, record.at, batch)
                case Label():
                    self._keep_label(item, batch)
                case Feedback():
                    self._keep_feedback(item, batch)
        self._settle(batch)
        return []

    def idle(self, batch: Batch) -> list[Message]:
        """Run a round that is due, exchange tasks and labels with the tool; gives the labels that came back."""
        self._begin()
        self._take_push()
        if not self._pushing:
            self._settle(batch)
            self._orders.carry_out(batch)
            self._rounds.run_due(batch)
        self._tidy(batch)
        self._count_datasets()
        self._show_suspended()
        return self._exchange_labels(batch)

    def _take_push(self) -> None:
        """See what a push changed; one that failed may have changed some candidates, too."""
        pushed = self._pushing
        if self.exchange is not None:
            self.exchange.take_push()
        if pushed and not self._pushing:
            self._pool.refresh()

    @property
    def _pushing(self) -> bool:
        return self.exchange is not None and self.exchange.push.busy

    def _begin(self) -> None:
        self._pool.begin()
        self._revisions = {}
        self._notes = {}

    def _exchange_labels(self, batch: Batch) -> list[Message]:
        if self.exchange is None:
            return []
        # The push has transactions of its own: it starts from what is committed, and while it runs nobody else
        # changes the candidates it may touch.
        waits = self._pool.has({"selected", "pushing"})
        self.exchange.rest(empty=not waits)
        if not batch.operations and waits:
            self.exchange.start_push()
        pulled = self.exchange.pull.take()
        self.exchange.start_pull()
        if pulled is None:
            return []
        labels, changes = pulled
        batch.operations.extend(changes.operations)
        return [Message(LABELS, label.model, dump(label)) for label in labels]

    def _keep_label(self, label: Label, batch: Batch) -> None:
        before = self._revisions_of(label.candidate)
        after = before.with_label(label)
        if len(after.labels) == len(before.labels):
            return
        self._revisions[label.candidate] = after
        batch.put(REVISIONS, label.candidate, after.to_bytes())
        self._unsettled.add(label.candidate)
        candidate = self._pool.get(label.candidate)
        if candidate is None:
            _logger.warning("label for %s, which is no candidate: kept", label.candidate)
        found = called(label, answer_of(candidate) if candidate else None)
        if self._pool.shows(label.model):
            self._runtime.meter.add(metrics.LABELS, model=label.model, verdict=found)

    def _revisions_of(self, key: str) -> Revisions:
        if key not in self._revisions:
            self._revisions[key] = Revisions.from_bytes(self._runtime.store.get(REVISIONS, key))
        return self._revisions[key]

    def _settle(self, batch: Batch) -> None:
        waiting = set()
        for key in sorted(self._unsettled):
            candidate, revisions = self._pool.get(key), self._revisions_of(key)
            if candidate is None:
                continue
            decision = revisions.decided(self._runtime.settings.mine.last_word, answer_of(candidate))
            if decision is None:
                continue
            if self._pushing and candidate.state in {"selected", "pushing"}:
                waiting.add(key)
            elif candidate.state != decision.state:
                self._pool.put(replace(candidate, state=decision.state), batch)
        self._unsettled = waiting

    def _keep_feedback(self, feedback: Feedback, batch: Batch) -> None:
        """Keep what became known about a candidate; of several notes the latest counts."""
        for model in [feedback.model] if feedback.model else self._pool.models():
            key = candidate_id(model, feedback.id)
            if self._pool.get(key) is not None and self._noted_at(key) <= feedback.at:
                self._notes[key] = feedback.at
                batch.put(FEEDBACK_NOTES, key, dump(replace(feedback, model=model)))

    def _noted_at(self, key: str) -> int:
        if key in self._notes:
            return self._notes[key]
        stored = self._runtime.store.get(FEEDBACK_NOTES, key)
        return load(Feedback, stored).at if stored is not None else 0

    def _tidy(self, batch: Batch) -> None:
        now = self._runtime.clock()
        if not 0 <= now - self._tidied_at < _MINUTE:
            self._tidied_at = now
            if not self._pushing:
                unanswered = now - _UNANSWERED_DAYS * 24 * _HOUR
                self._pool.retire(self._retirements.current(), batch, unanswered=unanswered)
            for model in self._retirements.take():
                self._runtime.meter.forget_model(model)
            kept, estimated = self._runtime.settings.log.keep_hours, self._runtime.settings.mine.estimate_days
            self._pool.tidy(now - int(kept * _HOUR), batch, estimated=now - int(estimated * 24 * _HOUR))

    def _show_suspended(self) -> None:
        """Show which forms and exporters are left out for which model."""
        found = {one for one in suspensions(self._runtime.store) if one.kind in KINDS}
        if found == self._suspended:
            return
        for kind in KINDS:
            self._runtime.meter.forget(metrics.PLUGIN_SUSPENDED, kind=kind)
        for one in found:
            if self._pool.shows(one.model):
                labels = {"model": one.model, "kind": one.kind, "plugin": one.name}
                self._runtime.meter.set(metrics.PLUGIN_SUSPENDED, 1.0, **labels)
        self._suspended = found

    def _count_datasets(self) -> None:
        if self._runtime.store.count(DATASETS) == self._datasets:
            return
        built = Counter(key.rpartition("/")[0] for key, _ in self._runtime.store.items(DATASETS))
        self._datasets = built.total()
        for model, count in built.items():
            if self._pool.shows(model):
                self._runtime.meter.set(metrics.DATASETS, count, model=model)


class MineTarget(Target):
    """The miner as a role of ``davy up`` and ``davy run mine``."""

    reads = Mine.topics

    def __init__(self, runtime: Runtime) -> None:
        self._role = Mine(runtime)
        self._tool = runtime.settings.labelstudio.url
        self._loop: Loop[Item] = Loop(runtime, self._role, max_records=runtime.settings.detect.poll_records)

    def uses(self) -> list[str]:
        """Where tasks go."""
        return [f"tasks go to {without_password(self._tool)}" if self._tool else "no Label Studio is set"]

    def run(self) -> None:
        """Work until the runtime's stop signal, then let a call to the labelling tool finish and return."""
        try:
            self._loop.run()
        finally:
            if self._role.exchange is not None:
                self._role.exchange.close()
            self._loop.close()


def _label_studio(runtime: Runtime) -> Tool | None:
    if not runtime.settings.labelstudio.url:
        return None
    from davy_miner.labelstudio import LabelStudio

    return LabelStudio(runtime)
