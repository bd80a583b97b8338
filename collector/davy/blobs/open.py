"""From a URL to a blob store; adapters are imported when their URL is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from davy.blobs.base import Blobs
from davy.errors import SettingError
from davy.requirements import needs

if TYPE_CHECKING:
    from davy.config import Settings


def blob_address(settings: Settings) -> str:
    """Return the address of the payloads: where the settings say, else beside the log; empty when they say neither.

    Examples
    --------
    >>> from davy.config import Settings
    >>> blob_address(Settings(url="sqlite:///.davy"))
    'file:///.davy/blobs'
    """
    scheme, _, rest = settings.url.partition("://")
    beside = {"sqlite": f"file://{rest.rstrip('/')}/blobs", "memory": f"memory://{rest}"}
    return settings.blob_url or beside.get(scheme, "")


def open_blobs(url: str) -> Blobs:
    """Open the blob store at `url`.

    Raises
    ------
    SettingError
        The URL names no blob store, or one whose extra is not installed.

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
    if scheme in {"s3", "gs", "az"}:
        try:
            from davy.blobs.objects import ObjectBlobs
        except ModuleNotFoundError as error:
            raise SettingError("blob_url", url, needs(error.name or "more", extras="cluster")) from error

        return ObjectBlobs(url)
    remedy = "a blob store is file:///directory, s3://bucket, gs://bucket, az://container or memory://name"
    raise SettingError("blob_url", url, remedy)
