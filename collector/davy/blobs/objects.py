"""Payloads in an object store (S3 and what speaks like it, Google Cloud Storage, Azure), shared by many hosts."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import from_url

from davy._urls import is_loopback, without_password
from davy.blobs.base import StoredBlob, reference
from davy.errors import BlobError, SettingError
from davy.event import BlobRef

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ClientConfig, RetryConfig

_FORM: Final = "use s3://, gs:// or az://bucket/prefix[?http=true]; credentials stand in the environment"
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_RENEW_NS: Final = 3600 * 10**9
_SECOND: Final = 10**9
_TIMEOUTS: Final[ClientConfig] = {"connect_timeout": "5s", "timeout": "30s"}
_RETRIES: Final[RetryConfig] = {"max_retries": 3, "retry_timeout": timedelta(seconds=60)}
_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_REASON: Final = re.compile(r"status code: (\d{3})|<Code>(\w+)</Code>|kind: (Timeout|Connect|Request)\b")
_NO_CREDENTIALS: Final = "/latest/api/token"  # where a virtual machine would be asked for its role


class ObjectBlobs:
    """Payloads as objects, in folders by the first two digits of the hash.

    Region, endpoint and credentials are those of the environment, as the provider's own tools read them.

    Parameters
    ----------
    url
        ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``; with ``?http=true`` an endpoint
        without TLS may lie on another host.
    clock
        Nanoseconds since the epoch; by it a payload is old enough for its time to be renewed.

    Raises
    ------
    SettingError
        The URL or the environment is wrong.
    """

    def __init__(self, url: str, *, clock: Callable[[], int] = time.time_ns) -> None:
        self.url = without_password(url)
        self._clock = clock
        parts = urlsplit(url)
        if parts.username or not parts.hostname or parse_qs(parts.query).keys() - {"http"}:
            raise SettingError("blob_url", self.url, _FORM)
        options: ClientConfig = {**_TIMEOUTS, "allow_http": _plain_http(parts.query)}
        try:
            self._store = from_url(
                f"{parts.scheme}://{parts.netloc}{parts.path}", client_options=options, retry_config=_RETRIES
            )
        except (BaseError, ValueError) as error:
            raise SettingError("blob_url", self.url, str(error).partition("\n")[0]) from None

    def put(self, data: bytes, media_type: str) -> BlobRef:
        """Store a payload; again, it is sent only to renew a time older than an hour, or to repair its length.

        Raises
        ------
        BlobError
            The payload cannot be kept: no bucket, no permission, no answer.
        """
        found = reference(data, media_type)
        with self._failures(found.hash):
            there = self._head(found.hash)
            if there is None or there["size"] != len(data) or self._clock() - _time(there) > _RENEW_NS:
                attributes = {"Content-Type": media_type} if media_type else {}
                obstore.put(self._store, _path(found.hash), data, attributes=attributes)
        return found

    def get(self, hash: str) -> bytes:
        """Return a payload. Raises BlobError when there is none or its bytes no longer match the hash."""
        data = None
        if _HASH.fullmatch(hash):
            with self._failures(hash), suppress(FileNotFoundError):
                data = bytes(obstore.get(self._store, _path(hash)).bytes())
        if data is None:
            raise BlobError("blob", hash, "is not stored here; it was deleted or never put")
        if reference(data, "").hash != hash:
            raise BlobError("blob", hash, "is damaged; put the payload again or restore a backup")
        return data

    def exists(self, hash: str) -> bool:
        """Whether a payload is stored."""
        with self._failures(hash):
            return _HASH.fullmatch(hash) is not None and self._head(hash) is not None

    def delete(self, hash: str) -> None:
        """Remove a payload; removing what is not there is harmless."""
        if _HASH.fullmatch(hash):
            with self._failures(hash), suppress(FileNotFoundError):
                obstore.delete(self._store, _path(hash))

    def stored(self) -> Iterator[StoredBlob]:
        """List the payloads, in no order; one that is put or removed meanwhile may come or not."""
        with self._failures(""):
            for page in obstore.list(self._store):
                for entry in page:
                    hash = entry["path"].replace("/", "", 1)
                    if _HASH.fullmatch(hash) and entry["path"] == _path(hash):
                        yield StoredBlob(hash, _time(entry), entry["size"])

    def close(self) -> None:
        """Nothing is held that has to be given back."""

    def _head(self, hash: str) -> ObjectMeta | None:
        try:
            return obstore.head(self._store, _path(hash))
        except FileNotFoundError:
            return None

    @contextmanager
    def _failures(self, hash: str) -> Iterator[None]:
        """Turn refusals into a BlobError; the client's own words may hold signed addresses and are left out."""
        try:
            yield
        except (BaseError, FileNotFoundError) as error:
            found = "".join(f", {part}" for groups in _REASON.findall(str(error)) for part in groups if part)
            raise BlobError("blob", hash, f"{self.url} {_remedy(error)}{found}") from None


def _plain_http(query: str) -> bool:
    name = next((name for name in _ENDPOINTS if os.environ.get(name)), "")
    endpoint = urlsplit(os.environ.get(name, ""))
    if endpoint.scheme != "http":
        return False
    if is_loopback(endpoint.hostname or "") or parse_qs(query).get("http") == ["true"]:
        return True
    remedy = "use https://, or add ?http=true to the blob URL: payloads travel in the clear"
    raise SettingError(name, without_password(endpoint.geturl()), remedy)


def _remedy(error: Exception) -> str:
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return "refuses: correct the credentials, or let them read, write, delete and list"
    if isinstance(error, FileNotFoundError):
        return "has no such bucket: make it, or correct the URL"
    if _NO_CREDENTIALS in str(error):
        return "has no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    return "failed: look at the endpoint, the network and the provider's status"


def _path(hash: str) -> str:
    return f"{hash[:2]}/{hash[2:]}"


def _time(entry: ObjectMeta) -> int:
    return int(entry["last_modified"].timestamp()) * _SECOND
