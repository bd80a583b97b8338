"""The nine functions a serving app calls. None of them raises, and none waits unless asked to."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar, overload

from davy.event import Inference
from davy.sdk.callables import portable, unwatched, watched
from davy.sdk.guard import Guard, goes_on, warn
from davy.sdk.home import HOME
from davy.sdk.integrations import watch_by_integration, watch_function
from davy.sdk.leaving import TERMINATION, wait_upstream
from davy.sdk.options import Options
from davy.sdk.proxy import watch_object
from davy.sdk.scope import CURRENT, ScopeManager

T = TypeVar("T")
_FEEDBACK: Final = Guard("feedback")
_WATCH: Final = Guard("watch")
_CONTROL: Final = Guard("control")


@overload
def watch(
    target: T,
    model: str,
    *,
    batched: bool | None = None,
    inputs: Sequence[str] | Callable[..., Mapping[str, Any]] | None = None,
    output: str | None = None,
    embedding: str | None = None,
    members: Sequence[Callable[..., Any]] | Mapping[str, Callable[..., Any]] | None = None,
    shadow: Any = None,
    class_names: Sequence[Any] | None = None,
    tokenizer: Any = None,
) -> T: ...


@overload
def watch(
    target: None = None,
    *,
    model: str,
    batched: bool | None = None,
    inputs: Sequence[str] | Callable[..., Mapping[str, Any]] | None = None,
    output: str | None = None,
    embedding: str | None = None,
    members: Sequence[Callable[..., Any]] | Mapping[str, Callable[..., Any]] | None = None,
    shadow: Any = None,
    class_names: Sequence[Any] | None = None,
    tokenizer: Any = None,
) -> Callable[[T], T]: ...


def watch(  # noqa: PLR0913 - the parts of an inference
    target: Any = None,
    model: str = "",
    *,
    batched: bool | None = None,
    inputs: Any = None,
    output: str | None = None,
    embedding: str | None = None,
    members: Any = None,
    shadow: Any = None,
    class_names: Any = None,
    tokenizer: Any = None,
) -> Any:
    """Capture every call of a model; its answers and exceptions stay untouched.

    Parameters
    ----------
    target
        A function, an ``async`` function, or an object with ``predict`` or ``predict_proba`` (else its calls are
        captured). Without it, `watch` gives a decorator.
    model
        ``name:version``.
    batched
        The first axis of arguments and result is the inferences; objects with ``fit`` are taken to work so. A function
        makes one inference a call when not given; a call that looks like several is counted as ``batch_as_row``, unless
        it is False.
    inputs
        Names of the arguments to capture, or of items and columns of theirs: an allow-list; or a function from the
        arguments to a mapping of fields; for a matrix the names of its columns. All arguments by default; a mapping,
        row or record among them becomes its items, with the name of the argument before theirs when there are several
        such arguments.
    output
        Name of the output, for a model that answers with one array or number: ``"logits"``, ``"probs"``, ``"value"``.
        Told by its values when not given; logits look like any numbers.
    embedding
        For a PyTorch module the name of the layer, for an ONNX session the name of the output, whose values are the
        embedding.
    members
        For a PyTorch module: further modules or functions, called with the same arguments without gradients, whose
        answers become alternatives. A list, or a mapping with their names ``name:version``.
    shadow
        Another model, or ``{"name:version": model}``, called with copies of the same arguments in a thread of its own;
        its answer becomes an alternative. When it falls behind, calls are captured without it, and counted.
    class_names
        What the columns of ``probs`` or ``logits`` mean, in their order. Estimators with ``classes_``, pipelines of
        Hugging Face and ONNX models with a ZipMap tell them on their own.
    tokenizer
        For a PyTorch module with ``generate``: what decodes its tokens, so that prompt and answer are captured as text
        too.

    Returns
    -------
    object
        What to call instead. A target that cannot be watched comes back as it is and is counted as
        ``not_watchable``.

    Examples
    --------
    >>> predict = watch(lambda age: {"value": 2 * age}, "double:1")
    >>> predict(age=21)
    {'value': 42}
    """
    with _WATCH:
        TERMINATION.attend()  # in the main thread, most likely, unlike the first capture
        if isinstance(target, str) and not model:
            target, model = None, target
        options = Options(batched, inputs, output, embedding, members, shadow, class_names, tokenizer)
        if target is None:
            return partial(watch, model=model, **options._asdict())
        return _watch(target, model, options)
    HOME.not_watchable += 1
    return target


def capture(  # noqa: PLR0913 - the parts of an inference
    model: str,
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    *,
    embedding: Any = None,
    tags: Mapping[str, Any] | None = None,
    group: str | None = None,
    seq: int | None = None,
    alternatives: Mapping[str, Mapping[str, Any]] | None = None,
    latency_ms: float | None = None,
    id: Any = None,
    at: int | None = None,
) -> str | None:
    """Capture one inference; arrays may change right after.

    Parameters
    ----------
    model
        ``name:version``.
    inputs, outputs
        Fields by name: numbers, text, bytes, arrays, plain containers of these. Outputs that Davy understands:
        ``probs`` or ``logits`` (vectors), ``label``, ``value``.
    embedding
        A vector.
    tags
        Segments, such as ``{"country": "FR"}``.
    group, seq
        What the inference belongs to (a session, a video, a document) and its number there.
    alternatives
        Outputs of other models for the same input, by ``name:version``.
    latency_ms
        How long the model took.
    id
        16 bytes, a UUID or 32 hexadecimal digits; made when not given.
    at
        When it happened, nanoseconds since the epoch; now by default.

    Returns
    -------
    str or None
        The id, 32 hexadecimal digits, to give `feedback` with; None when the inference was left out or dropped.
    """
    try:  # as `Guard` does, without its cost
        client, low = HOME.client, -1
        if client is not None and id is None and CURRENT.get() is None:
            low = client.ids.admitted()
            if low == 0:
                return None  # sampled out
        return (client or HOME.begin()).capture(
            low, model, inputs, outputs, id, at, latency_ms, embedding, tags, group, seq, alternatives
        )
    except BaseException as error:  # nothing of Davy's reaches the app
        try:
            apps = goes_on("capture", error)
        except RecursionError:  # no frame is left to say so in
            apps = isinstance(error, KeyboardInterrupt)
        if apps:
            raise
    return None


def context(
    *,
    id: Any = None,
    group: str | None = None,
    seq: int | None = None,
    tags: Mapping[str, Any] | None = None,
    at: int | None = None,
) -> ScopeManager:
    """Set the id, group, sequence number, tags and event time of every inference captured inside a ``with``.

    Contexts nest: tags are merged, the rest is replaced. They follow threads and asyncio tasks as contextvars do.
    Of several inferences of one model the first has the `id`, and the others have ids made of it, the same ones every
    time, which end in the same 16 digits; all are stored. `at` is for traffic that is played again: when it happened,
    nanoseconds since the epoch, instead of now.
    """
    return ScopeManager(id, group, seq, tags, at)


def feedback(id: Any, truth: Any, *, kind: str = "truth", model: str = "") -> None:
    """Say what became known about an inference.

    Parameters
    ----------
    id
        What `capture` returned, or the id given to it. None is counted and otherwise ignored.
    truth
        The right answer, a person's override, the outcome.
    kind
        ``truth``, ``override``, ``outcome`` or a word of your own.
    model
        ``name:version``, when known.
    """
    with _FEEDBACK:
        (HOME.client or HOME.made()).feedback(id, truth, kind, model)


def init(
    url: str | None = None,
    *,
    before_capture: Callable[[Inference], Inference | None] | None = None,
    **overrides: Any,
) -> None:
    """Read the settings now instead of at the first capture; starts no thread.

    Parameters
    ----------
    url
        Where to send: ``sqlite:///directory``, ``memory://name``, ``http://host:port``; ``DAVY_URL`` by default.
    before_capture
        Called, on the caller's thread, with every inference before anything of it is kept; gives it back, changed with
        `dataclasses.replace` or not, or None to leave it out. When it raises, the inference is dropped and counted as
        ``scrub_error``. Its id, model and rate stay what they are.
    overrides
        Settings of ``[sdk]`` by name (``sample_rate=0.1``), others by dotted key (``**{"gateway.api_key": "…"}``).
    """
    with _CONTROL:
        TERMINATION.attend()
        HOME.replace(overrides if url is None else {**overrides, "url": url}, before_capture)


def pseudonym(value: Any) -> str:
    """Return 32 hexadecimal digits that stand for a value: equal values have equal ones, and nobody can go back.

    Made with the secret ``sdk.salt``; without one, pseudonyms of different processes have nothing in common. A value
    that has no bytes gets a pseudonym nothing else has.

    Examples
    --------
    >>> pseudonym("ann@example.org") == pseudonym("ann@example.org")
    True
    """
    with _CONTROL:
        return (HOME.client or HOME.made()).pseudonym(value)
    return os.urandom(16).hex()


def flush(timeout: float = 5.0) -> bool:
    """Wait until all that was captured before is sent, spooled or dropped; false when `timeout` seconds are too few."""
    with _CONTROL:
        deadline = time.monotonic() + timeout
        queued = wait_upstream(timeout)
        left = max(0.0, deadline - time.monotonic())
        return (HOME.client is None or HOME.client.sender.flush(left)) and queued
    return False


def stats() -> dict[str, Any]:
    """Return the accounts of this process.

    Returns
    -------
    dict
        ``captured``, ``sampled_out``, ``thinned`` (left out because of overload), ``rate`` (in force), ``sent``,
        ``dropped`` (by reason), ``incomplete`` (sent without a payload, a shadow's answer or inputs, or not
        understood, by reason), ``misread`` (those that were not understood, by model and reason), ``depth`` and
        ``depth_bytes`` (waiting; bytes in memory), ``spooled`` (of depth, on disk), ``oldest_age_seconds``,
        ``retries``, ``log_replaced`` (how often the log's file was moved or deleted, and sending went on in a new one),
        ``left_out`` (values that could not travel, by model, field and reason; their inferences were
        sent without them), ``not_watchable``, ``integration_failed`` (what a framework's integration could not do),
        and ``feedback`` with accounts of its own. While no client can be made (``not_begun``), only ``captured``,
        ``sent``, ``dropped`` and ``depth``.
        Always ``captured == sent + sum(dropped.values()) + depth``.
    """
    with _CONTROL:
        client = HOME.client or HOME.made()
        return {
            **client.stats(),
            "not_watchable": HOME.not_watchable,
            "integration_failed": HOME.integration_failed,
        }
    lost = HOME.not_begun
    return {"captured": lost, "sent": 0, "dropped": {"not_begun": lost}, "depth": 0} if lost else {}


def shutdown(timeout: float | None = None) -> None:
    """Send what is left, for at most `timeout` seconds (``sdk.exit_seconds`` by default), and stop.

    The exit of the process does this on its own. What is captured afterwards is counted as dropped, until `init`.
    """
    with _CONTROL:
        if HOME.client is not None:
            sender = HOME.client.sender
            deadline = time.monotonic() + (sender.exit_seconds if timeout is None else timeout)
            wait_upstream((deadline - time.monotonic()) / 2)
            sender.stop(max(0.0, deadline - time.monotonic()))


def _watch_function(target: Any, model: str, options: Options) -> Any:
    call = watch_function(target, model, options).wrap(target)
    reduced = partial(portable, _watch_function, target, model, options)
    return watched(target, call, reduced, model, lambda other: _watch_function(other, model, options))


def _watch(target: Any, model: str, options: Options) -> Any:
    target = unwatched(target, model)
    if isinstance(target, (staticmethod, classmethod)):
        return type(target)(_watch(target.__func__, model, options))
    if inspect.isroutine(target) or isinstance(target, partial):
        return _watch_function(target, model, options)
    if not isinstance(target, type):
        found = watch_by_integration(target, model, options)
        if found is not None:
            return found
    predicts = hasattr(target, "predict") or hasattr(target, "predict_proba") or callable(target)
    if predicts and not isinstance(target, type):
        return watch_object(target, model, options)
    HOME.not_watchable += 1
    warn("not_watchable", f"{type(target).__name__} is neither a function nor an object with predict")
    return target
