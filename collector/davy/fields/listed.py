"""Lists of records in an answer: objects in a picture, entities of a text, words. They become parallel columns.

An answer that is a list of records, none to many of them, has one schema whatever their number. Objects and entities
get the names that pipelines and detectors give them, which `davy.outputs` reads; any other records a column a name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from davy.event import Array
from davy.fields.flattening import NAMES, flatten
from davy.fields.plain import ITEMS, named
from davy.fields.records import record

_BOXES: Final = ("box", "bbox", "xyxy", "bounding_box", "boundingbox", "xywh", "rect")
_CORNERS: Final = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("x1", "y1", "x2", "y2"),
    ("x0", "y0", "x1", "y1"),
    ("left", "top", "right", "bottom"),
    ("x", "y", "width", "height"),
    ("x", "y", "w", "h"),
)
_SIZED: Final = frozenset({"xywh", "width", "w"})
_CLASS: Final = ("label", "class_name", "class", "name", "category", "cls", "type", "class_id", "category_id")
_ENTITY: Final = ("entity_group", "entity_type", "entity", "type", "label", "tag")
_WORDS: Final = ("text", "word", "token", "words")
_STARTS: Final = (("start", "end"), ("start_char", "end_char"), ("begin", "end"), ("start", "stop"))
_SCORES: Final = ("score", "confidence", "conf", "probability", "prob")
_SINGLE: Final = {name: f"{name}s" for name in ("label", "score", "text", "value", "embedding", "prob")}
"""What one answer has one of goes by its plural where it has several."""
_BARE: Final = frozenset(
    {"value", "output", "detections", "objects", "predictions", "instances", "annotations", "results"}
    | {"entities", "ents"}
)
"""Fields that say nothing of what they hold: the columns go without their name."""
_WHOLE: Final = frozenset(
    {"choices", "generations", "candidates", "outputs", "parts", "messages", "tool_calls"}
)
_READ: Final = frozenset(
    {"role", "content", "message", "finish_reason", "generated_text", "logprob", "logprobs", "tokens"}
    | {"mask", "boxes", "bboxes", "labels", "scores", "pred_boxes"}
)
"""Records with these are messages, regions, or an answer to a picture each: `davy.outputs` reads them as they are."""
_RANKED: Final = frozenset(
    {
        "ranking",
        "ranked",
        "ranked_items",
        "recommendations",
        "recommended",
        "recommended_items",
        "items",
        "top_k",
    }
    | {"hits", "documents", "results"}
)
"""Fields that hold an order, unless it is one of objects or entities: read as it is, too."""
_IDS: Final = frozenset(
    {"id", "item", "item_id", "doc_id", "document_id", "corpus_id", "product_id", "index", "key", "_id"}
)
_SCORED: Final = {"label", "score"}
"""Records of classes, of which the best is the answer: read as they are."""
_ORDERED: Final = frozenset({*_SCORES, "relevance", "similarity", "distance", "rank", "position"})
_LISTS: Final = 64
"""So many lists of records of one model are known."""


class RecordLayout(NamedTuple):
    """How the records of one field become columns.

    Attributes
    ----------
    box, corners, spans
        The name of the boxes, and the names of their sides or of the ends of spans where these are apart.
    names
        The column of every name that is one by itself.
    prefix
        What stands before the names of the columns.
    """

    box: str
    corners: tuple[str, ...]
    spans: tuple[str, ...]
    names: dict[str, str]
    prefix: str

    def columns(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the columns of the records of one answer."""
        found: dict[str, Any] = {}
        if self.box or self.corners:
            boxes = [_four(row, self.box, self.corners) for row in rows]
            found["boxes"] = np.array(boxes, np.float64).reshape(-1, 4)
        flat = [_flat(row, self.box) for row in rows]
        for row in flat:
            for name in row.keys() - self.names.keys() - {*self.corners, *self.spans}:
                if len(self.names) < NAMES:
                    self.names[name] = _free(name, {*self.names.values(), *found})
        for name, column in self.names.items():
            values = [row.get(name) for row in flat]
            found[column] = _numbers(values) if column == "scores" else values
        if self.spans:
            ends = np.array([[_number(row.get(name)) for name in self.spans] for row in flat]).reshape(-1, 2)
            found["spans"] = ends.astype(np.int64) if (ends == np.floor(ends)).all() else ends
        return {self.prefix + name: values for name, values in found.items()}


