"""The blob store: payloads by content, by URL, ``file:///directory`` or ``memory://name``."""

from davy.blobs.base import Blobs, reference
from davy.blobs.open import blob_address, open_blobs

__all__ = ["Blobs", "blob_address", "open_blobs", "reference"]
