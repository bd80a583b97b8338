"""The command ``davy dlq``: dead letters, looked at, put back or dropped; and what `davy doctor` says of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from davy import console
from davy.codec import decode, load
from davy.dead_letters import DeadLetters, Letter, Selection
from davy.errors import DecodeError, SettingError
from davy.event import ALERTS, FEEDBACK, FLAGS, INFERENCES, LABELS, Alert, Envelope, Feedback, Flag, Label
from davy.health import Check
from davy.runner import open_runtime
from davy.runtime import Runtime

Topic = Annotated[
    str | None, typer.Option(help="Only letters of this topic, davy.inferences for one.", show_default=False)
]
Error = Annotated[str | None, typer.Option(help="Only letters with this kind of error.", show_default=False)]
Partition = Annotated[
    int | None, typer.Option(help="Only letters in this partition.", min=0, show_default=False)
]
Offset = Annotated[
    int | None, typer.Option(help="Only the letter at this offset.", min=0, show_default=False)
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

dlq = typer.Typer(
    help="Dead letters: records set aside, with the reason; look, put back, drop.", no_args_is_help=True
)

_EVENTS: Final[Mapping[str, type]] = {FEEDBACK: Feedback, FLAGS: Flag, ALERTS: Alert, LABELS: Label}
_HEAD: Final = 64


def checks(runtime: Runtime) -> list[Check]:
    """Say how many dead letters wait, and of which kinds (entry point group ``davy.checks``)."""
    kinds = Counter(
        f"{letter.error} in {letter.topic}" for letter in DeadLetters(runtime).waiting(Selection())
    )
    if not kinds:
        return [Check("dead letters", "ok", "none waits")]
    found = f"{kinds.total()} wait: " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    return [
        Check(
            "dead letters", "warning", found, "`davy dlq list` groups them, `davy dlq replay` puts them back"
        )
    ]


@dlq.command("list")
def _list(
    topic: Topic = None,
    error: Error = None,
    every: Annotated[bool, typer.Option("--all", help="Those replayed or dropped, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Group the letters by topic, error and the component that set them aside; the offset is that of the newest."""
    selection = Selection(topic=topic, error=error)
    with open_runtime(make=False) as runtime:
        letters = DeadLetters(runtime)
        rows = _grouped(letters.every(selection) if every else letters.waiting(selection))
    console.show(rows, title="dead letters", as_json=as_json, empty="none")


@dlq.command("show")
def _show(
    offset: Annotated[int, typer.Argument(help="The letter's offset, as `davy dlq list` gives it.")],
    topic: Topic = None,
    partition: Partition = None,
    as_json: AsJson = False,
) -> int:
    """Show one letter: its headers, and what its bytes are."""
    selection = Selection(topic=topic, partition=partition, offset=offset)
    with open_runtime(make=False) as runtime:
        found = list(DeadLetters(runtime).every(selection))
    if not found:
        console.show([], title=f"dead letter at offset {offset}", as_json=as_json, empty="none")
        return 1
    console.show_one(_described(found[0]), title="dead letter", as_json=as_json)
    return 0


@dlq.command("replay")
def _replay(
    topic: Topic = None,
    error: Error = None,
    partition: Partition = None,
    offset: Offset = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> int:
    """Put letters back on their topics, bytes unchanged; one that fails again becomes a new letter and counts on."""
    selection = Selection(topic=topic, error=error, partition=partition, offset=offset)
    return _deal_with(selection, DeadLetters.replay, "replayed", whole=True, dry_run=dry_run, as_json=as_json)


@dlq.command("drop")
def _drop(
    topic: Topic = None,
    error: Error = None,
    partition: Partition = None,
    offset: Offset = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> int:
    """Mark letters as dealt with; their bytes stay in the log until retention removes them."""
    selection = Selection(topic=topic, error=error, partition=partition, offset=offset)
    return _deal_with(selection, DeadLetters.drop, "dropped", whole=False, dry_run=dry_run, as_json=as_json)


def _deal_with(
    selection: Selection,
    deal: Callable[[DeadLetters, Iterable[Letter]], list[Letter]],
    done: str,
    *,
    whole: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    if selection == Selection():
        raise SettingError("letters", "all", "say which: give --topic, --error or --offset")
    with open_runtime(make=False) as runtime:
        letters = DeadLetters(runtime)
        found = letters.waiting(selection, whole=whole)
        rows = _grouped(found if dry_run else deal(letters, found))
    title = f"dead letters {'would be ' if dry_run else ''}{done}"
    console.show(rows, title=title, as_json=as_json, empty="none matches")
    return 0 if rows else 1


@dataclass(slots=True)
class _Group:
    newest: Letter
    first: int
    count: int = 0


def _grouped(letters: Iterable[Letter]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str, str, str], _Group] = {}
    for letter in letters:
        key = (letter.topic, letter.error, letter.component, letter.state)
        group = groups.setdefault(key, _Group(letter, letter.record.at))
        group.count += 1
        group.first = min(group.first, letter.record.at)
        group.newest = max(group.newest, letter, key=lambda one: one.record.at)
    return [
        {
            "topic": topic,
            "error": error,
            "component": component,
            "state": state,
            "letters": group.count,
            "first": _time(group.first),
            "last": _time(group.newest.record.at),
            "partition": group.newest.record.partition,
            "offset": group.newest.record.offset,
        }
        for (topic, error, component, state), group in sorted(groups.items())
    ]


def _described(letter: Letter) -> dict[str, Any]:
    record = letter.record
    try:
        content = {"holds": _holds(letter.topic, record.value)}
    except DecodeError:
        content = {"begins": record.value[:_HEAD].hex(" ")}
    return {
        "place": letter.place,
        "state": letter.state if letter.state == "waiting" else f"{letter.state} {_time(letter.dealt_at)}",
        "at": _time(record.at),
        "key": record.key,
        **record.headers,
        "bytes": len(record.value),
        **content,
    }


def _holds(topic: str, value: bytes) -> str:
    """Say what bytes decode to, with names and shapes and without a value of a payload."""
    if topic == INFERENCES:
        return _envelope(decode(value))
    event: Feedback | Flag | Alert | Label = load(_EVENTS[topic], value)
    return f"{type(event).__name__} of {event.model or 'no model'}"


def _envelope(envelope: Envelope) -> str:
    fields = []
    for path, column in envelope.items():
        values = column.values
        shape = f"[{', '.join(map(str, values.shape[1:]))}]" if values.ndim > 1 else ""
        fields.append(f"{'.'.join(path)} {values.dtype}{shape}")
    return f"{envelope.count} inferences of {envelope.model}: {', '.join(fields)}"


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1e9, UTC).isoformat(timespec="seconds")
