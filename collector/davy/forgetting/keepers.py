"""What a room tells about the things it keeps of inferences (entry point group ``davy.keepers``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Protocol

from davy.forgetting.names import Ids
from davy.requirements import lacking
from davy.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Trace:
    """Something kept of forgotten inferences.

    Attributes
    ----------
    things
        What it is, by kind, under names that are the same wherever a thing is found.
    remove
        Removes it; harmless when it is gone already. Raises DavyError with a remedy.
    payloads
        Hashes of payloads it refers to.
    stays
        Whether its bytes stay until retention removes them, and only nobody is shown them any more.
    """

    things: Mapping[str, frozenset[str]]
    remove: Callable[[], object]
    payloads: frozenset[str] = frozenset()
    stays: bool = False


class Keeper(Protocol):
    """What one room keeps of inferences. Made with the runtime, whose log shows what is forgotten too."""

    def __init__(self, runtime: Runtime) -> None: ...

    def leases(self) -> Sequence[str]:
        """Name the leases that whoever changes these things holds."""

    def tagged(self, name: str, text: str) -> Iterator[bytes]:
        """Return the ids of the inferences here that carry a tag whose value reads `text`."""

    def traces(self, ids: Ids) -> Iterator[Trace]:
        """Return what is kept of some inferences, in the order in which it is to be removed."""

    def payloads(self, ids: Ids) -> Iterator[str]:
        """Return the hashes of the payloads that something here refers to, but for these inferences."""


def keepers(runtime: Runtime) -> list[Keeper]:
    """Make the keeper of every room.

    Raises
    ------
    SettingError
        A package that a room needs is not installed: what it keeps would be overlooked.
    """
    found: list[Keeper] = []
    for point in sorted(entry_points(group="davy.keepers"), key=lambda point: point.name):
        try:
            found.append(point.load()(runtime))
        except ImportError as error:
            raise lacking("keeper", point, error) from error
    return found
