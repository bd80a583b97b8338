"""Watching a function or a model object: every call is captured, and nothing else about it changes."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from davy.event import Array
from davy.fields import column
from davy.fields.detections import several
from davy.fields.losses import BATCH_AS_ROW, INPUTS_FAILED, NO_INPUTS, NO_ROWS
from davy.sdk.calls.batches import (
    Habits,
    as_columns,
    batch_size,
    first_row,
    is_table_of,
    looked_at,
    only_row,
    repeated,
    rows_of,
    without_labels,
)
from davy.sdk.calls.choosing import choose, chosen_names
from davy.sdk.calls.making import Maker
from davy.sdk.calls.opening import Leaves, has_parts, open_answer, open_arguments
from davy.sdk.calls.signatures import Binder
from davy.sdk.calls.single import Single, inputs_of_one, is_batch
from davy.sdk.calls.tensors import is_array, shape_of
from davy.sdk.fields import (
    Columns,
    Fields,
    Holders,
    input_columns,
    input_fields,
    names_of,
    output_columns,
    output_fields,
    row_count,
    rows_by_place,
)
from davy.sdk.guard import Guard, goes_on
from davy.sdk.home import HOME
from davy.sdk.naming import TupleNames
from davy.sdk.options import CallRecord, Options
from davy.sdk.scope import CURRENT
from davy.sdk.shortcut import Called, Shortcut, Shortcuts, shortcut
from davy.sdk.streams import EXHAUSTED, OPEN, Story, Tee, tee_for
from davy.sdk.wrapping import wrap

if TYPE_CHECKING:
    from davy.sdk.client import Client
    from davy.sdk.shadow import Shadow, ShadowCall

NOBODY: Final = -1
"""What `Watch.rows` says of a call that serves no one, as when a compiler or exporter looks at a model."""
_UNKNOWN: Final = float("nan")
_GUARD: Final = Guard("watch")
_SHADOW: Final = Guard("shadow")


class Watch:
    """What is done with the calls of one function; integrations override how its calls are read.

    Parameters
    ----------
    function
        The function, for the names of its parameters.
    model
        ``name:version``.
    options
        What the app asked for.
    batched
        Whether the first axis of arguments and result is the inferences.
    columns
        Names for the columns of a matrix.
    output
        Name of the output field of a batch, when it is known and the app gave none.
    classes
        The labels of the columns of ``probs``, when they are known: what the model itself answers.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        model: str,
        options: Options,
        *,
        batched: bool = False,
        columns: Sequence[str] | None = None,
        output: str | None = None,
        classes: Any = None,
    ) -> None:
        self.model = model
        self._binder = Binder(function)
        self._batched = batched or bool(options.batched)
        self._asked_of_one = options.batched is False  # the app has said so, and need not be told
        self._single = Single(lists=not self._asked_of_one)
        self._habits = {"inputs": Habits(), "outputs": Habits()}
        self._transform = Maker(options.inputs, model) if callable(options.inputs) else None
        self._chosen = chosen_names(options.inputs)
        self._columns = self._chosen if columns is None else columns
        self._output = options.output or output
        self._classes = classes
        self._class_names = names_of(classes if options.class_names is None else options.class_names)
        self._described: Any = None
        self._short = Shortcuts()
        self._places = TupleNames(self._judge_output)
        self._judge_rows = functools.partial(self._judge_output, "")
        self.holders = {name: Holders(self._unlearn) for name in ("given", "chosen", "tables", "answers")}
        self._beside: Callable[[], Any] | None = None
        self._follows = type(self).rows is Watch.rows  # an integration knows what its framework answers
        self._shadow: Shadow | None = None
        if options.shadow is not None:
            from davy.sdk.shadow import Shadow, named_shadow

            self._shadow_name, answer = named_shadow(model, options.shadow)
            self._shadow = Shadow(answer, self._record)

    def wrap(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that does as `method` and is observed; an integration may look at its arguments before."""
        return wrap(method, self)

    def observe(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any, started: int) -> Any:
        """Capture one call that began at `started` (``perf_counter_ns``, 0 if unknown) and ended now; never raises.

        Returns what the app gets: the very result, or what stands for a stream that is captured when it ends.
        """
        spent = time.perf_counter_ns() - started if started else _UNKNOWN
        try:  # as `Guard` does, without its cost
            client, shorts = HOME.client or HOME.begin(), self._short
            if shorts.owner is not client:
                shorts.forget(client)
            scope = CURRENT.get()
            for short in shorts.known:
                if short.arrays and client.capture_copy(short, args, kwargs, result, spent / 1e6, scope):
                    return result
                values = short.values(args, kwargs, result)
                if values is not None:
                    if client.capture_again(short, values, spent / 1e6, scope):
                        return result
                    break
            return self._take(client, args, kwargs, result, spent)
        except BaseException as error:  # nothing of Davy's reaches the app
            try:
                apps = goes_on("watch", error)
            except RecursionError:  # no frame is left to say so in
                apps = isinstance(error, KeyboardInterrupt)
            if apps:
                raise
            return result

    def _take(
        self,
        client: Client,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        result: Any,
        spent: float,
    ) -> Any:
        """Capture a call the long way, now or when its stream ends; return what the app gets."""
        tee = tee_for(result) if self._follows else None
        if tee is None:
            self._observe(client, -1, args, kwargs, result, spent / 1e6)
            return result
        low = client.ids.admitted() if CURRENT.get() is None else -1
        if low == 0:
            return result
        return self._follow(client, tee, Story(self._tell, low, args, kwargs, int(spent)), result)

    def _observe(
        self,
        client: Client,
        low: int,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        result: Any,
        latency_ms: float,
        at: int | None = None,
    ) -> None:
        """Capture a call whose answer is there; `low` is -1 where no id was drawn yet."""
        try:
            rows, free = self._rows(args, kwargs, result), CURRENT.get() is None
        except BaseException as error:
            client.lose(self.model, error)
            raise
        if rows is None and free and low < 0:
            low = client.ids.admitted()
        if rows == 0:
            client.misread(self.model, NO_ROWS)
        if low == 0 or (rows is not None and rows <= 0):
            return  # sampled out, or no inference
        self._describe(client)
        seen: list[Any] = []
        reading = functools.partial(self._read, rows, args, kwargs, result, seen)
        if self._shadow is not None:
            try:
                found = CallRecord(rows, low, reading(), latency_ms, at or time.time_ns())
            except BaseException as error:
                client.lose(self.model, error, rows or 1)
                raise
            self._shadow.take(args, kwargs, found)
        elif rows is None:
            changes = client.naming.changes
            client.capture(low, self.model, reading, None, None, at, latency_ms)
            if client.naming.changes != changes:
                self._short.known = ()  # an output is called otherwise from now on
            if seen:
                self._short.learn(
                    args, kwargs, result, lambda: self._shortcut(client, args, kwargs, result, seen[0])
                )
        else:
            client.capture_batch(self.model, rows, reading, latency_ms, at)

    def _rows(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int | None:
        """Return what `rows` says, or the arguments alone of an answer whose own methods raise."""
        try:
            return self.rows(args, kwargs, result)
        except Exception:  # noqa: BLE001 - whatever the answer of the app does when it is looked at
            return one_or_many(self.size_given(args, kwargs))

    def _read(
        self,
        rows: int | None,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        result: Any,
        seen: list[Any],
    ) -> Any:
        """Read a call, and count where nothing of its arguments could be read; `seen` takes what was read."""
        try:
            found: Any = (self.fields if rows is None else self.columns)(args, kwargs, result)
            seen.append(found)
        except Exception:  # noqa: BLE001 - as above; that of an argument is raised again
            found = self.inputs_alone(args, kwargs, rows)
            self._lose("outputs", rows, self._output or "value", "unreadable")
        self._count_nothing(found[0], args, kwargs, rows)
        return found

    def _count_nothing(
        self, inputs: Mapping[str, Any], args: Sequence[Any], kwargs: Mapping[str, Any], rows: int | None
    ) -> None:
        """Count a call that was given something of which nothing is recorded; not where the app wanted that."""
        failed = self._transform is not None and self._transform.has_failed()
        asked = not inputs and self._transform is None and self._chosen != []
        if failed or (asked and (kwargs or len(args) > self._binder.skipped)):
            reason = INPUTS_FAILED if failed else NO_INPUTS
            (HOME.client or HOME.begin()).misread(self.model, reason, rows or 1)

    def _lose(self, section: str, rows: int | None, name: str, reason: str) -> None:
        """Count a member of a call that is no field of its inferences."""
        client, name = HOME.client or HOME.begin(), f"{section}.{name}" if name else section
        client.leave_out(self.model, name, reason, rows or 1)

    def _describe(self, client: Client) -> None:
        """Say once what all answers of the model share."""
        if self._class_names is not None and self._described is not client:
            client.describe(self.model, {"class_names": self._class_names})
            self._described = client

    def _follow(self, client: Client, tee: Tee, story: Story, result: Any) -> Any:
        if OPEN.full:
            client.bulk.note(self.model, "stream_dropped")
            story.tell_at_once()
            return result
        return tee(result, story)

    def _tell(self, story: Story) -> None:
        """Capture a call whose stream has ended."""
        client, latency_ms = HOME.client or HOME.begin(), story.spent / 1e6
        if story.answered and tee_for(story.answer) is None:
            self._observe(client, story.low, story.args, story.kwargs, story.answer, latency_ms, story.at)
            return
        if story.transcript.cut:
            client.bulk.note(self.model, "stream_cut")
        if self._shadow is not None:
            client.bulk.note(self.model, "shadow_dropped")  # nobody would read its stream
        if self._batched:
            client.misread(self.model, BATCH_AS_ROW)  # whose pieces are told by no axis
        self._describe(client)
        reading = functools.partial(self._streamed, story)
        client.capture(story.low, self.model, reading, None, None, story.at, latency_ms)

    def _streamed(self, story: Story) -> tuple[Fields, Fields, Any]:
        outputs = story.transcript.outputs(self._output)
        if story.ended != EXHAUSTED:
            outputs["ended"] = story.ended
        inputs = self._input_fields(story.args, story.kwargs)
        self._count_nothing(inputs, story.args, story.kwargs, None)
        return inputs, outputs, outputs.pop("embedding", None)

    def _shortcut(
        self,
        client: Client,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        result: Any,
        read: tuple[Fields, Fields, Any],
    ) -> Shortcut | None:
        """Return the short way for calls like one that was read so; None for those of which each is counted."""
        nothing = not read[0] and (args or kwargs)
        if self._transform is not None or nothing or self._looks_batched(args, kwargs, result):
            return None
        binder, scope = self._binder, CURRENT.get()
        call = Called(
            args,
            kwargs,
            result,
            binder.positional(len(args)),
            binder.defaults,
            read,
            columns=self._columns,
            classes=self._classes,
            strict=not self._follows,
            judged=self._output is None and not has_parts(result),
            beside=self._beside,
        )
        added = () if scope is None else scope.fields()[0]
        return shortcut(call, client.layout_of, client.recipe, self.model, added)

    def shadow_outputs(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any, rows: int | None
    ) -> Mapping[str, Any]:
        """Read what another model answered to the same call."""
        if rows is None:
            return self.fields(args, kwargs, result)[1]
        return self.columns(args, kwargs, result).outputs

    def _record(self, call: ShadowCall, answer: Any, reason: str) -> None:
        """Capture a call of the primary with the shadow's answer or, with a reason, without."""
        with _GUARD:
            client, alternatives = HOME.client or HOME.begin(), {}
            rows, low, found, latency_ms, at = call.reading
            if reason:
                client.bulk.note(self.model, reason, rows or 1)
            else:
                with _SHADOW:
                    answered = self.shadow_outputs(call.args, call.kwargs, answer, rows)
                    alternatives = {self._shadow_name: answered}
                if not alternatives:
                    client.bulk.note(self.model, "shadow_failed", rows or 1)
            if rows is None:
                inputs, outputs, embedding = found
                more = (latency_ms, embedding, None, None, None, alternatives)
                client.capture(low, self.model, inputs, outputs, None, at, *more)
            else:
                columns = found._replace(alternatives={**found.alternatives, **alternatives})
                client.capture_batch(self.model, rows, lambda: columns, latency_ms, at)

    def rows(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int | None:
        """Return the number of inferences in a call.

        None when it is exactly one: then `fields` reads it, without a leading axis, else `columns` does. 0 when nothing
        was understood as an inference, which is counted; `NOBODY` when the call serves no one.
        """
        if looked_at((*args, *kwargs.values(), result)):
            return NOBODY
        if not self.by_rows(args, kwargs, result) and not several(result):
            return None
        return one_or_many(self._size(args, kwargs, result))

    def by_rows(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> bool:
        """Return whether the first axis of arguments and answer is the inferences."""
        del args, kwargs, result  # some are asked of each call
        return self._batched

    def _size(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int:
        """Return the number of inferences of a call whose first axis is the inferences, as its answer tells."""
        if is_array(result):
            axes = shape_of(result)
            return axes[0] if axes else 1
        result = without_labels(result)
        if has_parts(result):
            given = without_labels(self._binder.bind(args, kwargs))
            size = batch_size(open_arguments(given), open_answer(result))
            if size is not None:
                return size
        return row_count(result)

    def fields(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any
    ) -> tuple[Fields, Fields, Any]:
        """Read the inputs, outputs and embedding of a call that is one inference."""
        if self.by_rows(args, kwargs, result):
            return only_row(self.columns(args, kwargs, result))
        inputs = self._input_fields(args, kwargs)
        answer, had_axis = self.without_axis(result, inputs)
        if had_axis:
            inputs = inputs_of_one(inputs, self.holders["given"])
        elif self._looks_batched(args, kwargs, result):
            (HOME.client or HOME.begin()).misread(self.model, BATCH_AS_ROW)
        row = self.holders["answers"].only_row("", answer)
        outputs, embedding = output_fields(answer if row is None else row, self._output, self._judge)
        if type(answer) is tuple and len(outputs) > 1:
            outputs = first_row(self._places.named(as_columns(outputs, None)))
        return inputs, outputs, embedding

    def _unlearn(self) -> None:
        self._short.known = ()  # what was learnt no longer holds

    def _input_fields(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Fields:
        return input_fields(self.arguments(args, kwargs), self.holders["given"])

    def without_axis(self, result: Any, inputs: Mapping[str, Any] | None = None) -> tuple[Any, bool]:
        """Return the answer of one inference without a leading axis of one, and whether it had one."""
        single = self._single
        before = single.longer, single.apart
        found = single.answer(inputs or {}, result)
        if (single.longer, single.apart) != before:
            self._unlearn()
        return found

    def size_given(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int | None:
        """Return the number of inferences that the arguments tell by themselves."""
        given = open_arguments(self._binder.bind(args, kwargs)) if self._batched else {}
        return batch_size(given, given)

    def inputs_alone(self, args: Sequence[Any], kwargs: Mapping[str, Any], rows: int | None) -> Any:
        """Read a call whose answer cannot be looked at, as `fields` or `columns`."""
        if rows is None and not self._batched:
            return self._input_fields(args, kwargs), {}, None
        inputs = self.of_rows(
            "inputs",
            open_arguments(self.arguments(args, kwargs, self._columns), self.holders["chosen"]),
            rows,
        )
        found = Columns(input_columns(inputs, self._columns, self.holders["tables"]), {})
        return only_row(found) if rows is None else found

    def _looks_batched(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> bool:
        """Whether a call that is one inference looks like several, and nobody said that it is one."""
        if self._batched or self._asked_of_one or not self._follows:
            return False
        return is_batch(self._binder.bind(args, kwargs), result)

    def columns(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Columns:
        """Read the fields of a call whose first axis is the inferences."""
        result = without_labels(result)
        rows = self._size(args, kwargs, result)
        given = without_labels(dict(self.arguments(args, kwargs, self._columns)))
        inputs = self.of_rows("inputs", open_arguments(given, self.holders["chosen"]), rows)
        outputs, embedding = self._answers(result, rows)
        return Columns(input_columns(inputs, self._columns, self.holders["tables"]), outputs, embedding)

    def _answers(self, result: Any, rows: int) -> tuple[Mapping[str, Any], Any]:
        listed = rows_by_place(result, self._output, self._judge_rows)
        if listed is not None:
            columns, embedding = output_columns(listed)
            return self._places.named({name: column(each) for name, each in columns.items()}), embedding
        if is_table_of(result, rows) or not has_parts(result):
            return output_columns(result, self._output, self._classes, self._judge_rows)
        outputs = self.of_rows("outputs", open_answer(result), rows)
        embedding = outputs.pop("embedding", None)
        if type(result) is tuple and len(outputs) > 1:  # of what has no names, some tell what they are
            outputs = self._places.named(outputs)
        return outputs, embedding

    def of_rows(self, section: str, leaves: Mapping[str, Any], rows: int | None) -> Leaves:
        """Return the columns of the inputs or outputs of a call; what belongs to no single inference is counted."""
        lose = functools.partial(self._lose, section, rows)
        habits = self._habits[section]
        if section == "inputs" and self._transform is not None:
            leaves = repeated(leaves, rows)
        apart = len(habits.apart)
        found = rows_of(leaves, rows, lose, habits, answers=section == "outputs")
        if len(habits.apart) > apart:
            self._unlearn()  # a call of one row was learnt to be read with what is apart
        return as_columns(found, rows)

    def _judge(self, answer: Any) -> str:
        return (HOME.client or HOME.begin()).naming.of(self.model, "", answer)

    def _judge_output(self, output: str, answers: Array) -> str:
        return (HOME.client or HOME.begin()).naming.of(self.model, output, answers, rows=True)

    def arguments(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], columns: Sequence[str] | None = None
    ) -> Mapping[str, Any]:
        """Return the arguments to capture by name; `columns` are the names of a matrix's, where it is a batch."""
        if self._transform is not None:
            return self._transform(*args, **kwargs)
        return choose(self._binder.bind_data(args, kwargs), self._chosen, columns)

    def inputs_of(
        self,
        asked: Mapping[str, Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        rows: int | None = None,
    ) -> Mapping[str, Any]:
        """Return the inputs to capture of a call, of `rows` of them, that an integration has read as `asked`."""
        made = None if self._transform is None else self._transform(*args, **kwargs)
        return choose(asked, self._chosen) if made is None else repeated(made, rows)


def one_or_many(size: int | None) -> int | None:
    """Return what `Watch.rows` says of a call of so many inferences: None of one, `NOBODY` of an empty batch."""
    return None if size is None or size == 1 else size or NOBODY
