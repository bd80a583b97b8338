"""What docs/fields.md says of the values of a framework; a test module of each group imports it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fields.catalogue import KINDS
from fields.kinds import Kind, spelt

from davy.codec import Encoder, decode, pack


def kinds_of(library: str) -> list[Any]:
    """Return the kinds of value that take a library, as parameters of a test."""
    return [pytest.param(kind, id=kind.name) for kind in KINDS if library in kind.needs.split()]


def require_kept(kind: Kind) -> None:
    """Require that values of a kind are kept as the page says, one by one and in a batch, and none is left out."""
    values = list(kind.normal(np.random.default_rng(1), 20))
    encoder = Encoder()
    chunks = [encoder.encode("m:1", bytes(16), 1, {"x": value}, {}) for value in values]
    assert not any(chunk.lost for chunk in chunks)
    assert spelt(chunks[-1].layout.kinds[0]) == kind.kept
    batch = encoder.encode_batch("m:1", bytes(16 * 20), 1, {"x": values}, {})
    assert not batch.lost
    alone, together = (decode(pack(found))["inputs", "x"].values for found in (chunks, [batch]))
    np.testing.assert_array_equal(np.stack(list(alone)), np.stack(list(together)))
