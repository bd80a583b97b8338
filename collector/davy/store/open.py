"""From a URL to a store; adapters are imported when their URL is used."""

from davy.errors import SettingError
from davy.store.base import Store


def open_store(url: str) -> Store:
    """Open the store at `url`.

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
    raise SettingError("store_url", url, "a store is sqlite:///directory or memory://name")
