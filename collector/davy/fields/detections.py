"""Objects found in a picture, as libraries of detectors hold them: one record of boxes, scores and labels for all.

Objects of a library are looked at by what they hold, not by their class, so that forks and versions read alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

_INSTANCES: Final = ("pred_instances", "_pred_instances")
"""Where a sample of MMDetection, and of its kin, holds what was found."""
_BOXES: Final = ("bboxes", "boxes")


def detections(held: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return boxes, scores and labels of the parts of an object; None when it holds no such thing.

    A result of ultralytics has ``boxes`` (or ``obb``) with ``xyxy``, ``conf`` and ``cls``, or ``probs`` of a
    classifier, and ``names``; a sample of MMDetection has ``pred_instances`` with ``bboxes``, ``scores`` and
    ``labels``.

    Parameters
    ----------
    held
        The attributes of an object, or the items of a mapping, by name.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> boxes = SimpleNamespace(xyxy=np.zeros((1, 4)), conf=np.ones(1), cls=np.zeros(1))
    >>> found = detections({"boxes": boxes, "names": {0: "cat"}})
    >>> sorted(found), found["labels"].tolist(), found["class_names"]
    (['boxes', 'class_names', 'labels', 'scores'], [0], ['cat'])
    """
    for name in _INSTANCES:
        if name in held:
            return _of_instances(held[name])
    if "names" not in held and "boxes" not in held:
        return None
    for name in ("boxes", "obb"):
        boxes: Any = held.get(name)
        if all(hasattr(boxes, part) for part in ("xyxy", "conf", "cls")):
            found = {"boxes": boxes.xyxy, "scores": boxes.conf, "labels": _whole(boxes.cls)}
            return {**found, **_named(held)}
    probs = getattr(held.get("probs"), "data", None)
    if hasattr(probs, "shape") and "orig_shape" in held:
        return {"probs": probs, **_named(held)}
    return None


def several(result: Any) -> bool:
    """Return whether a detector answers with a list of more than one record, a picture each."""
    if type(result) not in {list, tuple} or len(result) < 2:
        return False
    return all(detections(getattr(each, "__dict__", None) or {}) is not None for each in result)


def class_names(model: Any) -> list[str] | None:
    """Return the names of the classes that a detector of MMDetection was trained for, as its data set has them."""
    found = getattr(model, "dataset_meta", None)
    names = found.get("classes") if isinstance(found, Mapping) else None
    return [str(name) for name in names] if isinstance(names, (list, tuple)) and names else None


def only(result: Any) -> Any:
    """Return the record of a picture for which a detector answers with a list of one; anything else as it is."""
    if type(result) not in {list, tuple} or len(result) != 1:
        return result
    held = getattr(result[0], "__dict__", None)
    return result if held is None or detections(held) is None else result[0]


def _of_instances(found: Any) -> dict[str, Any] | None:
    boxes = next((getattr(found, name) for name in _BOXES if hasattr(found, name)), None)
    if boxes is None:
        return None
    parts = {name: getattr(found, name) for name in ("scores", "labels") if hasattr(found, name)}
    return {
        "boxes": getattr(boxes, "tensor", boxes),
        **parts,
    }  # of boxes that know how to be turned, the tensor


def _named(held: Mapping[str, Any]) -> dict[str, Any]:
    names = held.get("names")
    if isinstance(names, Mapping):
        names = [text for _, text in sorted(names.items(), key=lambda item: item[0])]
    return (
        {"class_names": [str(name) for name in names]} if isinstance(names, (list, tuple)) and names else {}
    )


def _whole(numbers: Any) -> Any:
    return numbers.int() if hasattr(numbers, "int") else np.asarray(numbers).astype(np.int64)
