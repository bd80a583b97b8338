"""Which field of which model may leave the process, and how: the rules of ``sdk.fields``."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Final, NamedTuple

from davy.config import SdkSettings
from davy.errors import SettingError
from davy.event import Path
from davy.sdk.payload import FORMATS

_VERBS: Final = ("inline", "blob", "summary", "hash", "drop")
_SECTIONS: Final = ("inputs", "outputs", "embedding", "tags", "group", "alternatives")
_CACHED: Final = 16_384


class Policy(NamedTuple):
    """What becomes of a field: a verb and, for blobs, what images are encoded as."""

    verb: str
    format: str = ""


INLINE: Final = Policy("inline")
_DROP: Final = Policy("drop")


class Rules:
    """Finds the policy of a field: the first rule that matches, else inline.

    A rule's pattern is ``SECTION.FIELD`` or ``SECTION.FIELD@MODEL`` in the style of shells; a field of an alternative
    is ``alternatives.MODEL.FIELD``. Denied tags are rules behind all others, whose case does not matter.

    Raises
    ------
    SettingError
        A rule names no policy there is.

    Examples
    --------
    >>> rules = Rules(SdkSettings(fields=(("inputs.scan@lungs:*", "blob:png"), ("inputs.*", "drop"))))
    >>> rules.of("lungs:2", ("inputs", "scan")), rules.of("lungs:2", ("inputs", "name")).verb
    (Policy(verb='blob', format='png'), 'drop')
    """

    def __init__(self, settings: SdkSettings) -> None:
        self._rules = [_rule(pattern, policy) for pattern, policy in settings.fields]
        self._denied = frozenset(
            word.strip().lower() for word in settings.deny_tags.split(",") if word.strip()
        )
        self._found: dict[tuple[str, Path], Policy] = {}
        self.formats = frozenset(policy.format for _, _, policy in self._rules) - {""}
        self.verbs = frozenset(policy.verb for _, _, policy in self._rules)
        self.sections = frozenset(
            section for pattern, _, _ in self._rules for section in _SECTIONS if _may_match(pattern, section)
        )

    def of(self, model: str, path: Path) -> Policy:
        """Give the policy of one field."""
        found = self._found.get((model, path))
        if found is None:
            found = self._look_up(model, path)
            if len(self._found) >= _CACHED:
                self._found = {}
            self._found[model, path] = found
        return found

    def _look_up(self, model: str, path: Path) -> Policy:
        name = ".".join(map(str, path))
        for pattern, models, policy in self._rules:
            if fnmatchcase(name, pattern) and fnmatchcase(model, models):
                return policy
        denied = path[0] == "tags" and str(path[1]).lower() in self._denied
        return _DROP if denied else INLINE


def _rule(pattern: str, policy: str) -> tuple[str, str, Policy]:
    field, _, model = pattern.partition("@")
    verb, _, format = policy.partition(":")
    if verb not in _VERBS or (format and (verb != "blob" or format not in FORMATS)):
        accepted = ", ".join([*_VERBS, *(f"blob:{name}" for name in FORMATS)])
        raise SettingError(f"sdk.fields.{pattern}", policy, f"use one of {accepted}")
    if not any(_may_match(field, section) for section in _SECTIONS):
        raise SettingError("sdk.fields", pattern, f"begin with one of {', '.join(_SECTIONS)}, or with *")
    return field, model or "*", Policy(verb, format)


def _may_match(pattern: str, section: str) -> bool:
    head, dot, _ = pattern.partition(".")
    return fnmatchcase(section, head) or (not dot and "*" in head and fnmatchcase(f"{section}.", head))
