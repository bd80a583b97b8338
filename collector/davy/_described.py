"""What each setting is called, in a file and as a variable, and what it is: for documentation, doctor and refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from davy._conversions import Tables, bounds, no_such, to_tables
from davy._urls import without_password


@dataclass(frozen=True, slots=True)
class Described:
    """One setting as the documentation and `davy doctor` show it: a URL without its password."""

    key: str
    variable: str
    value: Any
    default: Any
    help: str
    secret: bool
    bounds: str
    tables: bool = False

    @property
    def shown(self) -> Any:
        """The value as anybody may see it: no secret, and no password in a URL."""
        if self.secret:
            return "set" if self.value else ""
        return without_password(self.value) if isinstance(self.value, str) else self.value


def describe(settings: Any) -> list[Described]:
    """List every setting with its variable, value, default and help, in order of declaration."""
    return list(_walk(settings, type(settings)(), ""))


def with_variables(described: Described, given: Any, env: Mapping[str, str]) -> dict[str, Tables]:
    """Return values of sections that others declare, by key, with those of variables after those of the file."""
    variables = sorted(name for name in env if name.startswith(f"{described.variable}_"))
    values = (*to_tables(described.key, given), *((name, env[name]) for name in variables))
    return {described.key: values} if values else {}


def refuse_unknown_variable(variable: str, value: str, known: Mapping[str, Described]) -> None:
    """Raise SettingError for a variable of Davy's that sets nothing."""
    of_tests = variable == "DAVY_REQUIRE_SERVICES" or variable.startswith("DAVY_TEST_")
    if not variable.startswith("DAVY_") or of_tests:
        return
    variables = {described.variable: described.secret for described in known.values()}
    declared_elsewhere = any(one.tables and variable.startswith(f"{one.variable}_") for one in known.values())
    if variable not in variables and not declared_elsewhere:
        raise no_such(variable, value, variables)


def _walk(settings: Any, defaults: Any, prefix: str) -> Any:
    for item in fields(settings):
        value, default = getattr(settings, item.name), getattr(defaults, item.name)
        key = f"{prefix}{item.name}"
        if is_dataclass(value):
            yield from _walk(value, default, f"{key}.")
            continue
        yield Described(
            key=key,
            variable=f"DAVY_{key.upper().replace('.', '_')}",
            value=_as_given(value),
            default=_as_given(default),
            help=item.metadata["help"],
            secret=item.metadata["secret"],
            bounds=bounds(item.metadata),
            tables=item.metadata["tables"],
        )


def _as_given(value: Any) -> Any:
    return ", ".join(f"{name}={found}" for name, found in value) if isinstance(value, tuple) else value
