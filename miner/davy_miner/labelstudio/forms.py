"""Forms that are plug-ins: what is shown of an inference, what is asked, and how the answer is read.

Third parties add their own by the entry point group ``davy.forms``. They are tried before ours, by name, and one that
fails is left out alone: what it could not ask is asked by the next form that suits, what it could not read waits in the
labelling tool until it is upgraded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar
from xml.etree.ElementTree import Element

from davy.codec import decode, dump_any
from davy.errors import PluginFailed
from davy.outputs import CORRECT, UNCLEAR, WRONG, read
from davy.plugins import OfModel
from davy.runtime import Runtime
from davy_miner.candidates import Candidate
from davy_miner.labelstudio.templates import Form, Item, Said
from davy_miner.plugins import Plugins

__all__ = ["FormPlugin", "Forms", "Item", "Said"]

T = TypeVar("T")
_VERDICTS = frozenset({"", CORRECT, WRONG, UNCLEAR})


class FormPlugin(Protocol):
    """A form of Label Studio; made once a process, without arguments, and known by the name of its entry point.

    The object tag is named ``subject``, controls point at it by ``toName``. A list of classes is the control named
    ``answer``; it is empty in `view`, for Davy adds the classes of the project.
    """

    def suits(self, item: Item) -> bool:
        """Return whether it can ask about an inference."""

    def view(self, *, blind: bool) -> Sequence[Element]:
        """Return the tags of the labelling configuration; the same every time, for another view is another project."""

    def classes(self, item: Item) -> Sequence[str]:
        """Return the classes to offer for an inference; none where it has no list of classes."""

    def data(self, item: Item) -> Mapping[str, Any]:
        """Return what the tags with a ``$`` show, by name."""

    def predictions(self, item: Item) -> Sequence[Mapping[str, Any]]:
        """Return the model's answer as results of Label Studio, one for each region; none where it is to be blind."""

    def read(self, result: Sequence[Mapping[str, Any]], item: Item) -> Said:
        """Return what an annotation says: a verdict, and the right answer as the model's own would be."""


@dataclass(frozen=True, slots=True)
class _PluginForm(Form):
    """The form of a plug-in, as every other form is used."""

    called: str
    form: FormPlugin = field(compare=False)
    blind: bool

    @property
    def name(self) -> str:
        """The name of the plug-in."""
        return self.called

    @property
    def plugin(self) -> str:
        """The name of the plug-in."""
        return self.called

    def view(self) -> Sequence[Element]:
        """Return the tags."""
        return self.form.view(blind=self.blind)

    def classes(self, item: Item) -> Sequence[str]:
        """Return the classes to offer."""
        return self.form.classes(item)

    def data(self, item: Item) -> Mapping[str, Any]:
        """Return what is shown."""
        return self.form.data(item)

    def predictions(self, item: Item, model: str) -> list[dict[str, Any]]:
        """Return the model's answer as one prediction."""
        result = [] if self.blind else list(self.form.predictions(item))
        if not result:
            return []
        score = {} if item.answer.confidence is None else {"score": item.answer.confidence}
        return [{"model_version": model, "result": result, **score}]


class Forms:
    """The installed forms, each called such that a failure stays its own.

    Parameters
    ----------
    runtime
        Store, meter, clock.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._plugins = Plugins(runtime)
        self._made: dict[str, FormPlugin] = {}

    def of(self, model: str, item: Item) -> Iterator[Form]:
        """Yield the forms that suit an inference of a model, by name."""
        for name in self._plugins.names("form"):
            form = self.attempt(model, name, partial(self._suiting, name, item))
            if form is not None:
                yield _PluginForm(name, form, item.blind)

    def attempt(self, model: str, name: str, work: Callable[[], T]) -> T | None:
        """Return what `work` with a form gives; None where it failed, which is counted, or is suspended."""
        return self._plugins.attempt("form", OfModel(model), name, work)

    def is_suspended(self, model: str, name: str) -> bool:
        """Return whether a form is left out for a model now."""
        return self._plugins.is_suspended("form", OfModel(model), name)

    def read(
        self,
        model: str,
        name: str,
        candidate: Candidate,
        result: Sequence[Mapping[str, Any]],
        names: Mapping[str, str],
    ) -> Said | None:
        """Return what an annotation says by its form; None where that failed."""
        return self.attempt(model, name, partial(self._read, name, candidate, result, names))

    def _read(
        self, name: str, candidate: Candidate, result: Sequence[Mapping[str, Any]], names: Mapping[str, str]
    ) -> Said:
        inference = decode(candidate.inference).inference(0)
        said: object = self._form(name).read(result, Item(inference, read(inference.outputs), names=names))
        if not isinstance(said, Said) or said.verdict not in _VERDICTS:
            raise PluginFailed("read", said, "return Said with a verdict of correct, wrong, unclear or empty")
        dump_any(said.value)
        return said

    def _suiting(self, name: str, item: Item) -> FormPlugin | None:
        form = self._form(name)
        return form if form.suits(item) else None

    def _form(self, name: str) -> FormPlugin:
        if name not in self._made:
            self._made[name] = self._plugins.load("form", name)()
        return self._made[name]
