"""Hugging Face pipelines: what goes in as text, image or record, and what comes out as label and score."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from davy.event import Array
from davy.sdk.fields import Columns
from davy.sdk.integrations._arrays import column
from davy.sdk.proxy import watch_object
from davy.sdk.watching import Options, Watch


def matches(target: Any) -> bool:
    """Whether it is a pipeline."""
    return isinstance(target, sys.modules["transformers"].Pipeline)


def watch(target: Any, model: str, options: Options) -> Any:
    """Give a stand-in whose calls are captured."""
    return watch_object(target, model, options, {"__call__": _PipelineWatch})


class _PipelineWatch(Watch):
    def __init__(self, target: Any, method: Callable[..., Any], model: str, options: Options) -> None:
        super().__init__(method, model, options)
        self._task = str(target.task)
        self._numbers: dict[str, int] = dict(getattr(target.model.config, "label2id", None) or {})

    def rows(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int:
        given = _given(args, kwargs)
        if not isinstance(given, list):
            return 1 if isinstance(result, (list, dict)) else 0  # generators are read by the app, not by us
        return len(given) if isinstance(result, list) and len(result) == len(given) else 0

    def columns(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Columns:
        given = _given(args, kwargs)
        many = isinstance(given, list)
        asked = [_question(each) for each in (given if many else [given])]
        if self._transform is not None and not many:
            asked = [dict(self._transform(*args, **kwargs))]
        answers = [self._answer(each) for each in (result if many else [result])]
        outputs = _table(answers)
        embedding = outputs.pop("embedding", None)
        return Columns(_table(asked), outputs, None if embedding is None else np.stack(list(embedding)))

    def _answer(self, found: Any) -> dict[str, Any]:
        if self._task == "feature-extraction":
            tokens = np.asarray(found, np.float32)
            return {"embedding": tokens.reshape(-1, tokens.shape[-1]).mean(axis=0)}
        if isinstance(found, list) and len(found) == 1:
            found = found[0]
        if isinstance(found, Mapping):
            return dict(found)
        if not found or not all(
            isinstance(each, Mapping) and {"label", "score"} <= each.keys() for each in found
        ):
            return {"value": found}
        best = max(found, key=lambda each: each["score"])
        outputs = {"label": best["label"], "score": best["score"]}
        if {each["label"] for each in found} == self._numbers.keys() and len(found) == len(self._numbers):
            ordered = sorted(found, key=lambda each: self._numbers[each["label"]])
            outputs["probs"] = np.array([each["score"] for each in ordered], np.float32)
        return outputs


def _given(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    if args:
        return args[0]
    return kwargs["inputs"] if "inputs" in kwargs else dict(kwargs)


def _question(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        return {"text": value}
    if isinstance(value, Mapping):
        return {str(name): each for name, each in value.items() if isinstance(each, (str, bytes, int, float))}
    if hasattr(value, "convert"):  # Pillow
        return {"image": np.asarray(value)}
    return {"input": value}


def _table(rows: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: column(row.get(name) for row in rows) for name in names}
