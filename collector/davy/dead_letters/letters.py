"""Dead letters as they are found: listed, put back on their topics, or marked as dealt with."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final, Literal, TypeAlias

from davy.dead_letters.writing import ATTEMPTS, LEFT_OUT, OWN, PROJECT, attempts
from davy.errors import DavyError, SettingError, StoreError
from davy.event import TOPICS, dead_letters
from davy.log import Message, Record
from davy.projects import owned_record
from davy.runtime import Runtime
from davy.store import Batch, Collection, Lease, plain

State: TypeAlias = Literal["waiting", "replayed", "dropped"]

_LEASE: Final = "dead_letters"
_BATCH: Final = 64
_BATCH_BYTES: Final = 16 * 2**20
_LEASE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class _Mark:
    """What became of a letter; `log` is the log it lies in, empty where nobody knows."""

    state: State
    at: int
    log: str = ""


_MARKS: Final[Collection[_Mark]] = plain(
    "dead_letters",
    _Mark,
    writer="davy dlq",
    write=lambda mark: [mark.state, mark.at, mark.log],
    read=lambda found: _Mark(*found),
)
"""What became of letters, by place; of those that are not here nothing did."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter: the record in ``<topic>.dlq`` and what became of it."""

    record: Record
    state: State = "waiting"
    dealt_at: int = 0

    @property
    def topic(self) -> str:
        """The topic it was meant for."""
        return self.record.topic.removesuffix(dead_letters(""))

    @property
    def error(self) -> str:
        """The kind of the error."""
        return self.record.headers.get("davy.error", "")

    @property
    def component(self) -> str:
        """The role that set it aside, or the gateway."""
        return self.record.headers.get("davy.component", "")

    @property
    def place(self) -> str:
        """Where the letter lies."""
        return _place(self.record.topic, self.record.partition, self.record.offset)

    @property
    def source(self) -> str:
        """Where the record was read: several roles may set one aside. What the gateway refused never was in a log."""
        headers = self.record.headers
        if "davy.offset" not in headers:
            return self.place
        return _place(self.topic, headers.get("davy.partition", ""), headers["davy.offset"])

    @property
    def whole(self) -> bool:
        """Whether it can be put back: it has its bytes, and where it is a project's, these can be read by now."""
        try:
            return LEFT_OUT not in self.record.headers and bool(self.original)
        except DavyError:
            return False

    @property
    def original(self) -> Message:
        """The message to put back: bytes, key and headers are the record's own; a project's model is called after it.

        Raises
        ------
        DecodeError, InvalidInference
            The letter is a project's, and whose model it is cannot be read.
        """
        record, value = self.record, self.record.value
        headers = {name: text for name, text in record.headers.items() if not name.startswith(OWN)}
        if project := record.headers.get(PROJECT, ""):
            value = owned_record(self.topic, value, project)
        return Message(self.topic, record.key, value, {**headers, ATTEMPTS: str(attempts(record.headers))})


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which letters are meant: all of those that match everything that is not None.

    Raises
    ------
    SettingError
        There is no such topic.
    """

    topic: str | None = None
    error: str | None = None
    partition: int | None = None
    offset: int | None = None

    def __post_init__(self) -> None:
        if self.topic is not None and self.topic not in TOPICS:
            raise SettingError("--topic", self.topic, f"no such topic; there are {', '.join(TOPICS)}")

    def __contains__(self, letter: Letter) -> bool:
        record = letter.record
        found = (letter.topic, letter.error, record.partition, record.offset)
        wanted = (self.topic, self.error, self.partition, self.offset)
        return all(one is None or one == other for one, other in zip(wanted, found, strict=True))


class DeadLetters:
    """The dead letters of a log.

    Parameters
    ----------
    runtime
        Log, store and clock.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._owner = secrets.token_hex(8)

    def waiting(self, selection: Selection, *, whole: bool = False) -> Iterator[Letter]:
        """Return the letters nothing was done about, as `every` does; if `whole`, those that can be put back."""
        found = (letter for letter in self.every(selection) if letter.state == "waiting")
        return (letter for letter in found if letter.whole) if whole else found

    def every(self, selection: Selection) -> Iterator[Letter]:
        """Return the letters that are there now, dealt with or not, topic by topic, each partition in order.

        Raises
        ------
        SettingError
            An offset is asked for that is found in several places.
        """
        found = (letter for letter in self._read(selection) if letter in selection)
        if selection.offset is None:
            return found
        exact = list(found)
        if len(exact) > 1:
            places = ", ".join(letter.place for letter in exact)
            raise SettingError("offset", selection.offset, f"means {places}; give --topic and --partition")
        return iter(exact)

    def replay(self, letters: Iterable[Letter]) -> list[Letter]:
        """Put the records of `letters` back on their topics, a record once however many roles set it aside.

        Each is the letter's `original`; ``davy.attempts`` goes with it, so that a record that fails again
        counts on. Gives the letters, without their bytes.

        Raises
        ------
        StoreError
            Another process replays or drops letters.
        """
        producer, sent = self._runtime.log.producer(), set[str]()

        def put_back(batch: Sequence[Letter]) -> None:
            messages = {letter.source: letter.original for letter in batch if letter.source not in sent}
            producer.append(list(messages.values()))
            sent.update(messages)

        try:
            return self._deal_with(letters, "replayed", put_back)
        finally:
            producer.close()

    def drop(self, letters: Iterable[Letter]) -> list[Letter]:
        """Mark `letters` as dealt with; their bytes stay in the log until retention. Gives them without their bytes.

        Raises
        ------
        StoreError
            Another process replays or drops letters.
        """
        return self._deal_with(letters, "dropped", lambda _: None)

    def _deal_with(
        self, letters: Iterable[Letter], state: State, first: Callable[[Sequence[Letter]], None]
    ) -> list[Letter]:
        lease, dealt = self._lease(), list[Letter]()
        now, identity = self._runtime.clock(), self._runtime.log.identity
        try:
            self._forget_outlived()
            for batch in _batches(letters):
                lease = self._lease()
                first(batch)
                marks = Batch()
                for letter in batch:
                    _MARKS.put(marks, letter.place, _Mark(state, now, identity(letter.record.topic)))
                self._runtime.store.apply(marks, lease=lease)
                dealt += map(_bare, batch)
        finally:
            self._runtime.store.release(lease)
        return dealt

    def _lease(self) -> Lease:
        lease = self._runtime.store.acquire(_LEASE, self._owner, seconds=_LEASE_SECONDS)
        if lease is None:
            remedy = f"another process replays or drops letters, or died doing so: wait {_LEASE_SECONDS:g} s"
            raise StoreError("dead letters", self._runtime.store.url, remedy)
        return lease

    def _forget_outlived(self) -> None:
        """Delete the marks whose letters retention has removed."""
        starts = dict(chain.from_iterable(self._runtime.log.start(dead_letters(t)).items() for t in TOPICS))
        outlived = Batch()
        for place in self._marks():
            topic, partition, offset = place.rsplit("/", 2)
            if int(offset) < starts.get((topic, int(partition)), 0):
                _MARKS.delete(outlived, place)
        self._runtime.store.apply(outlived)

    def _read(self, selection: Selection) -> Iterator[Letter]:
        log, marks = self._runtime.log, self._marks()
        for topic in map(dead_letters, TOPICS if selection.topic is None else (selection.topic,)):
            ends, log_name = log.end(topic), log.identity(topic)
            for (_, partition), start in log.start(topic).items():
                for record in log.read(topic, partition, start, ends[topic, partition]):
                    found = marks.get(_place(topic, partition, record.offset))
                    if found is None or found.log not in {"", log_name}:
                        found = _Mark("waiting", 0)
                    yield Letter(record, found.state, found.at)

    def _marks(self) -> dict[str, _Mark]:
        return dict(_MARKS.items(self._runtime.store))


def _place(topic: str, partition: int | str, offset: int | str) -> str:
    return f"{topic}/{partition}/{offset}"


def _bare(letter: Letter) -> Letter:
    return replace(letter, record=replace(letter.record, value=b""))


def _batches(letters: Iterable[Letter]) -> Iterator[list[Letter]]:
    batch: list[Letter] = []
    size = 0
    for letter in letters:
        batch.append(letter)
        size += len(letter.record.value)
        if len(batch) == _BATCH or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
