"""Answers that come later: the app's stream is what the model gave, and the call is captured when it ends."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import io
import itertools
import pickle
import threading
import types
from collections.abc import AsyncIterator, Iterator
from typing import Any, Self

import numpy as np
import pytest
from support.sdk_rig import Store, inferences_in, start

import davy
from davy.event import Inference
from davy.sdk.leaving import stop_upstream
from davy.sdk.streams import MOST_OPEN, OPEN
from davy.sdk.transcript import MOST_BYTES, MOST_PIECES

pytestmark = pytest.mark.fast


def last(url: str) -> Inference:
    assert davy.flush()
    return inferences_in(url)[-1]


def told(url: str) -> tuple[dict[str, Any], dict[str, Any]]:
    one = last(url)
    return dict(one.inputs), dict(one.outputs)


class Log:
    """What reached the model's own generator."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def tokens(self, prompt: str) -> Iterator[str]:
        try:
            sent = yield "hello"  # type: ignore[misc]
            self.seen.append(sent)
            yield f" {sent}"
        except ValueError as error:
            self.seen.append(error)
            yield " caught"
        finally:
            self.seen.append("end")

    async def atokens(self, prompt: str) -> AsyncIterator[str]:
        try:
            sent = yield "hello"  # type: ignore[misc]
            self.seen.append(sent)
            await asyncio.sleep(0)
            yield f" {sent}"
        except ValueError as error:
            self.seen.append(error)
            yield " caught"
        finally:
            self.seen.append("end")


def test_an_exhausted_generator_is_captured_as_one_text(own_client: str) -> None:
    stream = davy.watch(Log().tokens, "s:1")("hi")
    assert type(stream) is types.GeneratorType
    assert inspect.getgeneratorstate(stream) == inspect.GEN_CREATED
    assert stream.__name__ == "tokens"
    assert list(stream) == ["hello", " None"]
    assert told(own_client) == ({"prompt": "hi"}, {"text": "hello None"})
    assert last(own_client).latency_ms is not None


def test_nothing_is_read_ahead_and_nothing_is_held_back(own_client: str) -> None:
    made: list[int] = []

    def numbers(n: int) -> Iterator[int]:
        for i in range(n):
            made.append(i)
            yield i

    for read, piece in enumerate(davy.watch(numbers, "s:1")(5)):
        assert made == list(range(read + 1))
        assert piece == read
    assert told(own_client)[1]["value"].tolist() == [0, 1, 2, 3, 4]


def test_what_is_sent_reaches_the_generator_and_its_return_value_the_app(own_client: str) -> None:
    log = Log()
    stream: Any = davy.watch(log.tokens, "s:1")("hi")
    assert next(stream) == "hello"
    assert stream.send("you") == " you"
    with pytest.raises(StopIteration):
        next(stream)
    assert log.seen == ["you", "end"]

    def with_result(x: float) -> Iterator[float]:
        yield x
        return "done"

    def outer() -> Iterator[float]:
        assert (yield from davy.watch(with_result, "s:1")(1.0)) == "done"  # type: ignore[func-returns-value]

    assert list(outer()) == [1.0]


def test_what_is_thrown_reaches_the_generator(own_client: str) -> None:
    log, error = Log(), ValueError("no")
    stream: Any = davy.watch(log.tokens, "s:1")("hi")
    next(stream)
    assert stream.throw(error) == " caught"
    assert list(stream) == []
    assert log.seen == [error, "end"]
    assert told(own_client)[1] == {"text": "hello caught"}


def test_a_generator_that_is_closed_early_is_captured_as_far_as_it_came(own_client: str) -> None:
    log = Log()
    stream: Any = davy.watch(log.tokens, "s:1")("hi")
    next(stream)
    stream.close()
    assert log.seen == ["end"]
    assert told(own_client) == ({"prompt": "hi"}, {"text": "hello", "ended": "closed"})
    stream.close()
    assert len(inferences_in(own_client)) == 1


def test_a_generator_that_is_dropped_is_captured(own_client: str) -> None:
    log = Log()
    stream: Any = davy.watch(log.tokens, "s:1")("hi")
    next(stream)
    del stream
    gc.collect()
    assert log.seen == ["end"]
    assert told(own_client) == ({"prompt": "hi"}, {"text": "hello", "ended": "abandoned"})


