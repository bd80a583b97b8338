"""What a server hands to a handler beside its data: requests, connections, sessions, background tasks.

They are no values of an inference, hold credentials, and are told by their types alone: nothing of them is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_BESIDE_HEADERS: Final = frozenset({"cookies", "COOKIES", "cookie_jar", "META", "environ", "scope"})
"""What has headers and one of these is a request, a connection or a client, whichever library it is of."""
_ANSWERS: Final = frozenset({"status", "status_code", "set_cookie"})
_DECLARED: Final = frozenset(
    {"__dataclass_fields__", "__pydantic_fields__", "__struct_fields__", "__attrs_attrs__", "__fields__"}
)
"""Types whose fields were declared are data of the app; so are instances of its own that are neither."""
_MODULES: Final = (
    "asyncio", "awslambdaric", "concurrent.futures", "django.contrib.sessions", "fastapi.background", "grpc",
    "logging", "redis", "socket", "sqlalchemy.engine", "sqlalchemy.ext.asyncio", "sqlalchemy.orm.scoping",
    "sqlalchemy.orm.session", "starlette.background", "threading", "websockets", "werkzeug.local",
)  # fmt: skip
"""Where types are defined that have no headers."""
_CALLED: Final = frozenset({"asgi", "wsgi.version"})
"""Keys of the mappings that ASGI and WSGI call an application with."""
_KINDS: Final = 4_096
_found: dict[type, bool] = {}
_responses: dict[type, bool] = {}


def is_plumbing(value: Any) -> bool:
    """Return whether a value belongs to the server: a request, a connection, a session or a background task.

    Examples
    --------
    >>> from wsgiref.util import setup_testing_defaults
    >>> environ = {}
    >>> setup_testing_defaults(environ)
    >>> is_plumbing(environ), is_plumbing({"headers": {"accept": "*/*"}})
    (True, False)
    """
    kind = type(value)
    if kind is dict:
        return not _CALLED.isdisjoint(value)
    found = _found.get(kind)
    if found is None:
        try:
            found = _is_of_a_server(value, kind)
        except Exception:  # noqa: BLE001 - whatever an object of the app raises, it is read, or left out, like any other
            found = False
        if len(_found) >= _KINDS:
            _found.clear()
        _found[kind] = found
    return found


def _is_of_a_server(value: Any, kind: type) -> bool:
    if kind.__module__ == "builtins" or any(hasattr(kind, name) for name in _DECLARED):
        return False
    if any(f"{base.__module__}.".startswith(f"{module}.") for base in kind.__mro__ for module in _MODULES):
        return True
    names = _names(value, kind)
    return "headers" in names and not names.isdisjoint(_BESIDE_HEADERS) and names.isdisjoint(_ANSWERS)


def _names(value: Any, kind: type) -> set[str]:
    """Return the names that an object has, without looking behind any."""
    names = {name for base in kind.__mro__ for name in vars(base)}
    if not issubclass(kind, Mapping):
        held = getattr(value, "__dict__", None)
        names.update(held if type(held) is dict else ())
    return names


def is_response(value: Any) -> bool:
    """Return whether a value is what a server answers, or a client was answered, as HTTP has it.

    It belongs to the server as a request does: its parts are no fields, and its body is not read.

    Examples
    --------
    >>> class Response:
    ...     headers = {}
    ...     status = 200
    >>> is_response(Response()), is_response({"headers": {}, "status": 200})
    (True, False)
    """
    kind = type(value)
    found = _responses.get(kind)
    if found is None:
        try:
            found = _is_answer(value, kind)
        except Exception:  # noqa: BLE001 - as above
            found = False
        if len(_responses) >= _KINDS:
            _responses.clear()
        _responses[kind] = found
    return found


def _is_answer(value: Any, kind: type) -> bool:
    if kind.__module__ == "builtins" or any(hasattr(kind, name) for name in _DECLARED):
        return False
    names = _names(value, kind)
    return "headers" in names and not names.isdisjoint(_ANSWERS)
