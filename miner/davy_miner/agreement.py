"""How far people agree: for each annotator, against everybody else who answered the same candidates."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import permutations

from davy.event import Label
from davy.outputs import Answer, key
from davy.store import Store
from davy_miner.candidates import CANDIDATES
from davy_miner.decision import agree, in_order, is_answer, standing
from davy_miner.labels import REVISIONS, answer_of


@dataclass(frozen=True, slots=True)
class Agreement:
    """One annotator beside all others.

    Attributes
    ----------
    annotator
        As the labelling tool or the file names them; empty for answers without a name.
    answers, skips
        Candidates they answer, and that they could not answer, as things stand now.
    agreed, disagreed
        Answers of others to the same candidates that are the same as theirs, and that are not.
    share
        Of those, how many are the same; None without any.
    kappa
        Cohen's kappa: the share beyond what equal habits would give by chance. 1 is full agreement, 0 none beyond
        chance; None where nothing can be told from chance.

    References
    ----------
    Cohen, "A coefficient of agreement for nominal scales", Educational and Psychological Measurement 20 (1960).
    """

    annotator: str
    answers: int
    skips: int
    agreed: int
    disagreed: int
    share: float | None
    kappa: float | None


@dataclass(slots=True)
class _Tally:
    answers: int = 0
    skips: int = 0
    agreed: int = 0
    disagreed: int = 0
    own: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)


def agreement(store: Store, model: str = "") -> list[Agreement]:
    """Return how far each annotator agrees with the others, those with most answers first.

    Parameters
    ----------
    store
        Where candidates and answers are.
    model
        Only answers to candidates of this model; of all when empty.
    """
    tallies: defaultdict[str, _Tally] = defaultdict(_Tally)
    for labels, own in _answered(store, model):
        count(tallies, labels, own)
    made = [_made(annotator, tally) for annotator, tally in tallies.items()]
    return sorted(made, key=lambda one: (-one.answers, one.annotator))


def count(tallies: defaultdict[str, _Tally], labels: Iterable[Label], own: Answer | None) -> None:
    """Add what was said of one candidate."""
    opinions = standing(in_order(labels))
    for opinion in opinions:
        tally = tallies[opinion.annotator]
        if is_answer(opinion):
            tally.answers += 1
        else:
            tally.skips += 1
    answers = [opinion for opinion in opinions if is_answer(opinion)]
    for one, other in permutations(answers, 2):
        if one.annotator == other.annotator:  # two that gave no name
            continue
        tally = tallies[one.annotator]
        if agree(one, other, own):
            tally.agreed += 1
        else:
            tally.disagreed += 1
        tally.own[_category(one)] += 1
        tally.others[_category(other)] += 1


def _answered(store: Store, model: str) -> Iterator[tuple[Iterable[Label], Answer | None]]:
    for name, revisions in REVISIONS.items(store):
        labels = revisions.labels
        if not labels or model not in {"", labels[0].model}:
            continue
        found = CANDIDATES.get(store, name)
        yield labels, answer_of(found) if found is not None else None


def _made(annotator: str, tally: _Tally) -> Agreement:
    pairs = tally.agreed + tally.disagreed
    share = round(tally.agreed / pairs, 4) if pairs else None
    return Agreement(
        annotator, tally.answers, tally.skips, tally.agreed, tally.disagreed, share, _kappa(tally, pairs)
    )


def _kappa(tally: _Tally, pairs: int) -> float | None:
    if not pairs:
        return None
    by_chance = sum(count * tally.others[name] for name, count in tally.own.items()) / pairs**2
    if by_chance >= 1.0:
        return None
    return round((tally.agreed / pairs - by_chance) / (1.0 - by_chance), 4)


def _category(label: Label) -> str:
    answer = label.answer
    if answer is None:
        return f"\0{label.verdict}"
    if isinstance(answer, (list, dict)):
        return json.dumps(answer, sort_keys=True, default=str)
    return key(answer)
