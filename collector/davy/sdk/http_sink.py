"""The gateway as a sink: one envelope a request, over one connection that is kept open; standard library only."""

from __future__ import annotations

import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Final
from urllib.parse import urlsplit

from davy.errors import LogError, Refused, SettingError
from davy.event import FEEDBACK, INFERENCES
from davy.log import Message
from davy.sdk.sink import PAYLOADS, SinkBusy
from davy.secret import Secret

_ROUTES: Final = {INFERENCES: "/v1/envelopes", FEEDBACK: "/v1/feedback", PAYLOADS: "/v1/payloads"}
_MEDIA_TYPES: Final = {
    INFERENCES: "application/vnd.davy.envelope",
    FEEDBACK: "application/vnd.davy.feedback",
}
_CONNECT_SECONDS: Final = 5.0
_ANSWER_BYTES: Final = 64 * 1024
_LONGEST_RETRY_AFTER: Final = 300.0
_UNAUTHORISED: Final = {
    401: "the key is missing, unknown or ended",
    403: "the key may not write",
}


class HttpSink:
    """Posts messages to a gateway; used by one thread.

    Parameters
    ----------
    url
        ``http://host:port`` or ``https://host:port``, with a path before ``/v1`` if the gateway has one.
    api_key
        Sent as ``Authorization: Bearer …`` unless empty; looked at before every request, so that it may change.

    Raises
    ------
    SettingError
        The URL names no host, or no port that exists.
    """

    together = 1

    def __init__(self, url: str, api_key: Secret | None = None) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            host, port = "", None
        if not host:
            raise SettingError("url", url, "use http://host:port")
        self._kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._host, self._port, self._path = host, port, parts.path.rstrip("/")
        self._name = f"{parts.scheme}://{host}" + (f":{port}" if port else "")
        self._key = api_key or Secret()
        self._connection: HTTPConnection | None = None

    def append(self, messages: Sequence[Message], *, timeout: float = 30.0) -> None:
        """Post messages in order.

        Raises
        ------
        Refused
            The gateway answered that it will never take this message.
        Later
            It asks to wait, or for another key.
        LogError
            It cannot be reached, or did not answer within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        for message in messages:
            self._judge(*self._post(message, deadline))

    def close(self, *, timeout: float = 5.0) -> None:  # noqa: ARG002
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _post(self, message: Message, deadline: float) -> tuple[int, str]:
        kept = self._connection is not None
        try:
            return self._exchange(message, deadline)
        except (OSError, HTTPException) as error:
            self.close()
            if not kept or isinstance(error, TimeoutError):
                raise self._unreachable(error) from error
        try:  # the gateway closed a connection that was idle: not its fault, and not ours
            return self._exchange(message, deadline)
        except (OSError, HTTPException) as error:
            self.close()
            raise self._unreachable(error) from error

    def _exchange(self, message: Message, deadline: float) -> tuple[int, str]:
        route, media_type = _ROUTES[message.topic], _MEDIA_TYPES.get(message.topic, message.key)
        connection = self._connection
        if connection is None:
            connection = self._kind(self._host, self._port, timeout=min(_CONNECT_SECONDS, _left(deadline)))
            connection.connect()
            self._connection = connection
        connection.sock.settimeout(_left(deadline))
        headers = {"User-Agent": "davy", "Content-Type": media_type}
        if key := self._key.current():
            headers["Authorization"] = f"Bearer {key}"
        connection.request("POST", f"{self._path}{route}", message.value, headers)
        connection.sock.settimeout(_left(deadline))
        answer = connection.getresponse()
        answer.read(_ANSWER_BYTES)
        if connection.sock is None or not answer.isclosed():  # closed by the gateway, or a very long answer
            self.close()
        return answer.status, answer.getheader("Retry-After", "")

    def _judge(self, status: int, retry_after: str) -> None:
        if 200 <= status < 300:
            return
        if status in {408, 429} or status >= 500:
            seconds = _seconds(retry_after)
            raise SinkBusy(self._name, status, f"will be tried again in {seconds:g} s or more", seconds)
        if status in _UNAUTHORISED:  # says something of the sender and nothing of the message
            remedy = f"{_UNAUTHORISED[status]}; kept and tried again: give a good one (davy keys)"
            raise SinkBusy(self._name, status, remedy, _seconds(retry_after), reason="unauthorised")
        raise Refused(self._name, status, "the gateway's answer says why; see davy doctor")

    def _unreachable(self, error: Exception) -> LogError:
        return LogError(self._name, type(error).__name__, "will be tried again; is the gateway up?")


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _seconds(retry_after: str) -> float:
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (TypeError, ValueError):
            seconds = 0.0
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER) if seconds == seconds else 0.0
