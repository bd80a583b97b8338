"""Parts of URLs: which hosts only this machine reaches, and what people may see."""

from __future__ import annotations

import re
from typing import Final

_PASSWORD: Final = re.compile(r"(?<=://)([^/?#\s:@]*):[^/?#\s]*(?=@)")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`.

    Examples
    --------
    >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
    (True, False)
    """
    import ipaddress  # only servers ask

    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_address(host: str) -> bool:
    """Whether `host` is an IP address and no name.

    Examples
    --------
    >>> is_address("192.0.2.7"), is_address("::1"), is_address("davy.example")
    (True, True, False)
    """
    import ipaddress

    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def without_password(text: str) -> str:
    """Return a text with the passwords of its URLs left out, for messages, logs and pages.

    Examples
    --------
    >>> without_password("rediss://davy:s3cret@redis.example:6380/0?namespace=davy")
    'rediss://davy@redis.example:6380/0?namespace=davy'
    >>> without_password("sqlite:///.davy")
    'sqlite:///.davy'
    """
    return _PASSWORD.sub(r"\1", text).replace("://@", "://")
