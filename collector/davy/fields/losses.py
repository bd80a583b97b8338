"""What is left out of an inference: how the client report calls it, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_MARK: Final = "field:"
REMEDIES: Final[Mapping[str, str]] = {
    "complex": "complex numbers do not travel; send real and imaginary part, or the magnitude",
    "count": "an inference has at most 4096 fields a section; send the rest as one array",
    "compiled": "a layer inside of a compiled or scripted module is not seen; answer it as `embedding`",
    "inside": "what goes on inside a model is no answer; embedding= takes what a layer says",
    "length": "it has not, or once had not, the first axis of the batch, or has another number of rows",
    "name": "its name is not Unicode",
    "names": "there are not as many as probabilities: give one a class, in the order of `probs`",
    "nesting": "it is nested too deeply, or contains itself",
    "noted": "a file inside of it is too large: a note of its kind, size and hash stands there; send it as a field of "
    "its own",
    "path": "a file travels as a payload; say in blob_url where payloads go, or send its bytes",
    "secret": "its name sounds like a secret (sdk.deny_tags, sdk.deny_outputs); a rule that names it lets it go",
    "size": "it holds too many values that are no numbers, or is too long a range; send an array, text or bytes",
    "stream": "the stream was longer than what is kept of one",
    "too_large": "it is larger than what travels: say in blob_url where large values go, or raise sdk.inline_bytes, or "
    "sdk.payload_bytes of what goes there; of a mapping or list send the large parts as fields of their own",
    "type": "values of this type do not travel; send numbers, text, bytes or arrays",
    "unfit": "it cannot become what its rule in sdk.fields asks for",
    "unreadable": "reading it raised an exception",
}
"""What to do about a value that was left out, by the reason under which it is counted."""


NO_INPUTS: Final = "no_inputs"
INPUTS_FAILED: Final = "inputs_failed"
NO_ROWS: Final = "no_rows"
BATCH_AS_ROW: Final = "batch_as_row"
INCOMPLETE: Final[Mapping[str, str]] = {
    NO_INPUTS: "recorded without inputs: nothing of its arguments can be read, or inputs=[…] names nothing of them; "
    "give the names that they have, or inputs=function, or batched=False where a call is one inference",
    INPUTS_FAILED: "recorded without inputs: the function given as inputs= raised, or gave no mapping; its log (logger "
    "davy) says which",
    NO_ROWS: "read as no inference; call it with lists or arrays, and not with what the app reads later",
    BATCH_AS_ROW: "recorded as one inference though the answer shares its first axis with an argument; watch with "
    "batched=True, or with batched=False where it is one; a model whose batch is the second axis of its answer is read "
    "right where a function around it answers with the batch first",
    "payload_failed": "stored without a payload, which could not be stored; see blob_url",
    "payload_refused": "stored without a payload, which is too large or not one; see sdk.payload_bytes",
    "shadow_dropped": "recorded without the shadow's answer: it fell behind",
    "shadow_failed": "recorded without the shadow's answer: it failed",
    "stream_cut": "a stream was longer than what is kept of one",
    "stream_dropped": "recorded without its answer: too many streams were open",
}
"""What to do about calls that were recorded in part, or not understood, by the reason under which they are counted."""


BY_THE_APP: Final = "the app says it at the call: in its log (logger davy) and in davy.stats()"
"""Where else to look than at what a role has counted, which is as far as it has read the log."""


def loss(name: str, reason: str) -> str:
    """Return what a client report calls values left out.

    Examples
    --------
    >>> loss("inputs.image", "too_large")
    'field:inputs.image:too_large'
    """
    return f"{_MARK}{name}:{reason}"


def are_lost(section: str, lost: Mapping[str, int]) -> bool:
    """Return whether values of a section are among those left out.

    Examples
    --------
    >>> are_lost("inputs", {"field:inputs.image:too_large": 1}), are_lost("inputs", {"field:outputs.x:type": 1})
    (True, False)
    """
    return any(text.startswith((f"{_MARK}{section}.", f"{_MARK}{section}:")) for text in lost)


def read_loss(text: str) -> tuple[str, str] | None:
    """Return the field and the reason of what `loss` gave; None for any other reason of a client report.

    Examples
    --------
    >>> read_loss("field:inputs.a:b:type"), read_loss("queue_full")
    (('inputs.a:b', 'type'), None)
    """
    if not text.startswith(_MARK):
        return None
    name, _, reason = text.removeprefix(_MARK).rpartition(":")
    return name, reason
