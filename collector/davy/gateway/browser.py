"""A browser is not a client: pages of other sites neither write nor read here, whatever name they give this machine.

A browser sends what a stranger's page tells it to, and adds the password it remembers. Three things tell such a request
from a client's. *The host*: a page reads only what comes from its own name, so a stranger points a name of his own at
this machine (DNS rebinding); what cannot be such a name is an address, a name of loopback, or one the settings list.
*The site*: browsers say which site a request comes from, in ``Sec-Fetch-Site`` or at least in ``Origin``. *The media
type*: without asking first, a page can send forms, plain text and bytes without a type only, and no route that reads
its body takes those (`davy.gateway.describe.takes`); that for payloads, files of any type stated, takes text.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from davy._urls import is_address
from davy.config import GatewaySettings
from davy.gateway.refusals import Refusal

_BARE: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
PAGE: Final = {
    "cache-control": "no-store",
    "content-security-policy": f"{_BARE}; style-src 'unsafe-inline'; img-src data:",
}
"""Headers of a page for people: it shows itself and loads nothing, from here or from elsewhere."""
_ANSWER: Final = (
    (b"content-security-policy", _BARE.encode()),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
_OWN_SITE: Final = ("same-origin", "none")


class WrongHost(Refusal):
    """The request names a host that is not known to be this one."""

    status = HTTPStatus.FORBIDDEN  # 421 would say it better, and browsers then ask again


class CrossSite(Refusal):
    """A page of another site made a browser send the request."""

    status = HTTPStatus.FORBIDDEN


class Browser:
    """Refuses what pages of other sites make a browser send.

    Parameters
    ----------
    settings
        `hosts` and the host of `public_url` are names of this gateway.
    host
        The address it listens on, which may be given as a name.
    """

    def __init__(self, settings: GatewaySettings, host: str) -> None:
        self._listed = {name.strip().lower() for name in settings.hosts.split(",") if name.strip()}
        self._own = self._listed | {_name(settings.public_url.partition("://")[2])} - {""}
        self._known = self._own | {host.lower()}

    def check(self, method: str, headers: Headers, *, keyed: bool) -> None:
        """Refuse a request that a page of another site can have sent.

        Where keys are needed (`keyed`), a name that is not listed is refused only if the settings list any: a browser
        remembers a password by the name it was given to, so a stranger's name opens nothing.

        Raises
        ------
        WrongHost
            The Host is neither an address nor a name of this gateway.
        CrossSite
            It comes from a page of another site, and is not a link that somebody follows.
        """
        host = headers.get("host", "")
        if host and (self._listed or not keyed) and not self._knows(_name(host)):
            remedy = "use 127.0.0.1 or localhost, or add the name to DAVY_GATEWAY_HOSTS"
            raise WrongHost("Host", host, remedy)
        judged = self._foreign(method, headers, host)
        if judged:
            remedy = "pages of other sites may not use Davy; send it from a program"
            raise CrossSite(judged, headers.get(judged, ""), remedy)

    def _knows(self, name: str) -> bool:
        # RFC 6761: what ends in .localhost is this machine, and no stranger can have it.
        return is_address(name) or name == "localhost" or name.endswith(".localhost") or name in self._known

    def _foreign(self, method: str, headers: Headers, host: str) -> str:
        """Return the header that names another site, empty where none does."""
        site = headers.get("sec-fetch-site")
        if site == "same-origin":
            return ""
        if site is not None and site not in _OWN_SITE:
            return "" if _is_link(method, headers) else "Sec-Fetch-Site"
        origin = headers.get("origin")
        if origin is None:
            return ""
        given = origin.lower().partition("://")[2]
        return "Origin" if not given or (given != host.lower() and _name(given) not in self._own) else ""


def guarded(message: MutableMapping[str, Any]) -> None:
    """Add to the start of an answer what every answer says to a browser, where it does not say something else."""
    headers: list[tuple[bytes, bytes]] = list(message.get("headers", ()))
    said = {name.lower() for name, _ in headers}
    message["headers"] = [*headers, *(one for one in _ANSWER if one[0] not in said)]


def _is_link(method: str, headers: Headers) -> bool:
    """Whether somebody follows a link: the other page sees nothing of what then fills the window."""
    mode, goal = headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")
    return method in {"GET", "HEAD"} and mode == "navigate" and goal == "document"


def _name(host: str) -> str:
    """Return the name or address of ``name:port``; empty where it is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""
