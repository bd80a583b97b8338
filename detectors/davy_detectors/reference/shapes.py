"""The shape of a model's answer: empty, JSON, broken JSON, like a refusal, code, plain."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray

EMPTY, JSON, BROKEN_JSON, REFUSAL, CODE, PLAIN = "empty", "json", "broken json", "refusal", "code", "plain"
_PARSED: Final = 16_384
_HEAD: Final = 160
_FENCE: Final = "```"
_CLOSING: Final = {"{": "}", "[": "]"}
REFUSALS: Final = (
    "i'm sorry", "i am sorry", "i apologize", "i apologise", "i cannot", "i can't", "i can not", "i won't",
    "i will not", "i'm unable", "i am unable", "i'm not able", "i am not able", "unable to assist", "unable to help",
    "as an ai", "as a language model", "as a large language model", "against my guidelines", "not comfortable",
    "tut mir leid", "ich kann nicht", "ich kann dir", "ich kann ihnen", "kann ich nicht", "kann ich leider",
    "bin nicht in der lage", "als ki", "je suis désolé", "je suis desole", "je ne peux pas", "désolé, ",
    "en tant qu'ia", "lo siento", "no puedo", "como modelo de", "como una ia", "mi dispiace", "non posso",
    "non sono in grado", "desculpe", "não posso", "sinto muito", "lamento", "het spijt me", "ik kan niet",
    "przepraszam", "nie mogę", "üzgünüm", "извините", "к сожалению", "я не могу", "прошу прощения", "вибачте",
    "я не можу", "对不起", "抱歉", "我无法", "我不能", "無法", "申し訳", "すみません", "お答えできません",
    "お手伝いできません", "죄송", "할 수 없습니다", "عذرا", "عذراً", "آسف", "لا أستطيع", "لا يمكنني", "मैं नहीं",
    "क्षमा करें", "माफ़ कीजिए",
)  # fmt: skip
"""What a refusal says near its beginning, in lower case; need not be complete, for shares are compared."""


def shapes(texts: Sequence[str]) -> list[str]:
    r"""Return the shape of every text.

    Examples
    --------
    >>> shapes(["", '{"a": 1}', '{"a": ', "I'm sorry, I can't help.", "```py\nx = 1\n```", "It is 4."])
    ['empty', 'json', 'broken json', 'refusal', 'code', 'plain']
    """
    refusals = _refusals(texts)
    return [_shape(text, refused) for text, refused in zip(texts, refusals.tolist(), strict=True)]


def _shape(text: str, refused: bool) -> str:
    first = text[:_HEAD].lstrip()[:1] or text.lstrip()[:1]
    if not first:
        return EMPTY
    if first in _CLOSING:
        return _parsed(text, _CLOSING[first])
    if _FENCE in text:
        return _fenced(text)
    return REFUSAL if refused else PLAIN


def _parsed(text: str, closing: str) -> str:
    """Return whether a text is JSON or only begins like it; a very long one is judged by its last character."""
    if len(text) > _PARSED:
        return JSON if text[-_HEAD:].rstrip()[-1:] == closing else BROKEN_JSON
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return BROKEN_JSON
    return JSON


def _fenced(text: str) -> str:
    """Look into a text that is one fence with JSON; all other fences are code."""
    stripped = text.strip()
    head, _, body = stripped.partition("\n")
    if head.lower() in {_FENCE, _FENCE + "json"} and stripped.endswith(_FENCE):
        inner = body[: -len(_FENCE)].strip()
        if inner[:1] in _CLOSING and inner:
            return _parsed(inner, _CLOSING[inner[0]])
    return CODE


def _refusals(texts: Sequence[str]) -> NDArray[np.bool_]:
    """Return which texts say something of `REFUSALS` near their beginning: one search a phrase over all of them."""
    heads = [text[:_HEAD].lower() for text in texts]
    starts = list(accumulate((len(head) + 1 for head in heads), initial=0))
    joined = "\0".join(heads).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    found = np.zeros(len(texts), bool)
    for phrase in REFUSALS:
        place = joined.find(phrase)
        while place >= 0:
            row = bisect_right(starts, place) - 1
            found[row] = True
            place = joined.find(phrase, starts[row + 1])
    return found
