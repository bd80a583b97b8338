"""What the app asks for of a watched function or model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from davy.sdk.fields import Inputs


class Options(NamedTuple):
    """What the app asked for, as `davy.watch` takes it."""

    batched: bool | None = None
    inputs: Inputs = None
    output: str | None = None
    embedding: str | None = None
    members: Any = None
    shadow: Any = None
    class_names: Any = None
    tokenizer: Any = None

    def for_method(self, name: str) -> Options:
        """Return the options for one method of an object: a shadow answers with its method of that name, if any."""
        return self.for_shadow(lambda model: getattr(model, name, model))

    def for_shadow(self, change: Callable[[Any], Any]) -> Options:
        """Return the options with another shadow made of the one there is, if any."""
        if isinstance(self.shadow, Mapping):
            return self._replace(shadow={name: change(model) for name, model in self.shadow.items()})
        return self if self.shadow is None else self._replace(shadow=change(self.shadow))


class CallRecord(NamedTuple):
    """What is recorded of a call, read on the caller's thread."""

    rows: int | None
    low: int
    found: Any
    latency_ms: float
    at: int
