"""From a URL to a log; adapters are imported when their URL is used."""

from davy.errors import SettingError
from davy.log.base import Log


def open_log(url: str) -> Log:
    """Open the log at `url`.

    Examples
    --------
    >>> open_log("memory://example").url
    'memory://example'
    """
    scheme, _, rest = url.partition("://")
    if scheme == "memory":
        from davy.log.memory import MemoryLog

        return MemoryLog.named(rest)
    if scheme == "sqlite":
        from davy.log.sqlite import SqliteLog

        return SqliteLog(url)
    raise SettingError("url", url, "a log is sqlite:///directory or memory://name")
