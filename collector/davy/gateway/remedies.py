"""What pydantic finds wrong with a body, in words for whoever sent it: the field, a short value and what to give."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from davy._near import meant
from davy.errors import InvalidInference
from davy.event import MODEL_RULE

_TRIED: Final = re.compile(r"(?:list\[)?(Inference|Feedback)Body]?")
_UNIONS: Final = {"group": 1, "tags": 2}
"""Fields of several types, with how many names lead to a value; the next one is the type that was tried."""
_GIVE: Final = {
    "string": "text",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "dict": "an object",
    "list": "a list",
    "model": "an object",
}
_REMEDIES: Final[Mapping[str, str]] = {
    "davy": "{remedy}",
    "missing": "is needed: give it",
    "string_pattern_mismatch": MODEL_RULE,
    "too_short": "give {min_length} or more",
    "too_long": "give {max_length} at most; many numbers are one tensor, a list in one field",
    "greater_than_equal": "give {ge} or more",
    "greater_than": "give more than {gt}",
    "less_than_equal": "give {le} or less",
    "less_than": "give less than {lt}",
    "finite_number": "give a finite number",
    "json_invalid": "is no JSON ({error}): give an object, or a list of objects",
}
_OTHERWISE: Final = "give what /docs shows"


def invalid(
    error: ValidationError | RequestValidationError, fields: Mapping[str, Sequence[str]] | None = None
) -> InvalidInference:
    """Return the refusal that names the first field that is wrong, and what to give there.

    Parameters
    ----------
    error
        What pydantic found. What it calls a path also holds the types it tried: where one thing or a list of them may
        be given, the kind that was not given says only that, and the other says which field it is.
    fields
        The names that there are, by what a body is of, for those that are unknown.
    """
    found: Sequence[Any] = error.errors()
    first = next((one for one in found if len(one["loc"]) > 1), found[0])
    path = _path(first)
    same = [one["type"] for one in found if _path(one) == path]
    return InvalidInference(".".join(path) or "body", _value(first), _remedy(first, same, fields or {}))


def _path(error: Any) -> list[str]:
    path = [str(part) for part in error["loc"] if not _TRIED.fullmatch(str(part))]
    place = next(
        (place for place, part in enumerate(path[:2]) if part in _UNIONS and not part.isdigit()), None
    )
    return path if place is None else path[: place + _UNIONS[path[place]]]


def _remedy(error: Any, same: Sequence[str], fields: Mapping[str, Sequence[str]]) -> str:
    kind = str(error["type"])
    if kind == "extra_forbidden":
        body = _TRIED.fullmatch(str(error["loc"][0]))
        known = fields.get(body[1], ()) if body else ()
        return f"is no field; {meant(str(error['loc'][-1]), known)}there are {', '.join(known)}"
    if kind in _REMEDIES:
        return _REMEDIES[kind].format(**error.get("ctx", {}))
    wanted = dict.fromkeys(_GIVE[one] for one in (each.partition("_")[0] for each in same) if one in _GIVE)
    return f"give {' or '.join(wanted)}" if wanted else _OTHERWISE


def _value(error: Any) -> object:
    """Return what was given, and of what holds more than one value how many."""
    match error["type"], error.get("input"):
        case "missing", _:
            return "nothing"
        case _, dict() as value:
            return f"an object of {len(value):,}"
        case ("davy", value):
            return value
        case _, list() as value:
            return f"a list of {len(value):,}"
        case _, bytes() as value:
            return f"{len(value):,} bytes"
        case _, value:
            return value
