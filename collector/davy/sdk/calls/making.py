"""What the app makes of the arguments of a call, ``inputs=function``: its fields, or the word that it failed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from davy.fields.losses import INPUTS_FAILED
from davy.sdk.guard import warn


class Maker:
    """Does as the app's function, and makes nothing where that raises or gives no mapping.

    Parameters
    ----------
    function
        What the app gave as ``inputs``.
    model
        Whose inputs it makes.
    """

    __slots__ = ("_function", "_model", "_now")

    def __init__(self, function: Callable[..., Any], model: str) -> None:
        self._function = function
        self._model = model
        self._now = threading.local()

    def __call__(self, *args: Any, **kwargs: Any) -> Mapping[str, Any]:
        """Return the fields."""
        try:
            found = self._function(*args, **kwargs)
            if hasattr(type(found), "items"):  # a mapping, or a frame by its columns
                return dict(found.items())
            failed = f"gave {type(found).__name__} and no mapping"
        except Exception as error:  # noqa: BLE001 - whatever the app's function raises, the answer is recorded
            failed = f"raised {type(error).__name__}"
        self._now.failed = True
        warn(INPUTS_FAILED, f"the function given as inputs= of {self._model} {failed}", self._model)
        return {}

    def has_failed(self) -> bool:
        """Whether it made nothing in this thread since this was asked before."""
        failed = getattr(self._now, "failed", False)
        self._now.failed = False
        return failed
