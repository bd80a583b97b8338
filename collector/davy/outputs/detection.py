"""Boxes in a picture, each of a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from davy.outputs.base import Answer, Unknown
from davy.outputs.fields import Fields, is_text_list, rows_of
from davy.outputs.labels import resolve
from davy.outputs.values import array, elements_of, key, missing, number, scalar

BOXES: Final = (
    "boxes",
    "bboxes",
    "bounding_boxes",
    "pred_boxes",
    "detection_boxes",
    "xyxy",
    "xywh",
    "bbox",
    "box",
)
_ROWS: Final = (
    "detections",
    "objects",
    "predictions",
    "instances",
    "annotations",
    "results",
    "value",
    "output",
)
_CLASSES: Final = (
    "labels",
    "class_ids",
    "pred_classes",
    "detection_classes",
    "category_ids",
    "classes",
    "categories",
    "class_id",
    "category_id",
    "pred_labels",
    "cls",
    "label",
    "class",
)
_CLASS: Final = ("label", "class_name", "class", "name", "category", "class_id", "category_id", "cls")
_SCORES: Final = (
    "scores",
    "detection_scores",
    "confidences",
    "confidence",
    "conf",
    "pred_scores",
    "probs",
    "score",
)
_NAMES: Final = ("class_names", "names", "id2label", "target_names", "label_names")
_CORNERS: Final = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("x1", "y1", "x2", "y2"),
    ("left", "top", "right", "bottom"),
    ("x", "y", "width", "height"),
    ("x", "y", "w", "h"),
)
_LEAST_OVERLAP: Final = 0.5
_LEAST_SCORE: Final = 0.5


@dataclass(frozen=True, slots=True)
class Detection(Answer):
    """Objects found; `value` is a list of ``{"box": [four numbers], "label": name, "score": probability}``.

    `label` and `score` are left out where the model gives none. The list is empty when nothing was found.
    """

    task: ClassVar[str] = "detection"
    form: ClassVar[str] = "boxes"

    @classmethod
    def of(cls, fields: Fields) -> Self | Unknown | None:
        """Read columns (``boxes``, ``scores``, ``labels``) or a list of records with a box each."""
        names = fields.class_names(_NAMES)
        for name in BOXES:
            if name in fields:
                return cls._columns(fields, name, names)
        for name in BOXES if fields else ():
            if name in fields.absent:
                return Unknown.because(f"outputs.{name} is missing (None, NaN, or what cannot travel)")
        for name in _ROWS:
            rows = rows_of(fields.get(name))
            if rows is not None and any(map(_has_box, rows)):
                return cls.of_records(rows, names)
            if name in {"detections", "objects"} and elements_of(fields.get(name)) == []:
                return cls([], names)
        there = {*fields, *fields.absent}
        if fields.first(_CLASS) is not None and any(map(there.issuperset, _CORNERS[:3])):
            return cls.of_records([fields], names)  # one object, whose corners stand beside its class
        return None

    @classmethod
    def _columns(cls, fields: Fields, name: str, names: tuple[str, ...]) -> Self | Unknown:
        rows = rows_of(fields[name])
        boxes = [_corners(row) for row in rows] if rows is not None else _boxes(fields[name])
        if boxes is None or any(box is None for box in boxes):
            return Unknown.because(f"outputs.{name} is no list of boxes with four finite numbers each")
        count = len(boxes)
        classes, scores = _column(fields, _CLASSES, count), _column(fields, _SCORES, count)
        for column in (classes, scores):
            if isinstance(column, Unknown):
                return column
        found = []
        for at, box in enumerate(boxes):
            one: dict[str, Any] = {"box": box}
            if isinstance(classes, list) and (label := scalar(classes[at])) is not None:
                one["label"] = resolve(label, names)
            if isinstance(scores, list) and (score := number(scores[at])) is not None:
                one["score"] = score
            found.append(one)
        return cls(found, names, _least(found))

    @classmethod
    def of_records(cls, rows: Sequence[Fields], names: tuple[str, ...]) -> Self | Unknown:
        """Return the detections that records of one each say."""
        found = []
        for row in rows:
            box, label, score = _box_in(row), scalar(row.first(_CLASS)), number(row.first(_SCORES))
            if box is None:
                return Unknown.because("one of the records has no box with four finite numbers")
            one: dict[str, Any] = {"box": box}
            if label is not None:
                one["label"] = resolve(label, names)
            found.append(one if score is None else {**one, "score": score})
        return cls(found, names, _least(found))

    def shown(self) -> str:
        """Return how many objects of which class were found with a score that counts."""
        counts: dict[str, int] = {}
        for one in _certain(self.value):
            name = one.get("label", "object")
            counts[name] = counts.get(name, 0) + 1
        return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "nothing"

    @classmethod
    def same(cls, one: Any, other: Any) -> bool | None:
        """Return whether two lists have the same objects: of one class, and boxes that overlap by half (IoU).

        Objects with a score below one half do not count.
        """
        first, second = _objects(one), _objects(other)
        if first is None or second is None:
            return None
        if len(first) != len(second):
            return False
        return not first or _matched(first, second)


def _objects(value: Any) -> list[Mapping[str, Any]] | None:
    if isinstance(value, Mapping):
        read = Detection.of(Fields(value))
        value = read.value if isinstance(read, Detection) else None
    if elements_of(value) == []:
        return []
    rows = rows_of(value)
    if rows is None:
        return None
    read = Detection.of_records(rows, ())
    return list(_certain(read.value)) if isinstance(read, Detection) else None


def _certain(found: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [one for one in found if one.get("score", 1.0) >= _LEAST_SCORE]


def _matched(first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]) -> bool:
    """Pair boxes off, the best overlap first; whether every one has a partner."""
    overlap = _overlaps(
        np.array([one["box"] for one in first], np.float64),
        np.array([one["box"] for one in second], np.float64),
    )
    names = [[key(one.get("label", "")) for one in group] for group in (first, second)]
    alike = np.array([[a == b or not a or not b for b in names[1]] for a in names[0]])
    overlap = np.where(alike, overlap, 0.0)
    for _ in first:
        row, column = np.unravel_index(int(overlap.argmax()), overlap.shape)
        if overlap[row, column] < _LEAST_OVERLAP:
            return False
        overlap[row, :], overlap[:, column] = -1.0, -1.0
    return True


def _overlaps(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of every pair; boxes are corners where all can be, else corner and size."""
    both = np.concatenate([one, other])
    if not ((both[:, 2] >= both[:, 0]) & (both[:, 3] >= both[:, 1])).all():
        one, other = (np.concatenate([b[:, :2], b[:, :2] + np.abs(b[:, 2:])], axis=1) for b in (one, other))
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0.0), axis=2)
    sizes = [np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (one, other)]
    union = sizes[0][:, None] + sizes[1][None, :] - shared
    equal = (one[:, None, :] == other[None, :, :]).all(axis=2)
    return np.where(equal, 1.0, np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def _boxes(value: Any) -> list[list[float]] | None:
    elements = elements_of(value)
    if elements is None:
        return None
    found = array(value)
    if found is not None and found.size == 0:
        return []
    if found is None or found.dtype.kind == "b" or not np.isfinite(found).all():
        return None
    while found.ndim > 2 and found.shape[0] == 1:
        found = found[0]
    if found.ndim == 1 and found.size == 4:
        found = found[None, :]
    return found.astype(np.float64).tolist() if found.ndim == 2 and found.shape[1] == 4 else None


def _box_in(row: Fields) -> list[float] | None:
    for name in BOXES:
        if name in row:
            value = row[name]
            found = [_corners(Fields(value))] if isinstance(value, Mapping) else _boxes(value)
            return found[0] if found and len(found) == 1 else None
    return _corners(row)


def _corners(row: Fields) -> list[float] | None:
    for corners in _CORNERS:
        found = [number(row.get(name)) for name in corners]
        if all(one is not None for one in found):
            return [float(one) for one in found if one is not None]
    return None


def _has_box(row: Fields) -> bool:
    """Whether a record is one of a box, be it a damaged one."""
    there = {*row, *row.absent}
    return any(name in there for name in BOXES) or any(there.issuperset(corners) for corners in _CORNERS)


def _column(fields: Fields, wanted: Sequence[str], count: int) -> list[Any] | Unknown | None:
    """The first column with one entry for each box; Unknown when there are only columns of another length."""
    wrong: Unknown | None = None
    for name in wanted:
        value = fields.get(name)
        found = elements_of(value)
        if found is None:
            found = [value] if count == 1 and scalar(value) is not None else None
        elif len(found) == 1 and (inner := elements_of(found[0])) is not None and len(inner) == count:
            found = inner
        if found is None or not all(missing(one) or scalar(one) is not None for one in found):
            continue
        if len(found) == count:
            return found
        if count or not is_text_list(value):
            told = f"outputs.{name} has {len(found)} entries for {count} boxes"
            wrong = wrong or Unknown.because(f"{told}: send one for each box")
    return wrong


def _least(found: Sequence[Mapping[str, Any]]) -> float | None:
    """The probability of the least certain of the objects that count."""
    scores = [one["score"] for one in _certain(found) if 0 <= one.get("score", -1.0) <= 1]
    return round(float(min(scores)), 6) if scores else None
