"""Parts of URLs: which hosts only this machine reaches, and what people may see."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`.

    Examples
    --------
    >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
    (True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def without_password(url: str) -> str:
    """Give a URL with its password left out, for messages and pages; other text as it is.

    Examples
    --------
    >>> without_password("rediss://davy:s3cret@redis.example:6380/0?namespace=davy")
    'rediss://davy@redis.example:6380/0?namespace=davy'
    >>> without_password("sqlite:///.davy")
    'sqlite:///.davy'
    """
    scheme, separator, rest = url.partition("://")
    user_and_password, at, host = rest.rpartition("@")
    if not (separator and at):
        return url
    user = user_and_password.partition(":")[0]
    return f"{scheme}://{user}@{host}" if user else f"{scheme}://{host}"
