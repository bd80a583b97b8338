"""Which models are retired: they leave metrics, pages and memory, and what is kept of them stays.

A person retires a model, and it stays so until somebody keeps it; or its silence does, until its next inference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from davy.models import RETIRED, By, Retirement
from davy.store import Batch, Store

if TYPE_CHECKING:
    from davy.runtime import Runtime

_LOOK_EVERY_NS: Final = 1_000_000_000


def retire(models: Iterable[str], batch: Batch, *, at: int, by: By) -> None:
    """Retire models; one that is retired already stays as it is."""
    for model in models:
        RETIRED.add(batch, model, Retirement(at, by))


def keep(models: Iterable[str], batch: Batch) -> None:
    """Take models back."""
    RETIRED.delete(batch, *models)


def retirements(store: Store) -> dict[str, Retirement]:
    """Return the retired models."""
    return dict(RETIRED.items(store))


def is_retired(model: str, store: Store) -> bool:
    """Whether a model is retired now."""
    return RETIRED.has(store, model)


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
