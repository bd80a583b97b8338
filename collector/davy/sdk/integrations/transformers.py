"""Hugging Face pipelines: calls by text, picture, sound, record or chat, batches of these, and streams of them."""

from __future__ import annotations

import copy
import functools
import inspect
import sys
import time
import types
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np

from davy.fields.losses import BATCH_AS_ROW
from davy.sdk.fields import Columns, Fields
from davy.sdk.guard import Guard
from davy.sdk.home import HOME
from davy.sdk.integrations._arrays import column, named_ids
from davy.sdk.integrations._pipelines import Outputs, is_chat, pixels, reader_for
from davy.sdk.options import Options
from davy.sdk.proxy import watch_object
from davy.sdk.watching import NOBODY, Watch

_NUMBERED: Final = frozenset(
    {"text-classification", "sentiment-analysis", "object-detection", "image-segmentation"}
    | {f"{what}-classification" for what in ("image", "audio", "video")}
)
"""Tasks whose classes are those of the model."""
_ASKED: Final = frozenset(
    {"inputs", "text_inputs", "text", "texts", "sequences", "question", "context", "query", "table", "image"}
    | {"images", "audio", "audios", "videos", "video"}
)
"""Arguments that hold what is asked; the others say how to answer."""
_FILES: Final = ("image", "audio", "video", "speech", "depth", "mask-generation", "object", "visual")
_GUARD: Final = Guard("stream")


def matches(target: Any) -> bool:
    """Whether it is a pipeline."""
    return isinstance(target, sys.modules["transformers"].Pipeline)


def watch(target: Any, model: str, options: Options) -> Any:
    """Return a stand-in whose calls are captured."""
    return watch_object(target, model, options, {"__call__": _PipelineWatch})


