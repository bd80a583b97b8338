"""The store: small records, atomic batches and leases by URL: ``sqlite:``, ``redis:`` or ``memory:``."""

from davy.store.base import Batch, Lease, Store
from davy.store.open import open_store

__all__ = ["Batch", "Lease", "Store", "open_store"]
