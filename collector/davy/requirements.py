"""What a part of Davy needs beyond the base install, and whether it is there.

pyproject.toml is the only place that says it: an entry point names its extras, ``detect = "…:DetectTarget [server]"``,
and an extra its packages. The same holds for the parts of other distributions.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from davy.errors import SettingError

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint


def absent(point: EntryPoint) -> tuple[str, ...]:
    """Return the packages that an entry point's extras name and that are not installed, or not in such a version.

    Examples
    --------
    >>> from importlib.metadata import entry_points
    >>> absent(entry_points(group="davy.targets")["detect"])
    ()
    """
    return () if point.dist is None else _absent(point.dist.name, tuple(point.extras))


def require(field: str, point: EntryPoint) -> None:
    """Raise SettingError about `field`, with what to install, unless everything that an entry point needs is there."""
    if absent(point):
        raise lacking(field, point)


def lacking(field: str, point: EntryPoint, error: ImportError | None = None) -> SettingError:
    """Return what to say of an entry point without all it needs, or that failed to load in spite of it."""
    needed = absent(point) or (getattr(error, "name", None) or "what cannot be imported",)
    name = "davy" if point.dist is None else point.dist.name
    return SettingError(field, point.name, needs(*needed, extras=",".join(point.extras), of=name))


def needs(*packages: str, extras: str, of: str = "davy") -> str:
    """Return the remedy where packages are missing.

    Examples
    --------
    >>> needs("kafka", extras="cluster")
    "needs kafka: pip install 'davy[cluster]'"
    """
    return f"needs {', '.join(packages)}: pip install '{of}{f'[{extras}]' if extras else ''}'"


@lru_cache
def _absent(name: str, extras: tuple[str, ...]) -> tuple[str, ...]:
    try:
        import packaging  # noqa: F401 - it reads what the extras say
    except ImportError:
        return ("packaging",)
    from importlib.metadata import distribution

    return tuple(dict.fromkeys(_walk(distribution(name), extras)))


def _walk(found: Distribution, extras: tuple[str, ...]) -> Iterator[str]:
    from importlib.metadata import PackageNotFoundError, distribution

    from packaging.requirements import Requirement

    for requirement in map(Requirement, found.requires or ()):
        if requirement.marker is None or not any(
            requirement.marker.evaluate({"extra": extra}) for extra in extras
        ):
            continue
        try:
            installed = distribution(requirement.name)
        except PackageNotFoundError:
            yield requirement.name
            continue
        if requirement.specifier.contains(installed.version, prereleases=True):
            yield from _walk(installed, tuple(sorted(requirement.extras)))
        else:
            yield f"{requirement.name}{requirement.specifier}"
