"""Regions of a picture, each of a class."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from davy.event import BlobRef
from davy.fields.measures import about_of
from davy.fields.places import areas, class_map, is_about_places, places_of
from davy.outputs.base import Answer, Unknown
from davy.outputs.fields import Fields, rows_of
from davy.outputs.labels import resolve
from davy.outputs.values import array, elements_of, plain, scalar, text

MASKS: Final = (
    "mask",
    "masks",
    "pred_masks",
    "segmentation",
    "segmentation_map",
    "semantic_map",
    "segments",
    "polygons",
    "rle",
)
_NAMES: Final = ("class_names", "classes", "names", "id2label")
_MOST_CLASSES: Final = 1_000
_SIDES: Final = 2


@dataclass(frozen=True, slots=True)
class Segmentation(Answer):
    """Regions; `value` says what they are made of: ``digest``, and ``classes`` with the share of the picture of each.

    The regions themselves stay in the outputs; two answers are the same when their digests are.
    """

    task: ClassVar[str] = "segmentation"
    form: ClassVar[str] = "masks"

    @classmethod
    def of(cls, fields: Fields) -> Self | Unknown | None:
        """Read a map of classes, masks, polygons or run lengths."""
        names = fields.class_names(_NAMES)
        for name in fields:
            told = _of_places(name, fields[name], names)
            if told:
                return cls(told, names)
        for name in MASKS:
            if name in fields and not (
                name == "segments" and "text" in fields
            ):  # those are parts of a transcript
                found = _described(fields[name], names)
                return cls(found, names) if found else Unknown.because(f"outputs.{name} holds no regions")
        for name in ("value", "output", "predictions"):
            rows = rows_of(fields.get(name))
            if rows and any(mask in row for row in rows for mask in MASKS):
                return cls(_described(fields[name], names), names)
        return None

    def shown(self) -> str:
        """Return the classes with their share of the picture."""
        classes = self.value.get("classes") or {}
        return ", ".join(f"{name} {share:.0%}" for name, share in classes.items()) or "regions"

    @classmethod
    def same(cls, one: Any, other: Any) -> bool | None:
        """Return whether two answers have the same regions."""
        digests = [_digest_of(value) for value in (one, other)]
        return None if None in digests else digests[0] == digests[1]


def _of_places(name: str, value: Any, names: tuple[str, ...]) -> dict[str, Any] | None:
    """Describe an answer that says something at every place of a picture; None for any other."""
    about = about_of(value)
    if about is None:
        grid = array(value) if isinstance(value, (np.ndarray, list)) else None
        places = None if grid is None else places_of(("outputs", name), grid)
        if grid is None or places is None:
            return None
        classes = class_map(grid, places)
        kept = np.ascontiguousarray(grid if places.axis is None else classes)
        about = {"map": list(classes.shape), "areas": areas(classes), "hash": _hash(kept.tobytes())}
    if not is_about_places(about) or len(about.get("map", ())) != _SIDES:
        return None
    digest = value.hash if isinstance(value, BlobRef) else about["hash"]
    shares = {resolve(int(number), names): round(share, 6) for number, share in about["areas"].items()}
    return {"shape": list(about["map"]), "digest": digest, "classes": shares}


def _digest_of(value: Any) -> str | None:
    if isinstance(value, Mapping) and isinstance(value.get("digest"), str):
        return str(value["digest"])
    found = _described(value, ())
    return str(found["digest"]) if found else None


def _described(value: Any, names: tuple[str, ...]) -> dict[str, Any] | None:
    if isinstance(value, BlobRef):
        return {"digest": value.hash}
    grid = array(value)
    if grid is not None and grid.ndim >= 2:
        return {
            "shape": list(grid.shape),
            "digest": _hash(np.ascontiguousarray(grid).tobytes()),
            **_shares(grid, names),
        }
    if isinstance(value, (bytes, bytearray)):
        return {"digest": _hash(bytes(value))}
    if isinstance(value, Mapping) or elements_of(value) is not None or isinstance(value, str):
        rows = rows_of(value) or []
        labels = [scalar(row.first(("label", "class", "category"))) for row in rows]
        digest = _hash(json.dumps(plain(value), sort_keys=True).encode())
        return {"digest": digest, "regions": [text(one) for one in labels if one is not None]}
    return None


def _shares(grid: NDArray[Any], names: tuple[str, ...]) -> dict[str, Any]:
    """The share of each class in a map of class numbers; nothing for maps of probabilities."""
    if grid.dtype.kind not in "iub":
        return {}
    found, counts = np.unique(grid, return_counts=True)
    if len(found) > _MOST_CLASSES:
        return {}
    return {
        "classes": {
            resolve(one, names): round(count / grid.size, 6)
            for one, count in zip(found.tolist(), counts.tolist(), strict=True)
        }
    }


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