@pytest.mark.parametrize("kind", ["tokens", "atokens"])
def test_a_stream_that_is_never_read_is_captured_with_its_inputs(own_client: str, kind: str) -> None:
    log = Log()
    davy.watch(getattr(log, kind), "s:1")("hi")
    gc.collect()
    assert log.seen == []
    assert told(own_client) == ({"prompt": "hi"}, {"ended": "abandoned"})


def test_the_models_own_exception_passes_and_the_inputs_are_kept(own_client: str) -> None:
    class Broken(Exception):
        pass

    def numbers(x: float) -> Iterator[float]:
        yield x
        raise Broken(x)

    stream = davy.watch(numbers, "s:1")(1.0)
    assert next(stream) == 1.0
    with pytest.raises(Broken) as raised:
        next(stream)
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None
    assert list(stream) == []
    inputs, outputs = told(own_client)
    assert (inputs, outputs["ended"]) == ({"x": 1.0}, "failed")


def test_an_asynchronous_generator_is_followed(own_client: str) -> None:
    log = Log()

    async def read() -> list[str]:
        stream: Any = davy.watch(log.atokens, "s:1")("hi")
        assert type(stream) is types.AsyncGeneratorType
        found = [await anext(stream), await stream.asend("you")]
        return [*found, *[piece async for piece in stream]]

    assert asyncio.run(read()) == ["hello", " you"]
    assert log.seen == ["you", "end"]
    assert told(own_client) == ({"prompt": "hi"}, {"text": "hello you"})


def test_an_asynchronous_generator_is_thrown_into_and_closed(own_client: str) -> None:
    log, error = Log(), ValueError("no")

    async def read() -> None:
        stream: Any = davy.watch(log.atokens, "s:1")("hi")
        await anext(stream)
        assert await stream.athrow(error) == " caught"
        await stream.aclose()

    asyncio.run(read())
    assert log.seen == [error, "end"]
    assert told(own_client)[1] == {"text": "hello caught", "ended": "closed"}


def test_an_asynchronous_generator_left_to_the_loop_is_closed_by_it(own_client: str) -> None:
    log = Log()
    complaints: list[Any] = []

    async def read() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        stream: Any = davy.watch(log.atokens, "s:1")("hi")
        await anext(stream)
        held.append(stream)

    held: list[Any] = []
    asyncio.run(read())
    assert (log.seen, complaints) == (["end"], [])
    assert told(own_client)[1]["text"] == "hello"


class Chunks:
    """As clients of language models give a stream: an iterator, a context and a generator at once."""

    def __init__(self, pieces: list[Any]) -> None:
        self._pieces = iter(pieces)
        self.response = "the response"
        self.closed = False

    def __next__(self) -> Any:
        return next(self._pieces)

    def __iter__(self) -> Iterator[Any]:
        yield from self._pieces

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.closed = True


