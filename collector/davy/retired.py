"""Which models are retired: they leave metrics, pages and memory, and what is kept of them stays.

A person retires a model, and it stays so until somebody keeps it; or its silence does, until its next inference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from davy.codec import dump_any, load_any
from davy.store import Batch, Store

if TYPE_CHECKING:
    from davy.runtime import Runtime

COLLECTION: Final = "retired"
_LOOK_EVERY_NS: Final = 1_000_000_000
By = Literal["a person", "silence"]


@dataclass(frozen=True, slots=True)
class Retirement:
    """When a model was retired, nanoseconds since the epoch, and by whom."""

    at: int
    by: By


def retire(models: Iterable[str], batch: Batch, *, at: int, by: By) -> None:
    """Retire models; one that is retired already stays as it is."""
    for model in models:
        batch.add(COLLECTION, model, dump_any({"at": at, "by": by}))


def keep(models: Iterable[str], batch: Batch) -> None:
    """Take models back."""
    for model in models:
        batch.delete(COLLECTION, model)


def retirements(store: Store) -> dict[str, Retirement]:
    """Return the retired models."""
    return {model: Retirement(**load_any(data)) for model, data in store.items(COLLECTION)}


def is_retired(model: str, store: Store) -> bool:
    """Whether a model is retired now."""
    return store.get(COLLECTION, model) is not None


class Retirements:
    """The retired models, looked up at most once a second by the runtime's clock."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._looked: int | None = None
        self._found: dict[str, Retirement] = {}
        self._taken: frozenset[str] = frozenset()

    def current(self) -> Mapping[str, Retirement]:
        """Return the retired models."""
        now = self._runtime.clock()
        if self._looked is None or not 0 <= now - self._looked < _LOOK_EVERY_NS:
            self._found, self._looked = retirements(self._runtime.store), now
        return self._found

    def take(self) -> list[str]:
        """Return the models that were retired since the last call: a role has to let go of them."""
        now = frozenset(self.current())
        new, self._taken = sorted(now - self._taken), now
        return new
