"""From a URL to a blob store; adapters are imported when their URL is used."""

from davy.blobs.base import Blobs
from davy.config import Settings
from davy.errors import SettingError


def blob_address(settings: Settings) -> str:
    """Give the address of the payloads: where the settings say, else beside the log; empty when they say neither.

    Examples
    --------
    >>> blob_address(Settings(url="sqlite:///.davy"))
    'file:///.davy/blobs'
    """
    scheme, _, rest = settings.url.partition("://")
    beside = {"sqlite": f"file://{rest.rstrip('/')}/blobs", "memory": f"memory://{rest}"}
    return settings.blob_url or beside.get(scheme, "")


def open_blobs(url: str) -> Blobs:
    """Open the blob store at `url`.

    Examples
    --------
    >>> open_blobs("memory://example").url
    'memory://example'
    """
    scheme, _, rest = url.partition("://")
    if scheme == "memory":
        from davy.blobs.memory import MemoryBlobs

        return MemoryBlobs.named(rest)
    if scheme == "file":
        from davy.blobs.file import FileBlobs

        return FileBlobs(url)
    raise SettingError("blob_url", url, "a blob store is file:///directory or memory://name")
