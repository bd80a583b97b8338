"""The store: small records, atomic batches and leases by URL, ``sqlite:///directory`` or ``memory://name``."""

from davy.store.base import Batch, Lease, Store
from davy.store.open import open_store

__all__ = ["Batch", "Lease", "Store", "open_store"]
