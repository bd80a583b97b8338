"""The scorers and monitors that this process has, by entry point, with the settings that each declares for itself."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, Literal, TypeAlias, get_args

from davy._conversions import may_be_secret
from davy._near import meant
from davy.codec import keys_of, typed
from davy.config import DetectSettings
from davy.errors import SettingError
from davy_detectors.context import PluginContext

Kind: TypeAlias = Literal["monitor", "scorer"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
_logger: Final = logging.getLogger("davy.detectors")


@dataclass(frozen=True, slots=True)
class Blind:
    """A plug-in that does not work for a model.

    Attributes
    ----------
    kind, name
        ``monitor`` or ``scorer``, and which.
    found, remedy
        Why, and what to do about it.
    passing
        Whether it may be mended by itself.
    """

    kind: str
    name: str
    found: str
    remedy: str
    passing: bool = False


class Installed:
    """The plug-ins of this process.

    Parameters
    ----------
    settings
        With the sections of plug-ins.
    clock
        What plug-ins take for the present.

    Examples
    --------
    >>> Installed().names("monitor")
    ['e-detector']
    """

    def __init__(
        self, settings: DetectSettings | None = None, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._settings = settings or DetectSettings()
        self._clock = clock
        self._points: dict[tuple[str, str], EntryPoint] = {
            (kind, point.name): point
            for kind in KINDS
            for point in sorted(entry_points(group=f"davy.{kind}s"))
        }
        self._own: dict[tuple[str, str], Any] = {}

    def names(self, kind: Kind) -> list[str]:
        """Return what there is of a kind, sorted."""
        return [name for each, name in self._points if each == kind]

    def has(self, kind: str, name: str) -> bool:
        """Whether a plug-in is installed here."""
        return (kind, name) in self._points

    def package(self, kind: str, name: str) -> str:
        """Return the distribution that has a plug-in; empty where that is not known."""
        point = self._points.get((kind, name))
        return point.dist.name if point is not None and point.dist is not None else ""

    def version(self, kind: str, name: str) -> str:
        """Return the version of the distribution that has a plug-in; empty where there is none."""
        point = self._points.get((kind, name))
        return point.dist.version if point is not None and point.dist is not None else ""

    def load(self, kind: str, name: str) -> Any:
        """Return a plug-in's class; raises whatever its import raises."""
        return self._points[kind, name].load()

    def context(self, kind: Kind, name: str, model: str) -> PluginContext:
        """Return what a plug-in is given to work for a model.

        Raises
        ------
        SettingError
            Its own settings are wrong.
        """
        if (kind, name) not in self._own:
            self._own[kind, name] = self._read(kind, name)
        return PluginContext(kind, name, model, self._own[kind, name], self._clock)

    def require_settings(self) -> None:
        """Raise SettingError where a key or value is wrong; what cannot be imported fails when it is used, alone."""
        for kind in KINDS:
            for name in self.names(kind):
                if not self._given(kind, name):
                    continue
                try:
                    self.context(kind, name, "")
                except SettingError:
                    raise
                except Exception as error:  # noqa: BLE001 - a plug-in that cannot be imported fails alone
                    _logger.warning("%s %s cannot be loaded: %s: %s", kind, name, type(error).__name__, error)

    def given(self) -> Iterator[tuple[Kind, str, Sequence[str]]]:
        """Return the plug-ins that have settings of their own, each with what was given: kind, name, ``key=value``."""
        for kind in KINDS:
            for name in self.names(kind):
                found = self._given(kind, name)
                if found:
                    yield kind, name, [_shown(key, value) for key, (_, value) in found.items()]

    def strange_settings(self) -> list[SettingError]:
        """Return what to say of settings for plug-ins that are not installed here."""
        found = []
        for kind in KINDS:
            names = self.names(kind)
            for label, _ in getattr(self._settings, f"{kind}s"):
                owner, _ = self._owner(kind, label)
                if owner not in names:
                    near = meant(owner or label, names)
                    remedy = f"no {kind} of that name is installed here; {near}install it, or take this away"
                    found.append(SettingError(_named(kind, label), "", remedy))
        return found

    def missing(self, kind: str, name: str, package: str) -> Blind:
        """Return what to say of a plug-in that a reference names and that is not installed here."""
        install = f"install {package} in every process that runs `detect`" if package else "install it"
        remedy = f"{install}, or `davy reference fit` again without it"
        return Blind(kind, name, "not installed, and the reference was fitted with it", remedy)

    def _read(self, kind: Kind, name: str) -> Any:
        given, wanted = self._given(kind, name), getattr(self.load(kind, name), "settings_type", None)
        if wanted is None:
            for label, value in given.values():
                raise SettingError(
                    label, _safe(label, value), f"the {kind} {name} has no settings of its own"
                )
            return None
        keys, values = keys_of(wanted), {}
        for key, (label, value) in given.items():
            if key not in keys:
                remedy = f"no such setting; {meant(key, keys)}known are {', '.join(sorted(keys))}"
                raise SettingError(label, _safe(label, value), remedy)
            try:
                values[key] = typed(value, keys[key])
            except ValueError as error:
                raise SettingError(label, _safe(label, value), str(error)) from None
        try:
            return wanted(**values)
        except (TypeError, ValueError) as error:  # a key without a default, or its own check
            raise SettingError(f"detect.{kind}s.{name}", ", ".join(values), str(error)) from error

    def _given(self, kind: Kind, name: str) -> dict[str, tuple[str, Any]]:
        """Return what was set of a plug-in, by key: under which name, and the value; the last counts."""
        found = {}
        for label, value in getattr(self._settings, f"{kind}s"):
            owner, key = self._owner(kind, label)
            if owner == name:
                found[key] = _named(kind, label), value
        return found

    def _owner(self, kind: Kind, label: str) -> tuple[str, str]:
        """Return whose setting this is, and its key; of a variable the longest name that it may begin with."""
        if not label.startswith("DAVY_"):
            name, _, key = label.rpartition(".")
            return name, key
        fitting = [name for name in self.names(kind) if label.startswith(_variable(kind, name))]
        name = max(fitting, key=len, default="")
        return name, label.removeprefix(_variable(kind, name)).lower() if name else label


def _variable(kind: Kind, name: str) -> str:
    """Return how the variables for a plug-in's settings begin."""
    letters = "".join(letter if letter.isalnum() else "_" for letter in name.upper())
    return f"DAVY_DETECT_{kind.upper()}S_{letters}_"


def _named(kind: Kind, label: str) -> str:
    return label if label.startswith("DAVY_") else f"detect.{kind}s.{label}"


def _safe(label: str, value: object) -> object:
    return "" if may_be_secret(label) else value


def _shown(key: str, value: object) -> str:
    return f"{key}=…" if may_be_secret(key) else f"{key}={value}"
