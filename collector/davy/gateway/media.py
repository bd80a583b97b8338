"""Signed, expiring links to payloads, so that an annotator's browser sees a picture and nobody else does."""

from __future__ import annotations

import secrets
from typing import Final

from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer

from davy.errors import BlobError
from davy.event import BlobRef
from davy.runtime import Runtime
from davy.store import Batch, Collection, marks

_SALT: Final = "davy.media"
_SECRETS: Final[Collection[bytes]] = marks("secrets", writer="gateway, mine")
"""Secrets that Davy made for itself."""
_MEDIA: Final = "media"


def media_url(runtime: Runtime, reference: BlobRef) -> str:
    """Return a link to a payload that works for `gateway.media_hours` hours and cannot be guessed or altered."""
    gateway = runtime.settings.gateway
    base = gateway.public_url.rstrip("/") or f"http://{gateway.host}:{gateway.port}"
    return f"{base}/media/{_serializer(runtime).dumps([reference.hash, reference.media_type])}"


def open_media(runtime: Runtime, token: str) -> tuple[bytes, str]:
    """Return the payload and media type a link stands for.

    Raises
    ------
    BlobError
        The link is forged or expired, or the payload is gone.
    """
    seconds = int(runtime.settings.gateway.media_hours * 3600)
    try:
        hash, media_type = _serializer(runtime).loads(token, max_age=seconds)
    except SignatureExpired as error:
        raise BlobError("media link", token[:16], "has expired; open the task again for a new one") from error
    except BadSignature as error:
        raise BlobError("media link", token[:16], "is not one of ours") from error
    return runtime.blobs.get(hash), media_type


def _serializer(runtime: Runtime) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(_secret(runtime), salt=_SALT)


def _secret(runtime: Runtime) -> str:
    if runtime.settings.gateway.media_secret:
        return runtime.settings.gateway.media_secret
    stored = _SECRETS.get(runtime.store, _MEDIA)
    if stored is None:
        runtime.store.apply(_SECRETS.add(Batch(), _MEDIA, secrets.token_bytes(32).hex().encode()))
        stored = _SECRETS.get(runtime.store, _MEDIA)
    return (stored or b"").decode()
