"""What is known of every model, and the state that follows from it: for page, metrics and commands alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from davy.codec import load_any
from davy.console import command
from davy.retired import Retirement, retirements
from davy_detectors.incidents.incident import INCIDENTS, RESOLVED, worst_cause
from davy_detectors.models.roster import UNLISTED
from davy_detectors.models.roster import unlisted as names_unlisted
from davy_detectors.reference.active import names as referenced
from davy_detectors.stream.context import SECOND
from davy_detectors.stream.totals import Totals

if TYPE_CHECKING:
    from davy.config import DetectSettings
    from davy.store import Store

COLLECTION: Final = "detect"
"""Collection with what testing knows, by model."""
STATES: Final = ("blind", "unwatched", "healthy")
"""The states of a model without an open incident, those that need attention first."""
_WORDS: Final = {"drift": "drifting"}
"""What a model does of which there is an incident with this cause; of another cause its state has the name."""
_NAMED: Final = 12


def state_of(*, cause: str | None, silent: float | None, watched: bool, blind_seconds: float) -> str:
    """Return the state of a model: the cause of its worst incident, or one of `STATES`.

    Parameters
    ----------
    cause
        Of its worst open incident, None when none is open.
    silent
        Seconds since anything arrived; None when nothing ever did.
    watched
        Whether detection compares it with a reference.
    blind_seconds
        Silence from which on nobody can say how it is.

    Examples
    --------
    >>> state_of(cause=None, silent=1.0, watched=False, blind_seconds=300.0)
    'unwatched'
    >>> state_of(cause="late", silent=1.0, watched=True, blind_seconds=300.0)
    'late'
    """
    if cause is not None:
        return f"failing: {cause}" if cause in STATES else _WORDS.get(cause, cause)
    if silent is None or silent > blind_seconds:
        return "blind"
    return "healthy" if watched else "unwatched"


def urgency(state: str) -> int:
    """Return the place of a state among those that need attention: 0 is an incident."""
    return STATES.index(state) + 1 if state in STATES else 0


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model as detection knows it.

    `retirement` says when and by whom it was retired, None while it is not;
    `silent` is the seconds since anything of it arrived, None when nothing did; `watched` says whether detection
    compares it with a reference; `evidence` is that for drift over the alarm threshold; `tested_until` the event time
    up to which its inferences are tested, nanoseconds, 0 before any was.
    """

    name: str
    state: str
    totals: Totals
    silent: float | None
    watched: bool
    evidence: float | None
    open_incidents: int
    tested_until: int
    retirement: Retirement | None = None


def known_models(
    store: Store, settings: DetectSettings, through: int, *, retired: bool = False
) -> list[KnownModel]:
    """Return every model that was seen or has a reference, by name.

    Parameters
    ----------
    store, settings
        Where it is known from, and what decides the state.
    through
        The time up to which detection has read the log, nanoseconds since the epoch.
    retired
        Whether those that are retired are among them.
    """
    found = {name: load_any(data) for name, data in store.items(COLLECTION)}
    known, opened, gone = referenced(store), _opened(store), retirements(store)
    names = found.keys() | known | opened.keys()
    names = names | gone.keys() if retired else names - gone.keys()
    models = (
        _model(name, found.get(name), name in known, opened.get(name, ()), settings, through)
        for name in sorted(names - {UNLISTED})
    )
    return [replace(one, retirement=gone.get(one.name)) for one in models]


@dataclass(frozen=True, slots=True)
class Unlisted:
    """What is counted but not shown by name.

    About how many models, how many inferences of theirs ever came, and those among them that a person retired.
    """

    models: int
    inferences: int
    retired: Sequence[str] = ()

    @property
    def beyond(self) -> int:
        """About how many of them nobody retired: there is no room for them."""
        return max(0, self.models - len(self.retired))

    @property
    def remedy(self) -> str:
        """What to do about them."""
        remedies = []
        if self.retired:
            keep = command("models", "keep", names=self.retired[:_NAMED])
            more = f" and {len(self.retired) - _NAMED} more" if len(self.retired) > _NAMED else ""
            remedies.append(f"`{keep}`{more} takes back what is retired and still sends")
        if self.beyond:
            remedies.append("retire some with `davy models retire`, or raise DAVY_DETECT_MODELS")
        return "; ".join(remedies)


def unlisted(store: Store, now: int) -> Unlisted:
    """Return what is not shown by name; models count that sent today or yesterday by the clock `now`, nanoseconds."""
    data = store.get(COLLECTION, UNLISTED)
    totals = Totals.load(load_any(data) if data is not None else {})
    met = names_unlisted(store, now)
    gone = [model for model, found in retirements(store).items() if found.by == "a person" and model in met]
    return Unlisted(met.about, totals.events, gone)


def _model(
    name: str,
    found: Mapping[str, Any] | None,
    referenced: bool,
    opened: Sequence[Mapping[str, Any]],
    settings: DetectSettings,
    through: int,
) -> KnownModel:
    totals = Totals.load(found or {})
    heard_at = totals.heard_at or totals.last_at
    silent = max(0.0, (through - heard_at) / SECOND) if heard_at else None
    # What detection itself says it compares with; only a model it has not seen yet is taken at its reference's word.
    watched = bool(found.get("reference")) if found is not None else referenced
    tested = found.get("tested", -1) if found is not None else -1
    return KnownModel(
        name=name,
        state=state_of(
            cause=worst_cause(
                (one["cause"], one["size"], one["statistic"], one["threshold"]) for one in opened
            ),
            silent=silent,
            watched=watched,
            blind_seconds=settings.blind_seconds,
        ),
        totals=totals,
        silent=silent,
        watched=watched,
        evidence=None if found is None else found.get("ratio"),
        open_incidents=len(opened),
        tested_until=tested + int(settings.window_seconds * SECOND) if tested >= 0 else 0,
    )


def _opened(store: Store) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for one in (load_any(data) for _, data in store.items(INCIDENTS)):
        if one.get("state") != RESOLVED:
            found.setdefault(str(one["model"]), []).append(one)
    return found
