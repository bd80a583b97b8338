"""Sequences that a module generates: one inference a prompt, however many forward passes they take.

Forward passes within `generate` are not captured; of each only the likelihood of the next token is kept, until the
whole answer is there. An answer that is no tokens (forecasts, spectrograms, sound, pictures) is read as that of any
other method.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeGuard

import numpy as np

from davy.event import Array
from davy.sdk.calls.batches import only_row
from davy.sdk.calls.choosing import choose
from davy.sdk.fields import Columns, Fields
from davy.sdk.guard import Guard
from davy.sdk.integrations._arrays import column
from davy.sdk.integrations.methods import WatchedMethod
from davy.sdk.options import Options
from davy.sdk.watching import Watch

_GUARD: Final = Guard("watch")
_PROMPTS: Final = ("input_ids", "inputs", "idx", "ids", "tokens", "prompt", "x")
"""What the tokens of a prompt are called; else the first argument is taken for them."""
_METHODS: Final = ("generate", "generate_speech")
_MASKS: Final = frozenset({"attention_mask", "decoder_attention_mask", "decoder_input_ids"})
_INTEGERS: Final = frozenset({"torch.uint8", "torch.int8", "torch.int16", "torch.int32", "torch.int64"})
_LOGITS_AXES: Final = 3


def hook_generate(target: Any, call: Any, model: str, options: Options) -> None:
    """Stand before the methods of a module that generate; `call` is what its forward passes are told to."""
    module = getattr(target, "_orig_mod", target)
    for name in _METHODS:
        method = getattr(type(module), name, None)
        if not callable(method) or (_can_generate(module) is False and _is_the_mixins(method)):
            continue
        own = vars(module).get(name)
        if own is None:
            own = vars(module)[name] = Generate(module, name)
        if type(own) is Generate:
            own.add(call, model, options)


def generates(target: Any) -> bool:
    """Return whether a module is one of Hugging Face that generates, whose logits `last_token` is for."""
    return bool(_can_generate(getattr(target, "_orig_mod", target)))


def _can_generate(module: Any) -> bool | None:
    can = getattr(module, "can_generate", None)
    return bool(can()) if callable(can) else None


def _is_the_mixins(method: Any) -> bool:
    """Whether a method is the one that Hugging Face once gave to every model, and that raises where it can not."""
    return str(getattr(method, "__module__", "")).startswith("transformers.generation")


class Generate(WatchedMethod):
    """Stands for a method that generates."""

    def _watch(self, call: Any, options: Options, model: str) -> tuple[_GenerateWatch, Watch]:
        """Return how answers of tokens are read, and how any others are."""
        of_others: Watch = call.beside_forward(self._method, self._name, options)
        return _GenerateWatch(self._module, self._method, model, options), of_others

    def _follow(self) -> Likelihoods:
        return Likelihoods()

    def _observe(
        self,
        watch: tuple[_GenerateWatch, Watch],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        result: Any,
        learnt: Likelihoods,
        started: int,
    ) -> Any:
        of_tokens, of_others = watch
        if not of_tokens.reads(args, kwargs, result):
            return of_others.observe(args, kwargs, result, started)
        of_tokens.observe(args, kwargs, _Generated(result, learnt), started)
        return result


class Likelihoods:
    """How likely each token was to the module itself, as long as one forward pass follows the other.

    A pass is given the token that was chosen after the pass before: that token's share of the softmax of the logits
    before is worked out then, where the tensors are. Whether these were the tokens of the answer is looked at in the
    end, so that beams, drafts of an assistant and whatever else goes another way have none.
    """

    def __init__(self) -> None:
        self._last: Any = None
        self._tokens: list[Any] = []
        self._surprisals: list[Any] = []
        self._whole = True

    def took(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> None:
        """Take in one forward pass; never raises."""
        if not self._whole:
            return
        self._whole = False
        with _GUARD:
            logits, given = _logits(result), _tokens_of(args, kwargs)
            if logits is None or len(logits.shape) != _LOGITS_AXES:
                return
            if self._last is not None:
                if given is None or len(given) != len(self._last):
                    return
                chosen = given[:, -1]
                self._tokens.append(chosen)
                self._surprisals.append(_surprisal(self._last, chosen))
            self._last = logits.detach()[:, -1]
            self._whole = True

    def of(self, answers: Any) -> Array | None:
        """Return the surprisal of every token of answers, shape ``(n, tokens)``, in nats; None if unknown."""
        if not self._whole or self._last is None or len(self._tokens) != answers.shape[1] - 1:
            return None
        if len(self._last) != len(answers):
            return None
        torch = sys.modules["torch"]
        found = [*self._surprisals, _surprisal(self._last, answers[:, -1])]
        if self._tokens and not bool((torch.stack(self._tokens, dim=1) == answers[:, :-1]).all()):
            return None
        array: Array = torch.stack(found, dim=1).float().cpu().numpy()
        return None if np.isnan(array).any() else array


class _Generated:
    def __init__(self, result: Any, likelihoods: Likelihoods) -> None:
        self.result = result
        self.likelihoods = likelihoods


class _GenerateWatch(Watch):
    """Reads what a module generated: of each prompt its tokens, and those of the answer."""

    def __init__(self, module: Any, method: Callable[..., Any], model: str, options: Options) -> None:
        super().__init__(method, model, options._replace(shadow=None))
        self._config = getattr(module, "generation_config", None)
        self._two_sided = bool(getattr(getattr(module, "config", None), "is_encoder_decoder", False))
        self._tokenizer = options.tokenizer

    def _shortcut(self, *_: Any) -> None:
        """Return nothing: fields are made of the call, none is taken from it."""

    def reads(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> bool:
        """Return whether an answer is tokens, of one sequence or several for each prompt."""
        _, prompts = self._prompts(args, kwargs)
        sequences = _sequences(result)
        if prompts is None or not _is_tensor(sequences) or len(sequences.shape) != 2:
            return False
        if str(sequences.dtype) not in _INTEGERS:
            return False
        return 0 < len(prompts) <= len(sequences) and len(sequences) % len(prompts) == 0

    def rows(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int | None:
        del result
        count = len(self._prompts(args, kwargs)[1])
        return count if count != 1 else None

    def fields(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any
    ) -> tuple[Fields, Fields, Any]:
        ((inputs, outputs),) = self._inferences(args, kwargs, result)
        if self._transform is not None:
            inputs = only_row(self.inputs_alone(args, kwargs, 1))[0]
        return inputs, outputs, None

    def columns(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Columns:
        rows = self._inferences(args, kwargs, result)
        outputs = _table([outputs for _, outputs in rows])
        if self._transform is not None:
            made: Columns = self.inputs_alone(args, kwargs, len(rows))
            return made._replace(outputs=outputs)
        return Columns(_table([inputs for inputs, _ in rows]), outputs)

    def _prompts(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[str, Any]:
        """Return the tokens of the prompts, or whatever else has a row for each, with their name; None without."""
        named = self._binder.bind(args, kwargs)
        name = next((each for each in _PROMPTS if named.get(each) is not None), None)
        if name is None:
            tensors = (key for key, each in named.items() if _is_tensor(each) and len(each.shape) > 1)
            name = next(tensors, "")
        found = named.get(name)
        return name, found if _is_tensor(found) and len(found.shape) > 1 else None

    def _inferences(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], result: _Generated
    ) -> list[tuple[Fields, Fields]]:
        name, prompts = self._prompts(args, kwargs)
        sequences = _sequences(result.result)
        count, tokens = len(prompts), not prompts.is_floating_point()
        begin = self._begin(prompts if tokens else None, kwargs, sequences)
        answers = sequences[:, begin:]
        surprisals = result.likelihoods.of(answers)
        each = max(len(sequences) // count, 1)
        ends = self._ends(kwargs)
        names = self._chosen
        if names is not None and name in names:
            names = [*names, "input_ids"]  # as which the argument travels
        asked = self._inputs(prompts if tokens else None, args, kwargs, count)
        found = answers.cpu().numpy()
        rows = []
        for at in range(count):
            told = [self._told(found[at * each + one], ends, kwargs) for one in range(each)]
            outputs = told[0]
            if surprisals is not None and outputs["token_count"]:
                own = surprisals[at * each][: outputs["token_count"]]
                outputs |= {"mean_surprisal": float(own.mean()), "max_surprisal": float(own.max())}
            if each > 1:
                outputs["others"] = [one.get("text", one["output_ids"].tolist()) for one in told[1:]]
            rows.append((dict(choose(asked[at], names)), outputs))
        return rows

    def _begin(self, prompts: Any, kwargs: Mapping[str, Any], sequences: Any) -> int:
        """Return how many of the tokens of a sequence are no part of the answer."""
        if self._two_sided:
            given = kwargs.get("decoder_input_ids")
            if given is not None:
                return int(given.shape[1])
            start = getattr(self._config, "decoder_start_token_id", None)
            return int(start is not None and bool((sequences[:, :1] == start).all()))  # some leave it out
        return 0 if prompts is None else int(prompts.shape[1])

    def _ends(self, kwargs: Mapping[str, Any]) -> list[int]:
        found = kwargs.get("eos_token_id", getattr(kwargs.get("generation_config"), "eos_token_id", None))
        found = getattr(self._config, "eos_token_id", None) if found is None else found
        found = found.tolist() if _is_tensor(found) else found
        return [] if found is None else [int(one) for one in (found if isinstance(found, list) else [found])]

    def _inputs(
        self, prompts: Any, args: Sequence[Any], kwargs: Mapping[str, Any], count: int
    ) -> list[Fields]:
        """Return what each prompt holds: its tokens without padding, its text, and other tensors of the call by row."""
        rows: list[Fields] = [{} for _ in range(count)]
        mask = kwargs.get("attention_mask")
        shown = _numpy(mask).astype(bool) if _is_tensor(mask) else None
        if prompts is not None:
            for row, (own, ids) in enumerate(zip(rows, prompts.cpu().numpy(), strict=True)):
                kept = ids if shown is None or shown.shape != prompts.shape else ids[shown[row]]
                own["input_ids"] = kept.astype(np.int32)
                if (text := self._text(kept, kwargs)) is not None:
                    own["text"] = text
        for name, value in self._binder.bind(args, kwargs).items():
            if _is_tensor(value) and value.is_floating_point() and len(value) == count and name not in _MASKS:
                for own, each in zip(rows, _numpy(value), strict=True):
                    own[name] = each
        return rows

    def _told(self, answer: Array, ends: Sequence[int], kwargs: Mapping[str, Any]) -> Fields:
        """Return an answer up to the token that ends it; what follows is padding."""
        stops = np.flatnonzero(np.isin(answer, ends)).tolist()
        count = int(stops[0]) + 1 if len(stops) else len(answer)
        kept = answer[:count]
        found: Fields = {
            "output_ids": kept.astype(np.int32),
            "token_count": count,
            "finish_reason": "stop" if len(stops) else "length",
        }
        text = self._text(kept, kwargs)
        return found if text is None else {"text": text, **found}

    def _text(self, ids: Array, kwargs: Mapping[str, Any]) -> str | None:
        tokenizer = self._tokenizer or kwargs.get("tokenizer")
        if tokenizer is None:
            return None
        return str(tokenizer.decode(ids.tolist(), skip_special_tokens=True))


def last_token(args: Sequence[Any], kwargs: Mapping[str, Any], result: Any, *, whole: bool) -> Any:
    """Return of the logits of a sequence those after its last token: what a forward pass is asked for.

    With `whole` they are ``logits``; else the likeliest next token as ``label``, its probability as ``score`` and the
    ``entropy`` of all, for a row of logits has a number for each of tens of thousands of tokens. Anything else comes
    back as it is.
    """
    if not isinstance(result, Mapping):
        return result
    logits = result.get("logits")
    if not _is_tensor(logits) or len(logits.shape) != _LOGITS_AXES:
        return result
    torch = sys.modules["torch"]
    with torch.no_grad():
        last = logits.detach()[:, -1]
        mask = kwargs.get("attention_mask")
        given = _tokens_of(args, kwargs)
        if _is_tensor(mask) and given is not None and mask.shape == given.shape == logits.shape[:2]:
            places = torch.arange(mask.shape[1], device=mask.device)
            ends = (mask.bool() * places).argmax(dim=1).to(logits.device)  # padding may stand on either side
            last = logits.detach()[torch.arange(len(ends), device=logits.device), ends]
        if whole:
            return {"logits": last}
        likely = torch.log_softmax(last.float(), dim=-1)
        score, label = likely.max(dim=-1)
        return {"label": label, "score": score.exp(), "entropy": -(likely.exp() * likely).sum(dim=-1)}


def _sequences(result: Any) -> Any:
    return getattr(result, "sequences", result)


def _logits(result: Any) -> Any:
    found = result.get("logits") if isinstance(result, Mapping) else result
    found = found[0] if isinstance(found, (tuple, list)) and found else found
    return found if _is_tensor(found) else None


def _tokens_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return the tokens that a forward pass was given last: a decoder's before an encoder's."""
    found = kwargs.get("decoder_input_ids", kwargs.get("input_ids"))
    if found is None and args:
        found = args[0]
    return found if _is_tensor(found) and len(found.shape) == 2 and not found.is_floating_point() else None


def _surprisal(logits: Any, chosen: Any) -> Any:
    torch = sys.modules["torch"]
    with torch.no_grad():
        likely = torch.log_softmax(logits.float(), dim=-1)  # one pass, where logsumexp takes four
        chosen = chosen.to(logits.device)
        among = chosen.clamp(0, likely.shape[1] - 1)  # an index beyond would break an accelerator for the app
        return torch.where(among == chosen, -likely.gather(1, among[:, None])[:, 0], torch.nan)


def _is_tensor(value: Any) -> TypeGuard[Any]:
    return isinstance(value, sys.modules["torch"].Tensor)


def _numpy(value: Any) -> Any:
    if not _is_tensor(value):
        return value
    found = value.detach()
    return (found.float() if found.dtype is sys.modules["torch"].bfloat16 else found).cpu().numpy()


def _table(rows: Sequence[Fields]) -> dict[str, Array]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: column(row.get(name) for row in rows) for name in names}