CHUNKS = [
    {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
    types.SimpleNamespace(choices=[types.SimpleNamespace(delta=types.SimpleNamespace(content="he"))]),
    {"choices": [{"delta": {"content": "llo"}}]},
    {"choices": [{"delta": {}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"total_tokens": 7}},
]


def test_chunks_of_language_models_are_joined_to_their_text(own_client: str) -> None:
    def chat(prompt: str) -> Iterator[Any]:
        yield from CHUNKS

    assert list(davy.watch(chat, "s:1")("hi")) == CHUNKS
    assert told(own_client)[1] == {"text": "hello", "finish_reason": "stop", "total_tokens": 7}


def _chunk(delta: dict[str, Any], index: int = 0, **more: Any) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "choices": [{"index": index, "delta": delta, **more}]}


def _objects(value: Any) -> Any:
    """Return chunks as the objects that clients make of them."""
    if isinstance(value, dict):
        return types.SimpleNamespace(**{name: _objects(item) for name, item in value.items()})
    return [_objects(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("as_given", [lambda chunk: chunk, _objects], ids=["mappings", "objects"])
def test_tool_calls_reasoning_usage_and_why_it_ended_are_kept(as_given: Any, own_client: str) -> None:
    name = {"index": 0, "id": "t1", "function": {"name": "get_weather", "arguments": '{"ci'}}
    chunks = [
        _chunk({"role": "assistant", "reasoning_content": "let me "}),
        _chunk({"reasoning_content": "think"}),
        _chunk({"tool_calls": [name]}),
        _chunk({"tool_calls": [{"index": 0, "function": {"arguments": 'ty": 1}'}}]}),
        _chunk({}, finish_reason="tool_calls", logprobs={"content": [{"logprob": -0.5}, {"logprob": -1.5}]}),
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
    ]
    list(davy.watch(lambda prompt: (as_given(chunk) for chunk in chunks), "s:1")("weather?"))
    outputs = told(own_client)[1]
    assert "get_weather" in outputs["tool_calls"]
    assert '"city"' in outputs["tool_calls"].replace("\\", "")
    assert outputs["reasoning_content"] == "let me think"
    assert (outputs["finish_reason"], outputs["prompt_tokens"], outputs["completion_tokens"]) == (
        "tool_calls",
        3,
        2,
    )
    assert (outputs["mean_surprisal"], outputs["max_surprisal"]) == (1.0, 1.5)
    assert "text" not in outputs


def test_several_choices_are_kept_apart(own_client: str) -> None:
    chunks = [_chunk({"content": word + str(i)}, i) for word in "ab" for i in (0, 1, 2)]
    chunks += [_chunk({}, i, finish_reason=reason) for i, reason in enumerate(["stop", "length", "stop"])]
    list(davy.watch(lambda prompt: (chunk for chunk in chunks), "s:1")("p"))
    assert told(own_client)[1] == {
        "text": "a0b0",
        "finish_reason": "stop",
        "texts": ["a1b1", "a2b2"],
        "other_finish_reason": ["length", "stop"],
    }


def test_a_long_chat_is_cut_and_its_end_is_kept(own_client: str) -> None:
    chunks = [_chunk({"content": "x" * 1_000}) for _ in range(100)] + [_chunk({}, finish_reason="stop")]
    list(davy.watch(lambda prompt: (chunk for chunk in chunks), "s:1", output="said")("p"))
    outputs = told(own_client)[1]
    assert (len(outputs["said"]), outputs["finish_reason"]) == (64 * 2**10, "stop")
    assert davy.stats()["incomplete"] == {"stream_cut": 1}


def test_a_librarys_stream_is_stood_in_for(own_client: str) -> None:
    stream = Chunks(CHUNKS)
    found = davy.watch(lambda prompt: stream, "s:1")("hi")
    assert isinstance(found, Chunks)
    assert found.response == "the response"
    with found as entered:
        assert next(entered) is CHUNKS[0]
        assert list(entered) == CHUNKS[1:]
    assert stream.closed
    assert told(own_client)[0] == {"prompt": "hi"}
    assert told(own_client)[1] == {"text": "hello", "finish_reason": "stop", "total_tokens": 7}
    assert len(inferences_in(own_client)) == 1


def test_a_librarys_stream_that_is_left_early_is_captured(own_client: str) -> None:
    stream = Chunks(CHUNKS)
    with davy.watch(lambda prompt: stream, "s:1")("hi") as found:
        next(found)
        next(found)
    assert told(own_client)[1] == {"text": "he", "ended": "closed"}


class Numbers:
    def __init__(self) -> None:
        self.left = 3

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> float:
        if not self.left:
            raise StopIteration
        self.left -= 1
        return float(self.left)


def test_an_iterator_of_a_library_is_followed(own_client: str) -> None:
    found = davy.watch(lambda x: Numbers(), "s:1")(3)
    assert isinstance(found, Numbers)
    assert list(found) == [2.0, 1.0, 0.0]
    assert told(own_client)[1]["value"].tolist() == [2.0, 1.0, 0.0]


def test_a_built_in_iterator_is_the_very_object_and_the_inputs_are_kept(own_client: str) -> None:
    built_in = (
        iter([1, 2]),
        map(float, [1]),
        zip([1], [2], strict=True),
        reversed([1]),
        itertools.chain([1]),
    )
    for given in (*built_in, *itertools.tee([1])):
        assert davy.watch(lambda x, given=given: given, "s:1", inputs=["x"])(3) is given
        assert last(own_client).inputs == {"x": 3}


def test_a_copy_of_a_librarys_iterator_is_one_of_its_own(own_client: str) -> None:
    found = davy.watch(lambda x: Numbers(), "s:1")(3)
    next(found)
    assert [*copy.copy(found)] == [*pickle.loads(pickle.dumps(found))] == [*found] == [1.0, 0.0]


def test_a_file_is_the_very_object(own_client: str) -> None:
    file = io.StringIO("a")
    assert davy.watch(lambda x: file, "s:1")(3) is file
    assert last(own_client).inputs == {"x": 3}


def test_what_is_kept_of_a_stream_is_bounded_and_the_cut_is_counted(own_client: str) -> None:
    def endless(piece: Any) -> Iterator[Any]:
        for _ in range(3 * MOST_PIECES):
            yield piece

    for piece, kept in (("x" * 100, MOST_BYTES), (np.zeros(100), MOST_BYTES // 800 + 1), (1.0, MOST_PIECES)):
        for _ in davy.watch(endless, "s:1")(piece):
            pass
        outputs = told(own_client)[1]
        assert len(next(iter(outputs.values()))) == kept
    assert davy.stats()["incomplete"] == {"stream_cut": 3}
    assert OPEN.held == 0


def test_a_piece_that_the_app_uses_again_is_kept_as_it_was(own_client: str) -> None:
    def frames(n: int) -> Iterator[Any]:
        frame = np.zeros(2)
        for i in range(n):
            frame[:] = i
            yield frame

    for _ in davy.watch(frames, "s:1")(3):
        pass
    assert np.asarray(told(own_client)[1]["value"]).tolist() == [[0, 0], [1, 1], [2, 2]]


def test_inputs_are_those_of_the_call_even_when_the_app_uses_them_again(own_client: str) -> None:
    given = np.ones(3)
    stream = davy.watch(lambda x: (float(v) for v in [1.0]), "s:1")(given)
    given[:] = 7
    list(stream)
    assert told(own_client)[0]["x"].tolist() == [1, 1, 1]


def test_more_streams_than_can_be_followed_are_captured_without_their_answers() -> None:
    start(Store())
    ask = davy.watch(lambda x: (v for v in [x]), "s:1")
    streams = [ask(float(i)) for i in range(MOST_OPEN + 5)]
    assert len(OPEN.stories) == MOST_OPEN
    assert davy.stats()["incomplete"] == {"stream_dropped": 5}
    assert [next(stream) for stream in streams] == [float(i) for i in range(MOST_OPEN + 5)]
    del streams
    gc.collect()
    assert not OPEN.stories
    assert davy.stats()["captured"] == MOST_OPEN + 5


def test_streams_that_are_open_when_the_process_ends_are_captured(own_client: str) -> None:
    stream = davy.watch(Log().tokens, "s:1")("hi")
    next(stream)
    stop_upstream(1.0)
    assert told(own_client) == ({"prompt": "hi"}, {"text": "hello", "ended": "abandoned"})
    assert list(stream) == [" None"]
    assert davy.stats()["captured"] == 1


def test_the_context_of_the_call_holds_for_what_is_captured_later(own_client: str) -> None:
    with davy.context(group="session", tags={"country": "FR"}, id="ab" * 16):
        stream = davy.watch(Log().tokens, "s:1")("hi")
    with davy.context(group="another"):
        list(stream)
    found = last(own_client)
    assert (found.id.hex(), found.group, dict(found.tags)) == ("ab" * 16, "session", {"country": "FR"})


def test_a_stream_that_is_sampled_out_is_the_models_own() -> None:
    start(Store(), sample_rate=0.0)
    given = Log().tokens("hi")
    assert davy.watch(lambda prompt: given, "s:1")("hi") is given
    assert davy.stats()["sampled_out"] == 1


def test_a_stream_read_in_another_thread_is_captured_once(own_client: str) -> None:
    stream = davy.watch(Log().tokens, "s:1")("hi")
    thread = threading.Thread(target=list, args=(stream,))
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert told(own_client)[1] == {"text": "hello None"}
    assert len(inferences_in(own_client)) == 1


def test_a_file_is_no_stream_of_answers(own_client: str) -> None:
    with open(__file__, encoding="utf-8") as opened:  # noqa: PTH123 - what an app does
        assert davy.watch(lambda x: opened, "s:1")(1.0) is opened
    assert last(own_client).inputs == {"x": 1.0}


def test_a_shadow_is_not_asked_about_a_stream(own_client: str) -> None:
    assert list(davy.watch(Log().tokens, "s:2", shadow=Log().tokens)("hi")) == ["hello", " None"]
    assert told(own_client)[1] == {"text": "hello None"}
    assert davy.stats()["incomplete"] == {"shadow_dropped": 1}
