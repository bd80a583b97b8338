"""The store: small records, atomic batches and leases by URL: ``sqlite:``, ``redis:`` or ``memory:``.

Rooms keep what they keep in a `Collection`, declared once (`events`, `plain`, `marks`, `declare`).
"""

from davy.store.base import Batch, Lease, Store
from davy.store.collection import Collection, declaration, declare, declared, events, marks, plain
from davy.store.open import open_store

__all__ = [
    "Batch",
    "Collection",
    "Lease",
    "Store",
    "declaration",
    "declare",
    "declared",
    "events",
    "marks",
    "open_store",
    "plain",
]
