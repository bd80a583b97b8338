"""MMDetection's inferencer: a call gives ``predictions``, a record a picture; detectors themselves are modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from davy.fields.detections import class_names
from davy.sdk.fields import Columns, Fields
from davy.sdk.options import Options
from davy.sdk.proxy import watch_object
from davy.sdk.watching import NOBODY, Watch


def matches(target: Any) -> bool:
    """Whether it is an inferencer of detectors."""
    return any(kind.__name__ == "DetInferencer" for kind in type(target).__mro__)


def watch(target: Any, model: str, options: Options) -> Any:
    """Return a stand-in whose calls are captured."""
    if options.class_names is None:
        options = options._replace(class_names=class_names(getattr(target, "model", None)))
    return watch_object(target, model, options, {"__call__": _read})


def _read(target: Any, method: Callable[..., Any], model: str, options: Options) -> Watch:
    del target
    return _Inferencer(method, model, options)


class _Inferencer(Watch):
    """Reads what was asked as ``inputs``: a picture or several; how to answer is no input."""

    def rows(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int | None:
        del args, kwargs
        count = len(_records(result))
        return None if count == 1 else count or NOBODY

    def fields(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any
    ) -> tuple[Fields, Fields, Any]:
        (found,) = _records(result)
        asked = self._asked(args, kwargs)
        if isinstance(asked, list) and len(asked) == 1:
            (asked,) = asked
        return super().fields((asked,), {}, found)

    def columns(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Columns:
        return super().columns((self._asked(args, kwargs),), {}, _records(result))

    def arguments(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], columns: Sequence[str] | None = None
    ) -> Mapping[str, Any]:
        del columns
        return self.inputs_of({"inputs": args[0]}, args, kwargs)

    def _asked(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return args[0] if args else kwargs.get("inputs")


def _records(result: Any) -> list[Fields]:
    names = {"bboxes": "boxes"}
    return [
        {names.get(name, name): value for name, value in each.items()}
        for each in result.get("predictions", ())
    ]
