"""What several people's answers to one candidate come to: a pure function of what they said and of one rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from davy.codec import dump
from davy.event import Label
from davy.outputs import CORRECT, UNCLEAR, WRONG, Answer, equal, verdict
from davy_miner.candidates import State

Rule = Literal["majority", "newest", "unanimous"]
RULES: Final[tuple[Rule, ...]] = ("majority", "newest", "unanimous")
_WORDS: Final = {
    CORRECT: frozenset({"correct", "right", "success"}),
    WRONG: frozenset({"wrong", "incorrect", "failure"}),
    UNCLEAR: frozenset({"unclear", "unsure"}),
}
Verdict = Literal["failure", "correct", "unknown", "skipped", "deleted", "disputed"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What the answers to a candidate come to.

    Attributes
    ----------
    state
        "labelled" when one answer counts, "disputed" when people differ and the rule decides nothing, "skipped" when
        nobody could answer, "deleted" when there is no answer any more.
    label
        The answer that counts, the newest of those that agree; None unless the state is "labelled".
    opinions
        What each person says now, answers and skips, oldest first.
    """

    state: State
    label: Label | None
    opinions: Sequence[Label]


def decide(labels: Iterable[Label], rule: str = "majority", own: Answer | None = None) -> Decision | None:
    """Decide what the answers to one candidate come to; None without any.

    A person's later answer replaces their earlier one, whatever annotation it was given in; a skip replaces only what
    stood in the same annotation, and never stands against an answer, of anybody.

    Parameters
    ----------
    labels
        Everything that was ever said of the candidate, in any order.
    rule
        Whose answer counts where people differ: "majority", that of more than half of them; "newest", the latest;
        "unanimous", nobody's.
    own
        The model's own answer, which knows when two answers are the same.

    Examples
    --------
    >>> said = [Label("c", bytes(16), "m:1", "cat", 1, 0, "ann"), Label("c", bytes(16), "m:1", "dog", 2, 0, "bob")]
    >>> decide(said).state, decide(said, "newest").label.answer
    ('disputed', 'dog')
    """
    everything = in_order(labels)
    if not everything:
        return None
    opinions = standing(everything)
    answers = [one for one in opinions if is_answer(one)]
    if not answers:
        return Decision("skipped" if opinions else "deleted", None, opinions)
    chosen = _last_word(answers, rule, own)
    return Decision("disputed" if chosen is None else "labelled", chosen, opinions)


def in_order(labels: Iterable[Label]) -> list[Label]:
    """Put labels in the order of their revisions; of two with one number the later is the later."""
    return sorted(labels, key=lambda label: (label.revision, label.at, dump(label)))


def standing(labels: Sequence[Label]) -> list[Label]:
    """Return what each person says now, of everything that was said in order.

    Without an annotation and a name, "deleted" withdraws all that was said before.
    """
    places: dict[tuple[str, str], Label] = {}
    for label in labels:
        if label.state == "deleted" and not label.annotation and not label.annotator:
            places.clear()
            continue
        place = ("annotation", label.annotation) if label.annotation else ("person", label.annotator)
        places.pop(place, None)
        if label.state != "deleted":
            places[place] = label
    people: dict[str, Label] = {}
    for label in places.values():
        person = label.annotator or f"\0{label.annotation}"
        if is_answer(label) or not (person in people and is_answer(people[person])):
            people.pop(person, None)
            people[person] = label
    return in_order(people.values())


def is_answer(label: Label) -> bool:
    """Return whether a label says what is right, or at least whether the model is."""
    return label.state == "labelled" and (label.answer is not None or label.verdict in {CORRECT, WRONG})


def agree(one: Label, other: Label, own: Answer | None = None) -> bool:
    """Return whether two people say the same: one answer, or one verdict where one of them gives no answer."""
    verdicts = [verdict(label.verdict, label.answer, own) for label in (one, other)]
    if verdicts == [CORRECT, CORRECT]:
        return True
    if one.answer is None or other.answer is None:
        return bool(verdicts[0]) and verdicts[0] == verdicts[1]
    same = (
        own.same(one.answer, other.answer)
        if own is not None and own.form
        else equal(one.answer, other.answer)
    )
    return same is True


def as_said(label: Label) -> Label:
    """Return a label whose answer is a mapping that states a verdict as one that carries the verdict itself.

    Examples
    --------
    >>> found = as_said(Label("c", bytes(16), "m:1", {"verdict": "failure", "label": "cat"}, 1, 0))
    >>> found.verdict, found.answer
    ('wrong', 'cat')
    """
    answer = label.answer
    if not isinstance(answer, Mapping) or not answer or not answer.keys() <= {"verdict", "label", "answer"}:
        return label
    stated = str(answer.get("verdict") or "")
    found = verdict_named(stated) if stated else label.verdict
    if found is None:
        return label
    return replace(label, answer=answer.get("label", answer.get("answer")), verdict=found)


def verdict_named(text: str) -> str | None:
    """Return the verdict a word stands for: ``correct``, ``wrong`` or ``unclear``; None when it is none."""
    word = text.strip().lower().replace("_", "-").replace(" ", "-").removeprefix("model-")
    return next((found for found, words in _WORDS.items() if word in words), None)


def called(label: Label, own: Answer | None) -> Verdict:
    """Return what one person's label says of the model's answer: a failure, or correct."""
    if label.state == "deleted":
        return "deleted"
    if not is_answer(label):
        return "skipped"
    found = verdict(label.verdict, label.answer, own)
    return "correct" if found == CORRECT else "failure" if found == WRONG else "unknown"


def _last_word(answers: Sequence[Label], rule: str, own: Answer | None) -> Label | None:
    if rule == "newest":
        return answers[-1]
    groups: list[list[Label]] = []
    for answer in answers:
        group = next((found for found in groups if agree(found[0], answer, own)), None)
        if group is None:
            groups.append([answer])
        else:
            group.append(answer)
    largest = max(groups, key=len)
    needed = len(answers) if rule == "unanimous" else len(answers) // 2 + 1
    return _telling(largest) if len(largest) >= needed else None


def _telling(group: Sequence[Label]) -> Label:
    """The newest of those that agree; one that says what is right before one that only says the model is wrong."""
    return max(group, key=lambda label: (label.answer is not None, label.revision, label.at))