class Lists:
    """Opens the lists of records among the answers of one model, and remembers what it has seen of each.

    `ruled` says whether a rule is about a field: its columns keep its name, so that the rule holds for them.

    Examples
    --------
    >>> lists = Lists()
    >>> found = lists.open({"value": [{"box": (0, 0, 4, 2), "label": "cat", "score": 0.9}]})
    >>> sorted(found), found["boxes"].shape, found["labels"], sorted(lists.open({"value": []}))
    (['boxes', 'labels', 'scores'], (1, 4), ['cat'], ['boxes', 'labels', 'scores'])
    """

    __slots__ = ("_forms", "_ruled")

    def __init__(self, ruled: Callable[[str], bool] = lambda _: False) -> None:
        self._ruled = ruled
        self._forms: dict[str, RecordLayout] = {}

    def open(self, fields: Mapping[Any, Any]) -> Mapping[Any, Any]:
        """Return the fields of one answer, lists of records among them as columns; a name with dots is in a mapping."""
        opened = {
            name: columns for name, value in fields.items() if (columns := self._of_one(name, value, fields))
        }
        return _beside(fields, opened) if opened else fields

    def open_rows(self, fields: Mapping[Any, Any]) -> Mapping[Any, Any]:
        """Return the columns of a batch, those of lists of records as a column a name."""
        opened = {}
        for name, values in fields.items():
            columns = self._of_rows(name, values, fields)
            if columns:
                opened[name] = columns
        return _beside(fields, opened) if opened else fields

    def _of_one(self, name: Any, value: Any, beside: Mapping[Any, Any]) -> dict[str, Any] | None:
        form = self._forms.get(name)
        if form is not None and (value is None or _is_empty(value)):
            return form.columns(()) if value is not None else dict.fromkeys(form.columns(()))
        rows = records_of(value)
        if rows is None or not isinstance(name, str):
            return None
        form = form or self._form(name, rows, beside)
        return None if form is None else form.columns(rows)

    def _of_rows(self, name: Any, values: Any, beside: Mapping[Any, Any]) -> dict[str, Any] | None:
        if not isinstance(name, str) or not (isinstance(values, list) or _is_objects(values)):
            return None
        items = list(values)
        found = [None if value is None or _is_empty(value) else records_of(value) for value in items]
        first = next((rows for rows in found if rows is not None), None)
        form = self._forms.get(name)
        if first is None and (form is None or not any(map(_is_empty, items))):
            return None
        if any(
            rows is None and value is not None and not _is_empty(value)
            for rows, value in zip(found, items, strict=True)
        ):
            return None
        form = form or self._form(name, first or (), beside)
        if form is None:
            return None
        parts = [
            None if value is None else form.columns(rows or ())
            for rows, value in zip(found, items, strict=True)
        ]
        empty = form.columns(())
        return {
            column: _column([None if part is None else part.get(column, values) for part in parts])
            for column, values in empty.items()
        }

    def _form(
        self, name: str, rows: Sequence[Mapping[str, Any]], beside: Mapping[Any, Any]
    ) -> RecordLayout | None:
        mapping, dot, last = name.rpartition(".")
        if len(self._forms) >= _LISTS or last in _WHOLE:
            return None
        found = _form_of(last, rows)
        if found is None:
            return None
        columns = {f"{mapping}{dot}{column}" for column in found.columns(rows)}
        bare = (last in _BARE or len(beside) == 1) and columns.isdisjoint(beside.keys() - {name})
        taken = {column.rpartition(".")[0] for form in self._forms.values() for column in form.columns(())}
        whole = not bare or mapping in taken or self._ruled(name)
        found = found._replace(prefix=f"{name}." if whole else f"{mapping}{dot}")
        self._forms[name] = found
        return found


def records_of(value: Any) -> list[Mapping[str, Any]] | None:
    """Return the records of a list that holds nothing else, by name; None for anything else, and an empty list.

    Examples
    --------
    >>> records_of([{"word": "a"}]), records_of([1.0]), records_of([])
    ([{'word': 'a'}], None, None)
    """
    kind = type(value)
    if kind is np.ndarray and value.dtype == object and value.ndim == 1:
        value, kind = value.tolist(), list
    if not issubclass(kind, (list, tuple)) or hasattr(kind, "_fields"):
        return None
    if kind not in (list, tuple):  # a class of the app's own may answer anything, and raise
        value = list.copy(value) if issubclass(kind, list) else tuple.__getitem__(value, slice(None))
    if not value or len(value) > ITEMS:
        return None
    found: list[Mapping[str, Any]] = []
    for each in value:
        parts = _parts(each)
        if not parts or len(parts) > NAMES:
            return None
        found.append(parts)
    return found


