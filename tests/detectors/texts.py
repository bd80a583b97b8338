"""Texts drawn at random, several languages and forms: there is no corpus to download."""

# ruff: noqa: RUF001

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

Draw = Callable[[np.random.Generator, int], list[str]]

WORDS = {
    "english": """the of and to in a is that it was for on are with as they be at one have this from by word but what
        some we can out other were all there when up use your how said an each she which do their time if will way
        about many then them write would like so these her long make thing see him two has look more day could go come
        did number sound no most people my over know water than call first who may down side been now find any new
        work part take get place made live where after back little only round man year came show every good give our
        under name very through just form sentence great think say help low line differ turn cause much mean before
        move right boy old too same tell does set three want air well also play small end put home read hand port
        large spell add even land here must big high such follow act why ask men change went light kind off need
        house picture try us again animal point mother world near build self earth father head stand own page should
        country found answer school grow study still learn plant cover food sun four between state keep eye never""",
    "german": """der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus
        er hat dass sie nach wird bei einer um am sind noch wie einem über einen so zum war haben nur oder aber vor zur
        bis mehr durch man sein wurde sei kann gegen vom können schon wenn habe seine ihre dann unter wir soll ich Jahr
        zwei Jahren diese dieser wieder keine Uhr seiner worden will zwischen immer was sagte gibt alle seit muss doch
        jetzt drei neue Haus Zeit Stadt Land Frage Wasser Arbeit Straße Mensch Woche Leben Kinder Wetter Preis""",
    "russian": """и в не на что я с он как это по но они к у его из за все так же было бы от мы она для вы мне еще был
        меня только когда уже если нет или быть него до даже ни вас были чего нас надо ее этот того тебя время себя
        там кто раз где есть под человек жизнь день рука работа слово место вопрос лицо друг дом город вода земля
        цена погода сегодня завтра можно нельзя хорошо плохо очень много мало здесь сейчас потом всегда никогда""",
    "chinese": """的 一 是 不 了 人 我 在 有 他 这 为 之 大 来 以 个 中 上 们 到 说 国 和 地 也 子 时 道 出 而 要 于 就
        下 得 可 你 年 生 自 会 那 后 能 对 着 事 其 里 所 去 行 过 家 十 用 发 天 如 然 作 方 成 者 多 日 都 三 小 军
        二 无 同 么 经 法""",
    "arabic": """في من على أن إلى عن هذا كان التي الذي مع لا ما هو هي قال بعد كل قد بين كما ذلك عند لم حتى غير يوم بعض
        أو ثم كانت اليوم عام الله وقد هذه قبل أكثر حيث منذ خلال رئيس دولة مدينة ماء سعر طقس بيت عمل وقت حياة سؤال""",
    "few": "the model says yes no maybe because of weather and price good bad fine great north south east",
    "verbs": "change open close print find order return cancel repair send read update",
    "things": "invoice password account printer ticket address parcel contract kettle bicycle lamp window",
}
SPACED = {"chinese": ""}


@cache
def invented(seed: int, size: int) -> tuple[str, ...]:
    """Make up words of two to nine letters."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    weights = 1 / np.arange(2.0, 28.0)
    made = dict.fromkeys(
        "".join(rng.choice(letters, rng.integers(2, 10), p=weights / weights.sum())) for _ in range(2 * size)
    )
    return tuple(made)[:size]


def sentences(
    words: Sequence[str], *, zipf: float = 1.0, least: int = 8, most: int = 60, space: str = " "
) -> Draw:
    """Draw texts of `least` to `most` words, frequent ones first in the list."""
    shares = 1 / np.arange(1.0, len(words) + 1) ** zipf
    shares /= shares.sum()

    def draw(rng: np.random.Generator, count: int) -> list[str]:
        sizes = rng.integers(least, most + 1, count)
        drawn = iter(rng.choice(np.array(words, object), sizes.sum(), p=shares).tolist())
        return [space.join(next(drawn) for _ in range(size)) for size in sizes]

    return draw


def language(name: str) -> Draw:
    """Draw texts of a language's most frequent words."""
    return sentences(WORDS[name].split(), zipf=0.7, space=SPACED.get(name, " "))


TEMPLATES = (
    "How do I {verb} my {thing}?",
    "Please {verb} the {thing} of order {number}.",
    "My {thing} does not {verb} since Monday!",
    "Can you {verb} a {thing} for {number} people",
    "{thing}: {number} left, {verb} now",
    "I want to {verb} the {thing} (nr. {number}).",
)
VERBS, THINGS = WORDS["verbs"].split(), WORDS["things"].split()


def questions(rng: np.random.Generator, count: int) -> list[str]:
    """Draw what customers ask, of a few templates."""
    return [
        TEMPLATES[rng.integers(len(TEMPLATES))].format(
            verb=VERBS[rng.integers(len(VERBS))],
            thing=THINGS[rng.integers(len(THINGS))],
            number=rng.integers(1_000),
        )
        for _ in range(count)
    ]


def exchange(texts: Sequence[str], words: Sequence[str]) -> list[str]:
    """Replace every word, always by the same other one of its length; of words, or made up where there is none."""
    pools = defaultdict(list)
    for word in words:
        pools[len(word)].append(word)
    rng, known = np.random.default_rng(99), {}

    def other(word: str) -> str:
        if word not in known:
            pool = [each for each in pools[len(word)] if each != word]
            known[word] = (
                pool[rng.integers(len(pool))] if pool else "".join(rng.choice(list("bcdfgaeiou"), len(word)))
            )
        return known[word]

    return [" ".join(map(other, text.split(" "))) for text in texts]


def records(rng: np.random.Generator, count: int) -> list[str]:
    """Draw answers in JSON."""
    return [
        json.dumps(
            {
                "label": VERBS[rng.integers(len(VERBS))],
                "score": round(float(rng.random()), 3),
                "n": int(rng.integers(9)),
            }
        )
        for _ in range(count)
    ]
