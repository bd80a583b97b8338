"""Distributions that a model answers with, as those of PyTorch: what travels of one is its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_ASKED: Final = ("log_prob", "sample", "arg_constraints")
"""What every distribution has, of PyTorch and of what is made of it."""


def parameters(value: Any, kind: type) -> dict[str, Any] | None:
    """Return the parameters that a distribution holds by name; None for anything else.

    One that is made of others, as a mixture is, has theirs; of a distribution that works out its probabilities from
    logits, or these from those, what it was made with.
    """
    if not all(hasattr(kind, name) for name in _ASKED):
        return None
    held = getattr(value, "__dict__", None)
    if type(held) is not dict:
        return None
    known = getattr(value, "arg_constraints", None)
    found = {name: held[name] for name in known if name in held} if isinstance(known, Mapping) else {}
    made_with = held.get("_param")
    for name, other in (("probs", "logits"), ("logits", "probs")):
        if found.keys() >= {"probs", "logits"} and found[name] is made_with:
            del found[other]
    inner = {
        name.strip("_"): parts
        for name, each in held.items()
        if (parts := parameters(each, type(each))) is not None
    }
    if not found and len(inner) == 1:
        return next(iter(inner.values()))
    return {**found, **{name: parts for name, parts in inner.items() if name not in found}} or None