def _parts(value: Any) -> Mapping[str, Any] | None:
    try:
        return record(value)
    except Exception:  # noqa: BLE001 - an object that cannot be read is one value, which is then left out by name
        return None


def _form_of(field: str, rows: Sequence[Mapping[str, Any]]) -> RecordLayout | None:
    names = dict.fromkeys(name for row in rows for name in row)
    if not _READ.isdisjoint(names):
        return None
    box = next((name for name in _BOXES if name in names), "")
    corners = () if box else next((each for each in _CORNERS if names.keys() >= {*each}), ())
    if (box or corners) and all(np.isfinite(_four(row, box, corners)).all() for row in rows):
        return _named(rows, {"labels": _CLASS, "scores": _SCORES}, box=box, corners=corners)
    ends = next((each for each in _STARTS if names.keys() >= {*each}), ())
    kinds = _ENTITY if ends else _ENTITY[:4]
    said = any(name in names for name in _WORDS)
    if any(name in names for name in kinds) and (said or ends):
        return _named(rows, {"entities": kinds, "words": _WORDS, "scores": _SCORES}, spans=ends)
    ranked = field in _RANKED or not (_IDS.isdisjoint(names) or _ORDERED.isdisjoint(names))
    return None if ranked or len(names) < 2 or names.keys() == _SCORED else _named(rows, {})


def _named(
    rows: Sequence[Mapping[str, Any]],
    known: Mapping[str, Sequence[str]],
    *,
    box: str = "",
    corners: tuple[str, ...] = (),
    spans: tuple[str, ...] = (),
) -> RecordLayout:
    names = dict.fromkeys(name for row in rows for name in _flat(row, box) if name not in {*corners, *spans})
    found: dict[str, str] = {}
    for column, wanted in known.items():
        name = next((each for each in wanted if each in names), None)
        if name is not None:
            found[name] = column
    for name in names:
        if name not in found and len(found) < NAMES:
            found[name] = _free(name, {*found.values(), "boxes", "spans"})
    return RecordLayout(box, corners, spans, found, "")


def _free(name: str, taken: set[str]) -> str:
    name = _SINGLE.get(name, name)
    return [*named([*((each, None) for each in taken), (name, None)])][-1]


def _flat(row: Mapping[str, Any], box: str) -> Mapping[str, Any]:
    if box:
        row = {name: value for name, value in row.items() if name != box}
    return flatten(row) if any(_parts(value) is not None for value in row.values()) else row


def _four(row: Mapping[str, Any], box: str, corners: Sequence[str]) -> list[float]:
    """Return the corners of a box; NaN where it has none."""
    value: Any = row.get(box) if box else row
    inner = _parts(value)
    if inner is not None:
        corners = corners or next((each for each in _CORNERS if inner.keys() >= {*each}), ())
        found = [_number(inner[name]) for name in corners if name in inner]
    else:
        found = _listed(value)
    if len(found) != 4:
        return [np.nan] * 4
    if box == "xywh" or not _SIZED.isdisjoint(corners):
        found = [*found[:2], found[0] + found[2], found[1] + found[3]]
    return found


def _listed(value: Any) -> list[float]:
    try:
        value = value.detach().cpu() if hasattr(value, "detach") else value
        return np.asarray(value, np.float64).reshape(-1).tolist()
    except (ValueError, TypeError, RuntimeError):
        return []


def _number(value: Any) -> float:
    try:
        return np.nan if value is None else float(value)
    except (ValueError, TypeError, RuntimeError, OverflowError):
        return np.nan


def _numbers(values: list[Any]) -> Any:
    if any(hasattr(value, "__len__") for value in values):  # of several classes, say
        return values
    return np.array([_number(value) for value in values], np.float64)


def _is_empty(value: Any) -> bool:
    if type(value) is np.ndarray:
        return value.ndim > 0 and not len(value)
    return type(value) in {list, tuple} and not value


def _is_objects(values: Any) -> bool:
    return type(values) is np.ndarray and values.dtype == object and values.ndim > 0


def _column(values: list[Any]) -> Array:
    found = np.empty(len(values), object)
    for place, value in enumerate(values):  # NumPy would take lists and arrays apart
        found[place] = value
    return found


def _beside(fields: Mapping[Any, Any], opened: Mapping[Any, Mapping[str, Any]]) -> dict[Any, Any]:
    """Return fields with columns in place of lists; what the app calls so itself comes first."""
    found = {name: value for name, value in fields.items() if name not in opened}
    for columns in opened.values():
        for name, value in columns.items():
            found.setdefault(name, value)
    return found
