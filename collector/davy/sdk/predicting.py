"""Objects with ``predict_proba`` that are of no framework: one row or many is decided by what each call shows.

scikit-learn's shape of call, a table in and a row out for each of its rows, is a batch. One picture, text, mapping or
vector with one vector of probabilities is one inference, without an axis of inferences. What the app says holds:
with ``batched=True`` every call is a batch, with ``batched=False`` every call is one inference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from davy.sdk.calls.single import size_shown
from davy.sdk.watching import Watch


class PredictorWatch(Watch):
    """Reads calls of a predictor, of which only some have an axis of inferences."""

    def by_rows(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> bool:
        """Return whether the first axis of this very call is the inferences."""
        if self._batched:
            return True
        size = size_shown(self._binder.bind(args, kwargs), result)
        return size == 1 if self._asked_of_one else size is not None  # a row may come with an axis of one

    def _shortcut(self, *call: Any) -> Any:
        """Return a short way for calls of the very same shapes: with others it may be a batch."""
        found = super()._shortcut(*call)
        return None if found is None or found.ragged else found
