"""From a URL to a store; adapters are imported when their URL is used."""

from davy.errors import SettingError
from davy.requirements import needs
from davy.store.base import Store


def open_store(url: str) -> Store:
    """Open the store at `url`.

    Raises
    ------
    SettingError
        The URL names no store, or one whose extra is not installed.

    Examples
    --------
    >>> open_store("memory://example").url
    'memory://example'
    """
    scheme, _, rest = url.partition("://")
    if scheme == "memory":
        from davy.store.memory import MemoryStore

        return MemoryStore.named(rest)
    if scheme == "sqlite":
        from davy.store.sqlite import SqliteStore

        return SqliteStore(url)
    if scheme in {"redis", "rediss"}:
        try:
            from davy.store.redis import RedisStore
        except ModuleNotFoundError as error:
            raise SettingError("store_url", url, needs(error.name or "more", extras="cluster")) from error

        return RedisStore(url)
    remedy = "a store is sqlite:///directory, redis[s]://host or memory://name"
    raise SettingError("store_url", url, remedy)
