"""The blob store: payloads by content, by URL: ``file:``, ``s3:``, ``gs:``, ``az:`` or ``memory:``."""

from davy.blobs.base import Blobs, StoredBlob, reference
from davy.blobs.open import blob_address, open_blobs

__all__ = ["Blobs", "StoredBlob", "blob_address", "open_blobs", "reference"]
