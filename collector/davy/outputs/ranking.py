"""Things in an order, the best first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

from davy.outputs.base import Answer, Unknown
from davy.outputs.fields import CLASS_NAMES, Fields, rows_of
from davy.outputs.labels import VALUES
from davy.outputs.values import Scalar, elements_of, items, key, number, scalar, text, whole

RANKINGS: Final = (
    "ranking",
    "ranked",
    "ranked_items",
    "ranks",
    "order",
    "recommendations",
    "recommended",
    "recommended_items",
    "items",
    "item_ids",
    "top_k",
    "hits",
    "documents",
    "document_ids",
    "results",
    "candidates",
    "ids",
)
_BARE: Final = frozenset({*VALUES, "output", "result"})
"""Fields that say nothing of what they hold."""
_IDS: Final = (
    "id",
    "item",
    "item_id",
    "doc_id",
    "document_id",
    "corpus_id",
    "product_id",
    "index",
    "name",
    "key",
    "_id",
)
_RANKS: Final = ("rank", "position")
_SCORES: Final = ("score", "relevance", "similarity", "distance", *_RANKS)
_MOST: Final = 10_000


@dataclass(frozen=True, slots=True)
class Ranking(Answer):
    """An order; `value` lists what is ranked by its name, the best first."""

    task: ClassVar[str] = "ranking"
    form: ClassVar[str] = "ranking"

    @classmethod
    def of(cls, fields: Fields) -> Self | Unknown | None:
        """Read a list of names, or of records with a name each."""
        for name in RANKINGS:
            value = fields.get(name)
            rows = rows_of(value)
            found = _of_records(rows) if rows is not None else items(value) if _is_list(value) else None
            found = found if found is not None else _of_pairs(value)
            if found is not None:
                return cls([one if isinstance(one, str) else text(one) for one in found])
        alone = set(fields) - set(CLASS_NAMES)
        if len(alone) != 1 or not alone <= _BARE:
            return None
        value = fields.first(_BARE)
        found = _of_scored(value) or _of_pairs(value) or (_of_ids(value) if len(fields) == 1 else None)
        return None if found is None else cls(list(map(text, found)))

    def shown(self) -> str:
        """Return the first ten."""
        return ", ".join(map(text, self.value[:10])) + (" …" if len(self.value) > 10 else "")

    @classmethod
    def same(cls, one: Any, other: Any) -> bool | None:
        """Return whether two orders are the same, as far as the shorter one goes."""
        first, second = (items(value) if elements_of(value) is not None else None for value in (one, other))
        if first is None or second is None:
            return None
        if not first or not second:
            return first == second
        return all(key(a) == key(b) for a, b in zip(first, second, strict=False))


def _is_list(value: Any) -> bool:
    elements = elements_of(value)
    return elements is not None and len(elements) <= _MOST


def _of_scored(value: Any) -> list[Scalar] | None:
    rows = rows_of(value) or []
    scored = len(rows) > 1 and all(number(row.first(_SCORES)) is not None for row in rows)
    return _of_records(rows) if scored else None


def _of_pairs(value: Any) -> list[Scalar] | None:
    """The names in pairs of a name and a score; numbers name things when they are whole and none comes twice.

    As numbers of one kind pairs travel as a matrix: one whose second column is no score is none.
    """
    pairs = [elements_of(one) or [] for one in elements_of(value) or []] if _is_list(value) else []
    if len(pairs) < 2 or any(len(pair) != 2 for pair in pairs):
        return None
    scores = [found for pair in pairs if (found := number(pair[1])) is not None]
    ids = [one if isinstance(one := scalar(pair[0]), str) else whole(one) for pair in pairs]
    named = [one for one in ids if one is not None]
    if len(scores) < len(pairs) or len(named) < len(pairs) or len(set(map(key, named))) < len(named):
        return None
    scored = any(not float(one).is_integer() for one in scores) or scores == sorted(scores, reverse=True)
    return [*named] if scored else None


def _of_ids(value: Any) -> list[Scalar] | None:
    """Whole numbers of which none comes twice: what a model recommends, by id."""
    found = items(value) if _is_list(value) else None
    if found is None or len(found) < 2 or not all(type(one) is int and one >= 0 for one in found):
        return None
    return found if len(set(found)) == len(found) and not set(found) <= {0, 1} else None


def _of_records(rows: list[Fields]) -> list[Scalar] | None:
    found = [scalar(row.first(_IDS)) for row in rows]
    if any(one is None for one in found) or len(rows) > _MOST:
        return None
    ranks = [number(row.first(_RANKS)) for row in rows]
    named = [one for one in found if one is not None]
    if any(rank is None for rank in ranks):
        return named
    order = sorted(range(len(named)), key=lambda at: ranks[at] or 0)
    return [named[at] for at in order]