class _PipelineWatch(Watch):
    def __init__(self, target: Any, method: Callable[..., Any], model: str, options: Options) -> None:
        super().__init__(method, model, options)
        self._task = str(target.task)
        config = getattr(target.model, "config", None)
        if self._class_names is None and self._task in _NUMBERED:
            self._class_names = named_ids(config)
        self._reader = reader_for(self._task, config)
        self._names = _positional(type(target).__call__)
        self._of_files = any(word in self._task for word in _FILES) and "text-to" not in self._task

    def wrap(self, method: Callable[..., Any]) -> Callable[..., Any]:
        whole = super().wrap(method)

        @functools.wraps(method)
        def watched(*args: Any, **kwargs: Any) -> Any:
            name = "" if args else next((each for each in kwargs if each in _ASKED), "")
            given = args[0] if args else kwargs.get(name)
            kept: deque[Any] = deque()
            teed = _teed(given, kept)
            if teed is given:
                held = _held(given)
                if held is given or not args:
                    return whole(*args, **kwargs)
                begun = time.perf_counter_ns()
                return self.observe((held, *args[1:]), kwargs, method(*args, **kwargs), begun)
            started = time.perf_counter_ns()
            more = args[1:] if args else ()
            result = method(*((teed, *more) if args else ()), **({**kwargs, name: teed} if name else kwargs))
            return self._follow_items(result, kept, more, kwargs, started)

        return watched

    def _follow_items(
        self, result: Any, kept: deque[Any], more: Sequence[Any], kwargs: Mapping[str, Any], started: int
    ) -> Any:
        """Return what the app iterates over: the very object, each of whose answers is captured when it is taken."""
        kwargs = {key: value for key, value in kwargs.items() if key not in _ASKED}
        if not hasattr(result, "__next__") and not hasattr(result, "__iter__"):
            return result
        if isinstance(result, (list, dict)):  # messages of one chat, or all answers at once
            return self.observe((list(kept), *more), kwargs, result, started)
        with _GUARD:
            result._davy_take = functools.partial(self._take_item, kept, more, kwargs)
            kind: Any = type(result)
            result.__class__ = _followed(kind)
            return result
        HOME.integration_failed += 1
        return result

    def _take_item(
        self, kept: deque[Any], more: Sequence[Any], kwargs: Mapping[str, Any], answer: Any, started: int
    ) -> None:
        item = kept.popleft() if kept else None  # which another process has read
        self.observe((_Item(item), *more), kwargs, answer, started)

    def _shortcut(self, *_: Any) -> None:
        """Return nothing: fields are made of the call, none is taken from it."""

    def rows(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int | None:
        asked = self._asked(args, kwargs, result)
        if asked == []:
            return NOBODY
        if isinstance(result, (types.GeneratorType, type(None))):
            return 0
        return len(asked) if isinstance(asked, list) else None

    def fields(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any
    ) -> tuple[Fields, Fields, Any]:
        asked = self._asked(args, kwargs, result)
        assert not isinstance(asked, list)
        if isinstance(asked.get("input"), list):  # whose answers are not one each
            (HOME.client or HOME.begin()).misread(self.model, BATCH_AS_ROW)
        if _nested_once(result):
            result = result[0]  # one input whose answer is several, or one text that came as its words
        outputs = self._reader(result)
        inputs = self.inputs_of(asked, args, kwargs)
        return {**inputs}, outputs, outputs.pop("embedding", None)

    def inputs_alone(self, args: Sequence[Any], kwargs: Mapping[str, Any], rows: int | None) -> Any:
        asked: Any = self._asked(args, kwargs, None if rows is None else [None] * rows)
        inputs = self.inputs_of(_table(asked) if isinstance(asked, list) else asked, args, kwargs, rows)
        return (inputs, {}, None) if rows is None else Columns(inputs, {})

    def columns(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Columns:
        asked = self._asked(args, kwargs, result)
        assert isinstance(asked, list)
        answers = [self._reader(each) for each in self._by_input(result, len(asked))]
        outputs = _table(answers)
        embedding = outputs.pop("embedding", None)
        inputs = self.inputs_of(_table(asked), args, kwargs, len(asked))
        return Columns(inputs, outputs, None if embedding is None else np.stack(list(embedding)))

    def _asked(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> list[Fields] | Fields:
        """Return the inputs of a call: of each inference, or of the only one."""
        named = dict(zip(self._names, args, strict=False))
        named |= {name: value for name, value in kwargs.items() if name in _ASKED}
        named = {name: value for name, value in named.items() if name in _ASKED and value is not None}
        words = bool(kwargs.get("is_split_into_words"))
        if len(named) != 1:
            return self._zipped(named, result)
        (value,) = named.values()
        if isinstance(value, _Item):
            return self._question(value.value)
        several = isinstance(value, (list, tuple)) and not is_chat(value)
        if several and words and value and isinstance(value[0], str):
            return {"words": list(value)}
        if not several:
            return self._question(value)
        if len(value) == len(self._by_input(result, len(value))):
            return [self._question(each) for each in value]
        return {"input": list(value)}

    def _zipped(self, named: Mapping[str, Any], result: Any) -> list[Fields] | Fields:
        """Return the inputs of a call with several: lists of one length go together where the answers do."""
        lists = {
            name: value for name, value in named.items() if isinstance(value, list) and not is_chat(value)
        }
        sizes = {len(value) for value in lists.values()}
        if len(sizes) == 1 and isinstance(result, list) and len(result) in sizes:
            (count,) = sizes
            rows = [{name: value[at] for name, value in lists.items()} for at in range(count)]
            return [self._question({**named, **row}) for row in rows]
        return self._question(named)

    def _by_input(self, result: Any, count: int) -> Sequence[Any]:
        if self._task == "fill-mask" and count == 1 and isinstance(result, list):
            return [result]  # a list of one text is answered as the text itself
        return result if isinstance(result, list) else ()

    def _question(self, value: Any) -> Fields:
        """Return what one inference was asked."""
        if value is None:
            return {}
        if isinstance(value, str):
            return {"path" if self._of_files else "text": value}
        if isinstance(value, Mapping):
            return _record(value)
        messages = getattr(value, "messages", value)
        if is_chat(messages):
            return _chat(messages)
        seen = _array(value)
        if pixels(value) is not value:
            return {"image": seen}
        if "audio" in self._task or "speech" in self._task:
            return {"audio": seen}
        return {"image" if self._of_files and isinstance(seen, np.ndarray) else "input": seen}


class _Item:
    """One item of a stream: one inference, whatever it holds."""

    def __init__(self, value: Any) -> None:
        self.value = value


@lru_cache(maxsize=16)
def _followed(kind: type) -> type:
    """Return the class of iterators of a kind whose items are captured when they are taken."""

    def take(self: Any) -> Any:
        started = time.perf_counter_ns()
        answer = kind.__next__(self)  # type: ignore[attr-defined]
        self._davy_take(answer, started)
        return answer

    return type(kind.__name__, (kind,), {"__module__": kind.__module__, "__next__": take})


def _teed(given: Any, kept: deque[Any]) -> Any:
    """Return a stream that keeps its items while the pipeline takes them; anything else as it is."""
    if isinstance(given, types.GeneratorType):
        return _keeping(given, kept)
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(given, torch.utils.data.Dataset):
        return given
    with _GUARD:
        teed = copy.copy(given)
        vars(teed).update(_davy_kept=kept, _davy_next=0)
        kind: Any = type(given)
        teed.__class__ = _kept(kind)
        return teed
    return given


def _held(given: Any) -> Any:
    """Return records as they are before the call: pipelines of sound take from them what they have read."""
    if type(given) is dict:
        return dict(given)
    if type(given) is list and given and type(given[0]) is dict and not is_chat(given):
        return [dict(each) if type(each) is dict else each for each in given]
    return given


def _keeping(given: Iterator[Any], kept: deque[Any]) -> Iterator[Any]:
    for item in given:
        kept.append(_held(item))
        yield item


@lru_cache(maxsize=64)
def _kept(kind: type) -> type:
    """Return the class of data sets of a kind whose items are kept."""
    body: dict[str, Any] = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    if hasattr(kind, "__len__"):

        def getitem(self: Any, at: Any) -> Any:
            items: Any = kind
            item = items.__getitem__(self, at)
            if self._davy_next == at or (
                at == 0 and self._davy_next == len(self)
            ):  # a pipeline peeks at the first
                self._davy_kept.append(_held(item))
                self._davy_next = at + 1
            return item

        body["__getitem__"] = getitem
    else:

        def iterate(self: Any) -> Iterator[Any]:
            items: Any = kind
            return _keeping(items.__iter__(self), self._davy_kept)

        body["__iter__"] = iterate
    return type(kind.__name__, (kind,), body)


def _positional(call: Callable[..., Any]) -> list[str]:
    """Return the names of what a pipeline is asked, in the order of its arguments."""
    kinds = inspect.Parameter
    found = [
        each.name
        for each in list(inspect.signature(call).parameters.values())[1:]
        if each.kind in {kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD}
    ]
    return [name if name in _ASKED or at else "inputs" for at, name in enumerate(found)] or ["inputs"]


def _record(values: Mapping[Any, Any]) -> Fields:
    """Return the items of a record; pictures as pixels, a chat as its messages, raw sound as ``audio``."""
    found: Fields = {}
    for name, value in values.items():
        if value is None:
            continue
        messages = getattr(value, "messages", value)
        if is_chat(messages):
            found |= _chat(messages)
        elif name in {"raw", "array"} and "sampling_rate" in values:
            found["audio"] = _array(value)
        elif pixels(value) is not value:
            found["image" if name in {"images", "inputs"} else str(name)] = _array(value)
        elif isinstance(value, str) and name in {"inputs", "text_inputs", "sequences"}:
            found["text"] = value
        else:
            found[str(name)] = _array(value)
    return found


def _chat(messages: Sequence[Mapping[str, Any]]) -> Fields:
    """Return the messages of a chat, and the first picture in them as a field of its own."""
    found: list[Any] = []
    image = None
    for message in messages:
        content = message.get("content")
        if isinstance(content, (list, tuple)):
            parts = [dict(part) if isinstance(part, Mapping) else part for part in content]
            for part in parts:
                for name, value in list(part.items()) if isinstance(part, dict) else ():
                    if pixels(value) is not value:
                        image = _array(value) if image is None else image
                        del part[name]
            message = {**message, "content": parts}
        found.append(message)
    return {"messages": found} if image is None else {"messages": found, "image": image}


def _array(value: Any) -> Any:
    if hasattr(value, "detach"):
        return value.detach().cpu().numpy()
    if hasattr(value, "to_dict") and hasattr(value, "columns"):  # the table of a question
        return value.to_dict("list")
    return pixels(value)


def _nested_once(result: Any) -> bool:
    return isinstance(result, list) and len(result) == 1 and isinstance(result[0], list)


def _table(rows: Sequence[Outputs]) -> dict[str, Any]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: column(row.get(name) for row in rows) for name in names}
