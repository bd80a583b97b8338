"""Sentence Transformers: ``encode`` gives embeddings, ``predict`` of a cross-encoder a score for each pair of texts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from davy.sdk.calls.tensors import as_array
from davy.sdk.fields import Columns, Fields
from davy.sdk.integrations._arrays import column
from davy.sdk.options import Options
from davy.sdk.proxy import watch_object
from davy.sdk.watching import NOBODY, Watch, one_or_many

_ENCODES: Final = ("encode", "encode_query", "encode_document")


def matches(target: Any) -> bool:
    """Whether it is a model."""
    library = sys.modules["sentence_transformers"]
    return isinstance(target, (library.SentenceTransformer, library.CrossEncoder))


def watch(target: Any, model: str, options: Options) -> Any:
    """Return a stand-in whose embeddings, or scores, are captured."""
    methods = _ENCODES if hasattr(target, "encode") else ("predict",)
    return watch_object(target, model, options, dict.fromkeys(methods, _TextWatch))


class _TextWatch(Watch):
    """Reads calls with a text, or a list of texts or of pairs; what a text is answered with has one axis less."""

    def __init__(self, target: Any, method: Callable[..., Any], model: str, options: Options) -> None:
        super().__init__(method, model, options)
        self._embeds = hasattr(target, "encode")

    def rows(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int | None:
        asked = self._asked(args, kwargs)
        if not isinstance(asked, list):
            return None
        if not asked:
            return NOBODY
        return one_or_many(len(asked)) if len(asked) == len(result) else 0

    def fields(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any
    ) -> tuple[Fields, Fields, Any]:
        asked = self._asked(args, kwargs)
        found = result
        if isinstance(asked, list):
            (asked,), found = asked, result[0]
        inputs = self.inputs_of(_fields(asked), args, kwargs)
        outputs = self._answer(found)
        return {**inputs}, outputs, outputs.pop("embedding", None)

    def columns(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Columns:
        asked = _table([_fields(each) for each in self._asked(args, kwargs)])
        inputs = self.inputs_of(asked, args, kwargs, len(result))
        outputs = _table([self._answer(each) for each in result])
        embedding = outputs.pop("embedding", None)
        return Columns(inputs, outputs, None if embedding is None else np.stack(list(embedding)))

    def _asked(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return the text, or the list of texts; of one pair a tuple."""
        found = args[0] if args else next(iter(kwargs.values()), None)
        if isinstance(found, np.ndarray):
            found = found.tolist()
        if isinstance(found, (list, tuple)):
            pair = not self._embeds and len(found) == 2 and all(isinstance(each, str) for each in found)
            return tuple(found) if pair else list(found)
        return found

    def _answer(self, found: Any) -> Fields:
        if isinstance(found, Mapping):  # everything a model knows of a text
            found = found.get("sentence_embedding")
        array = np.asarray(as_array(found))
        if not self._embeds:
            return {self._output or ("value" if array.size == 1 else self._judge(array)): array.squeeze()}
        array = array.astype(np.float32)
        return {"embedding": array.mean(axis=0) if array.ndim > 1 else array}  # the embeddings of its tokens

    def _shortcut(self, *_: Any) -> None:
        """Return nothing: fields are made of the call, none is taken from it."""


def _fields(asked: Any) -> Fields:
    if isinstance(asked, (list, tuple)) and len(asked) == 2:
        return {"text": asked[0], "other": asked[1]}
    return dict(asked) if isinstance(asked, Mapping) else {"text": asked}


def _table(rows: Sequence[Fields]) -> dict[str, Any]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: column(row.get(name) for row in rows) for name in names}
