"""Which field of which model may leave the process, and how: the rules of ``sdk.fields``."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, NamedTuple

from davy._conversions import SECTIONS, may_match
from davy.event import Path
from davy.fields.secrets import SecretNames

if TYPE_CHECKING:
    from davy.config import SdkSettings

_TELLING: Final = ("inline", "blob")
"""Verbs by which a value can be read."""
_CACHED: Final = 16_384


class Policy(NamedTuple):
    """What becomes of a field: a verb and, for blobs, what images are encoded as."""

    verb: str
    format: str = ""


INLINE: Final = Policy("inline")
DENIED: Final = Policy("deny")
"""Of what sounds like a secret: numbers travel, anything else does not and is counted; of tags nothing does."""
_WILD: Final = frozenset("*?.")


class Rules:
    """Finds the policy of a field: the first rule that matches, else inline.

    A rule's pattern is ``SECTION.FIELD`` or ``SECTION.FIELD@MODEL`` in the style of shells; a field of an alternative
    is ``alternatives.MODEL.FIELD``. What sounds like a secret is denied, however it is spelt and wherever it lies,
    unless a rule names it: one that lets everything through does not.

    Examples
    --------
    >>> from davy.config import SdkSettings
    >>> rules = Rules(SdkSettings(fields=(("inputs.scan@lungs:*", "blob:png"), ("inputs.*", "drop"))))
    >>> rules.of("lungs:2", ("inputs", "scan")), rules.of("lungs:2", ("inputs", "name")).verb
    (Policy(verb='blob', format='png'), 'drop')
    """

    def __init__(self, settings: SdkSettings) -> None:
        self._rules = [_rule(pattern, policy) for pattern, policy in settings.fields]
        given, answers = (SecretNames(s.split(",")) for s in (settings.deny_tags, settings.deny_outputs))
        self._secret = {
            "inputs": (1, given),
            "tags": (1, given),
            "outputs": (1, answers),
            "alternatives": (2, answers),
        }
        self._found: dict[tuple[str, Path], Policy] = {}
        self.formats = frozenset(policy.format for _, _, policy in self._rules) - {""}
        self.verbs = frozenset(policy.verb for _, _, policy in self._rules)
        self.sections = frozenset(
            section for pattern, _, _ in self._rules for section in SECTIONS if may_match(pattern, section)
        )

    def of(self, model: str, path: Path) -> Policy:
        """Return the policy of one field."""
        found = self._found.get((model, path))
        if found is None:
            found = self._look_up(model, path)
            if len(self._found) >= _CACHED:
                self._found = {}
            self._found[model, path] = found
        return found

    def _look_up(self, model: str, path: Path) -> Policy:
        name = ".".join(map(str, path))
        secret = self._secret_end(path)
        # A rule for a mapping holds for the fields that it becomes: privacy must not depend on how deep a value lies.
        names = [name] + [name[:end] for end in range(len(name)) if name[end] == "." and end > len(path[0])]
        for pattern, models, policy in self._rules:
            matching = [each for each in names if fnmatchcase(each, pattern)]
            if not matching or not fnmatchcase(model, models):
                continue
            if not secret or policy.verb not in _TELLING:
                return policy
            if max(map(len, matching)) >= secret and not _WILD.issuperset(pattern.rpartition(".")[2]):
                return policy
        return DENIED if secret else INLINE

    def _secret_end(self, path: Path) -> int:
        """Return how long the part of a name is that holds all that sounds secret; 0 where nothing does."""
        before, names = self._secret.get(path[0], (0, None))
        if names is None or len(path) <= before:
            return 0
        name = ".".join(map(str, path[before:]))
        depth = names.depth(name)
        if not depth:
            return 0
        return len(".".join([*map(str, path[:before]), *name.split(".")[:depth]]))


def _rule(pattern: str, policy: str) -> tuple[str, str, Policy]:
    field, _, model = pattern.partition("@")
    verb, _, format = policy.partition(":")
    return field, model or "*", Policy(verb, format)
