"""Which models there are: those that were seen, those with a reference, and those that are retired."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final, Literal

from davy.store import Collection, Store, declare, marks, plain

By = Literal["a person", "silence"]


@dataclass(frozen=True, slots=True)
class Retirement:
    """When a model was retired, nanoseconds since the epoch, and by whom."""

    at: int
    by: By


MODELS: Final[Collection[str]] = declare(
    Collection("models", str, "detect; davy reference fit, davy models keep", str.encode, bytes.decode)
)
"""Every model that was ever seen or given a reference, with the place of its newest partial aggregate."""

DIGESTS: Final[Collection[bytes]] = marks(
    "reference_digests", writer="davy reference fit; detect forgets them"
)
"""The digest of each model's reference: a reference has hundreds of kilobytes, and many processes look."""

RETIRED: Final[Collection[Retirement]] = plain(
    "retired",
    Retirement,
    writer="davy models; detect",
    write=asdict,
    read=lambda found: Retirement(**found),
)
"""The retired models."""


def names(store: Store) -> set[str]:
    """Return every model that was ever called so."""
    return {model for collection in (MODELS, DIGESTS, RETIRED) for model in collection.keys(store)}
