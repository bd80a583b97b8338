"""What is known of every model, and the state that follows from it: for page, metrics and commands alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from davy.console import command
from davy.models import Retirement
from davy.retired import retirements
from davy.store import Collection, plain
from davy_detectors.incidents.incident import INCIDENTS, RESOLVED
from davy_detectors.models.roster import UNLISTED
from davy_detectors.models.roster import unlisted as names_unlisted
from davy_detectors.reference.active import names as referenced
from davy_detectors.stream.context import SECOND
from davy_detectors.stream.totals import Totals

if TYPE_CHECKING:
    from davy.config import DetectSettings
    from davy.store import Store

_VERSION: Final = 2


def _as_is(state: dict[str, Any]) -> dict[str, Any]:
    return state


DETECTED: Final[Collection[dict[str, Any]]] = plain(
    "detect", dict, writer="detect", write=_as_is, read=_as_is, version=_VERSION
)
"""The state of testing, by model: `ModelRun` goes on from it; others are told by `KnownModel` and `totals_of`."""
State = Literal["drifting", "blind", "unwatched", "healthy"]
STATES: Final[tuple[State, ...]] = get_args(State)
"""Those that need attention first."""
_NAMED: Final = 12


def state_of(*, drifting: bool, silent: float | None, watched: bool, blind_seconds: float) -> State:
    """Return the state of a model.

    Parameters
    ----------
    drifting
        Whether it has an open incident.
    silent
        Seconds since anything arrived; None when nothing ever did.
    watched
        Whether detection compares it with a reference.
    blind_seconds
        Silence from which on nobody can say how it is.

    Examples
    --------
    >>> state_of(drifting=False, silent=1.0, watched=False, blind_seconds=300.0)
    'unwatched'
    """
    if drifting:
        return "drifting"
    if silent is None or silent > blind_seconds:
        return "blind"
    return "healthy" if watched else "unwatched"


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model as detection knows it.

    `retirement` says when and by whom it was retired, None while it is not;
    `silent` is the seconds since anything of it arrived, None when nothing did; `watched` says whether detection
    compares it with a reference; `evidence` is that for drift over the alarm threshold; `tested_until` the event time
    up to which its inferences are tested, nanoseconds, 0 before any was.
    """

    name: str
    state: State
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
    found = dict(DETECTED.items(store))
    known, opened, gone = referenced(store), _opened(store), retirements(store)
    names = found.keys() | known | opened.keys()
    names = names | gone.keys() if retired else names - gone.keys()
    models = (
        _model(name, found.get(name), name in known, opened[name], settings, through)
        for name in sorted(names - {UNLISTED})
    )
    return [replace(one, retirement=gone.get(one.name)) for one in models]


def totals_of(store: Store, model: str) -> Totals:
    """Return what is known of a model altogether; nothing of one that was never tested."""
    return Totals.load(DETECTED.get(store, model) or {})


def tested_through(store: Store, model: str) -> int:
    """Return the start of the last window of a model that is tested, -1 when none is."""
    return int((DETECTED.get(store, model) or {}).get("tested", -1))


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
    totals = totals_of(store, UNLISTED)
    met = names_unlisted(store, now)
    gone = [model for model, found in retirements(store).items() if found.by == "a person" and model in met]
    return Unlisted(met.about, totals.events, gone)


def _model(
    name: str,
    found: Mapping[str, Any] | None,
    referenced: bool,
    opened: int,
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
            drifting=opened > 0, silent=silent, watched=watched, blind_seconds=settings.blind_seconds
        ),
        totals=totals,
        silent=silent,
        watched=watched,
        evidence=None if found is None else found.get("ratio"),
        open_incidents=opened,
        tested_until=tested + int(settings.window_seconds * SECOND) if tested >= 0 else 0,
    )


def _opened(store: Store) -> Counter[str]:
    return Counter(one.model for one in INCIDENTS.values(store) if one.state != RESOLVED)
