"""The blob store: payloads by content, by URL, ``file:///directory`` or ``memory://name``."""

from davy.blobs.base import Blobs, Stored, reference
from davy.blobs.open import open_blobs

__all__ = ["Blobs", "Stored", "open_blobs", "reference"]
