"""The classes a form offers: names Label Studio would alter, a list that only grows, keys that are names.

Label Studio strips and joins space, takes a leading ``$`` for a variable and cannot hold every character. Such a name
is offered under another, readable one (`value_of`), and an answer is mapped back exactly (`names_by_value`).

Label Studio gives the keys 1, 2, 3 … to choices in order, whatever they are called: with the classes "0", "1", "2" the
key 1 stored the class "0". So keys are given here, and a key that is the name of a class is that class's.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final
from xml.etree.ElementTree import (
    Element,
    ParseError,
    SubElement,
    TreeBuilder,
    XMLParser,
    fromstring,
    tostring,
)

from davy_miner.labelstudio.templates.base import CHOICE_CONTROLS, CORRECT, NONE, UNCLEAR, WRONG

MOST_CLASSES: Final = 2000
"""The most choices of a form; a class that is not among them is typed in."""
_BUTTONS: Final = 12
_LONGEST: Final = 200
_KEYS: Final = "1234567890qwetasdfgzxcvbyiopjklnm"
_VERDICT_KEYS: Final = {CORRECT: "c", WRONG: "w", UNCLEAR: "q"}
_SPARE_KEYS: Final = _KEYS[::-1]
"""For verdicts: letters first, since digits are what classes are called."""
_KEYLIKE: Final = (
    re.compile(r"([0-9a-z])$", re.IGNORECASE),
    re.compile(r"([0-9a-z])(?![0-9a-z])", re.IGNORECASE),
    re.compile(r".*(?<![0-9a-z])([0-9a-z])$", re.IGNORECASE),
)
"""A class called by one character, one that begins so ("1 star"), one that ends so ("class 1")."""


def value_of(name: str) -> str:
    """Return what a class is called in a form: its name, or a readable stand-in where Label Studio would alter it.

    Examples
    --------
    >>> value_of("cat"), value_of(" cat ")
    ('cat', 'cat [99e5ffdb]')
    """
    kept = name and name != NONE and name.isprintable() and not name.startswith("$") and len(name) <= _LONGEST
    if kept and " ".join(name.split()) == name:
        return name
    printable = "".join(one if one.isprintable() else " " for one in name[:_LONGEST])
    readable = " ".join(printable.split()).lstrip("$ ")[:80] or "no name"
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{readable} [{digest}]"


def names_by_value(names: Iterable[str]) -> dict[str, str]:
    """Return the classes by what they are called in a form; what is not in it is called by its name."""
    return {value_of(name): name for name in names}


def fill(tree: Element, names: Iterable[str]) -> bool:
    """Add the classes a form lacks, at the end of its list, and give keys; return whether anything changed.

    Choices that are there stay, with their order and keys: somebody may have added them by hand.
    """
    before = tostring(tree)
    control = next(_lists(tree), None)
    if control is not None:
        option = "Choice" if control.tag == "Choices" else "Label"
        there = {choice.get("value") for choice in control.iter(option)}
        for value in dict.fromkeys(map(value_of, names)):
            if value not in there and len(there) < MOST_CLASSES:
                there.add(value)
                SubElement(control, option, value=value)
        if option == "Choice" and len(there) > _BUTTONS and control.get("layout") is None:
            control.set("layout", "select")
    _give_keys(tree, control)
    return tostring(tree) != before


def filled(config: str, names: Iterable[str]) -> str | None:
    """Return a project's configuration with the classes it lacks, None when it lacks none or is no form of ours."""
    # Label Studio has parsed it before: nothing here that it would not have choked on.
    parser = XMLParser(target=TreeBuilder(insert_comments=True))  # noqa: S314
    try:
        tree = fromstring(config, parser)  # noqa: S314
    except ParseError:
        return None
    if next(_lists(tree), None) is None:
        return None
    return tostring(tree, encoding="unicode") if fill(tree, names) else None


def _lists(tree: Element) -> Iterator[Element]:
    """Yield the controls whose options are the classes: choices, or labels to draw with."""
    return (one for one in tree.iter() if one.get("toName") and one.get("name") in CHOICE_CONTROLS)


def _give_keys(tree: Element, control: Element | None) -> None:
    choices = list(tree.iter("Choice"))
    classes = list(control.iter("Choice")) if control is not None else []
    owners = {_key_in(choice, 0): choice for choice in reversed(classes) if _key_in(choice, 0)}
    for choice in choices:
        if owners.get(choice.get("hotkey", ""), choice) is not choice:
            del choice.attrib["hotkey"]
    keys = _Keys(choices)
    for key, choice in owners.items():
        keys.give(choice, key)
    for place in (1, 2):
        for choice in classes:
            keys.give(choice, _key_in(choice, place))
    others = [choice for choice in choices if choice not in classes]
    for choice in others:
        keys.give(choice, _VERDICT_KEYS.get(choice.get("value", ""), ""))
    for choice in others:
        keys.give(choice, keys.free(_SPARE_KEYS))
    for choice in classes[:_BUTTONS]:
        keys.give(choice, keys.free(_KEYS))


def _key_in(choice: Element, place: int) -> str:
    found = _KEYLIKE[place].match(choice.get("value", ""))
    return found[1].lower() if found else ""


class _Keys:
    """Assigns each choice one key and each key once."""

    def __init__(self, choices: Sequence[Element]) -> None:
        self.used = {key for choice in choices if (key := choice.get("hotkey"))}

    def free(self, keys: str) -> str:
        """Return the first key nobody has, empty when all are given."""
        return next((key for key in keys if key not in self.used), "")

    def give(self, choice: Element, key: str) -> None:
        """Assign a key, unless it is taken or the choice has one."""
        if key and key not in self.used and choice.get("hotkey") is None:
            choice.set("hotkey", key)
            self.used.add(key)
