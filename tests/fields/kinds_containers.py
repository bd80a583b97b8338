"""Kinds of values with parts: vectors, matrices, images, lists, mappings, records; and the answers of models."""

# ruff: noqa: E501 - a kind is easier to read on few lines
from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType, SimpleNamespace
from typing import Any, Final, NamedTuple

import numpy as np

from .kinds import (
    ANSWER,
    CATEGORY,
    COLOURS,
    IMAGE,
    NESTED,
    NEVER,
    NUMBER,
    OTHER,
    RAGGED,
    SUMMARY,
    TEXT,
    VECTOR,
    WORDS,
    Draw,
    Kind,
    Rng,
    flipped,
    gapped,
    mapped,
    picked,
    pixels,
    probabilities,
    ragged,
    reals,
    sentences,
    upside_down,
    vectors,
    wholes,
)

FP64, ANY, STR = "FP64", "MSGPACK", "TEXT"
BOXES = (".count", ".size", "[0]", "[1]", "[2]", "[3]")


@dataclass
class Applicant:
    age: float
    city: str


@dataclass
class Found:
    box: tuple[float, ...]
    label: str
    score: float


@dataclass(slots=True)
class Slim:
    age: float
    city: str


class Row(NamedTuple):
    age: float
    city: str


Old = namedtuple("Old", "age city")  # noqa: PYI024 - apps have these


class Plain:
    def __init__(self, age: float, city: str) -> None:
        self.age, self.city, self._hidden = age, city, 1


class Slotted:
    __slots__ = ("age", "city")

    def __init__(self, age: float, city: str) -> None:
        self.age, self.city = age, city


def _arrays() -> list[Kind]:
    group = "Arrays and lists"
    listed = mapped(vectors(), lambda value: value.tolist())
    higher = mapped(vectors(1.5), lambda value: value.tolist())
    return [
        Kind(group, "list of numbers, of one length", "an array", "FP64[4]", VECTOR, listed, higher),
        Kind(group, "tuple of numbers", "an array", "FP64[4]", VECTOR, mapped(listed, tuple), mapped(higher, tuple)),
        Kind(group, "numpy vector", "itself", "FP64[4]", VECTOR, vectors(), vectors(1.5)),
        Kind(group, "numpy vector of float16", "itself", "FP16[4]", VECTOR, mapped(vectors(), _half),
             mapped(vectors(1.5), _half)),
        Kind(group, "numpy row of shape (1, d)", "itself; a vector for bins", "FP64[1, 4]", VECTOR, mapped(vectors(), _row),
             mapped(vectors(1.5), _row)),
        Kind(group, "vector with gaps", "an array, NaN in the gaps", "FP64[4]", VECTOR, _holes(listed),
             _holes(higher), numpy=_floats),
        Kind(group, "list of ints", "an array", "INT64[4]", VECTOR, _ints(0), _ints(500)),
        Kind(group, "vector of more than 256 numbers", "itself", "FP64[300]", SUMMARY, vectors(width=300),
             vectors(1.5, width=300)),
        Kind(group, "ragged lists of numbers", "arrays", "FP64[any]", RAGGED, ragged(), ragged(2), numpy=NEVER),
        Kind(group, "ragged lists, some empty", "arrays", "FP64[any]", RAGGED, ragged(least=0),
             ragged(2, least=0), numpy=NEVER),
        Kind(group, "lists in lists, of several lengths", "itself", ANY, NESTED, _outlines(0), _outlines(2), numpy=NEVER),
        Kind(group, "matrix of one shape", "itself", "FP64[6, 6]", IMAGE, _matrices(0, (6, 6)), _matrices(2, (6, 6))),
        Kind(group, "array of four axes", "itself", "FP64[2, 2, 2, 2]", SUMMARY, _matrices(0, (2, 2, 2, 2)),
             _matrices(2, (2, 2, 2, 2))),
        Kind(group, "image of bytes", "itself", "UINT8[8, 8, 3]", IMAGE, pixels(90), pixels(160)),
        Kind(group, "grey image of bytes", "itself", "UINT8[8, 8]", IMAGE, pixels(90, (8, 8)), pixels(160, (8, 8))),
        Kind(group, "list of texts", "itself", ANY, (".length", ""), _words(COLOURS, most=2), _words(COLOURS[::-1], most=2),
             numpy=NEVER),
        Kind(group, "set of texts", "a list, in order", ANY, (".length", ""), mapped(_words(COLOURS, most=2), set),
             mapped(_words(COLOURS[::-1], most=2), set), numpy=NEVER, arrow=lambda values: list(map(sorted, values))),
        Kind(group, "numpy array of texts", "a list", ANY, (".length", ""), mapped(_words(COLOURS, most=2), np.array),
             mapped(_words(COLOURS[::-1], most=2), np.array), numpy=NEVER, arrow=lambda values: [v.tolist() for v in values]),
        Kind(group, "numpy array of objects", "an array", "FP64[4]", VECTOR, mapped(listed, _objects),
             mapped(higher, _objects), numpy=_floats, arrow=lambda values: [v.tolist() for v in values]),
        Kind(group, "list of mappings", "itself", ANY, TEXT, _messages(WORDS), _messages(OTHER), csv=False, numpy=NEVER),
    ]  # fmt: skip


def _records() -> list[Kind]:
    group = "Mappings and records"
    parts = (".age", ".city")
    found = [
        Kind(group, "mapping", "a field an item, with dotted names", "FP64 TEXT", parts, *_both(_dict)),
        Kind(group, "mapping in a mapping", "dotted names, eight levels deep", "FP64 TEXT", (".home.age", ".home.city"),
             *_both(lambda age, city: {"home": {"age": age, "city": city}})),
        Kind(group, "mapping with other keys each time", "dotted names; another key is missing",
             "FP64 TEXT", parts, _partly(30), _partly(70)),
    ]  # fmt: skip
    makers: dict[str, Callable[[float, str], Any]] = {
        "any other Mapping": lambda age, city: MappingProxyType({"age": age, "city": city}),
        "dataclass": Applicant,
        "dataclass with slots": Slim,
        "typing.NamedTuple": Row,
        "collections.namedtuple": Old,
        "types.SimpleNamespace": lambda age, city: SimpleNamespace(age=age, city=city),
        "plain object": Plain,
        "object with slots": Slotted,
    }
    as_dicts = {"arrow": _dicts}
    for name, make in makers.items():
        found.append(
            Kind(group, name, "a field an attribute or item", "FP64 TEXT", parts, *_both(make), **as_dicts)
        )
    for library, maker in {
        "pydantic": _pydantic,
        "pydantic.v1": _pydantic_v1,
        "attrs": _attrs,
        "msgspec": _msgspec,
    }.items():
        found.append(
            Kind(group, f"{library} model", "a field an attribute", "FP64 TEXT", parts, *_both(maker),
                 needs=library.partition(".")[0], **as_dicts)
        )  # fmt: skip
    return found


SURE: Final = (".confidence", ".confidence_low", ".entropy", ".entropy_high", ".margin")


def _answers() -> list[Kind]:
    group = "Answers"
    labelled = {"field": "outputs.label"}
    classes = ("cat", "dog", "bird")
    return [
        Kind(group, "class name", "`label`", STR, CATEGORY, picked(classes), flipped(classes), **labelled),
        Kind(group, "class number", "`label`", "INT64", CATEGORY, wholes(40), upside_down(40), **labelled),
        Kind(group, "probabilities", "`probs`", "FP64[3]", (".confidence", ".entropy", ".label"), probabilities(0),
             probabilities(4), field="outputs.probs"),
        Kind(group, "logits", "`logits`", "FP64[3]", (".confidence", ".entropy", ".label"),
             vectors(width=3), mapped(vectors(width=3), lambda value: value * 8), field="outputs.logits"),
        Kind(group, "number", "`value`", FP64, NUMBER, reals(), reals(80), field="outputs.value"),
        Kind(group, "text that is an answer", "`text`", STR, ANSWER, sentences(WORDS), sentences(OTHER), field="outputs.text"),
        Kind(group, "boxes, any number an image", "arrays", "FP64[any]", BOXES, _boxes(1), _boxes(3), field="outputs.boxes",
             csv=True, numpy=NEVER),
        Kind(group, "boxes, [] in some images", "arrays", "FP64[any]", BOXES, mapped(_boxes(1), _emptied),
             mapped(_boxes(3), _emptied), field="outputs.boxes", numpy=NEVER),
        Kind(group, "records of objects, any number an image", "`boxes`, `labels`, `scores`: a column a name", "FP64[any] MSGPACK FP64[any]",
             (*[f".boxes{part}" for part in BOXES], ".labels.length", ".labels", *[f".scores{part}" for part in RAGGED]),
             mapped(_boxes(1), _found), mapped(_boxes(3), _found), field="outputs.faces", csv=False, arrow=NEVER, numpy=NEVER),
        Kind(group, "scores of classes at every place", "itself", "FP64[5, 9, 9]", (*_areas(5), *SURE), _places(0.0),
             _places(1.5), field="outputs.value"),
        Kind(group, "class numbers at every place", "itself", "INT64[9, 9]", _areas(5), mapped(_places(0.0), _likeliest),
             mapped(_places(1.5), _likeliest), field="outputs.value"),
        Kind(group, "names of several classes", "itself", ANY, (".length", ""), _words(classes, most=2), _words(classes[::-1], most=2),
             field="outputs.labels", numpy=NEVER),
    ]  # fmt: skip


def _dict(age: float, city: str) -> dict[str, Any]:
    return {"age": age, "city": city}


def _both(make: Callable[[float, str], Any]) -> tuple[Draw, Draw]:
    return _made(make, 50.0, COLOURS), _made(make, 90.0, COLOURS)


def _made(make: Callable[[float, str], Any], mean: float, cities: Sequence[str]) -> Draw:
    def drawn(rng: Rng, count: int) -> list[Any]:
        pairs = zip(reals(mean)(rng, count), picked(cities)(rng, count), strict=True)
        return [make(age, city) for age, city in pairs]

    return drawn


def _partly(mean: float) -> Draw:
    def drawn(rng: Rng, count: int) -> list[Any]:
        rows = _made(_dict, mean, COLOURS)(rng, count)
        return [
            {"age": row["age"]} if hole else row
            for row, hole in zip(rows, rng.random(count) < 0.3, strict=True)
        ]

    return drawn


def _dicts(values: Sequence[Any]) -> Any:
    return [{"age": float(_part(value, "age")), "city": str(_part(value, "city"))} for value in values]


def _part(value: Any, name: str) -> Any:
    return getattr(value, name) if hasattr(value, name) else value[name]


def _pydantic(age: float, city: str) -> Any:
    if "pydantic" not in _CLASSES:
        from pydantic import create_model

        _CLASSES["pydantic"] = create_model("Applicant", age=(float, ...), city=(str, ...))
    return _CLASSES["pydantic"](age=age, city=city)


def _pydantic_v1(age: float, city: str) -> Any:
    if "v1" not in _CLASSES:
        from pydantic.v1 import create_model

        _CLASSES["v1"] = create_model("Applicant", age=(float, ...), city=(str, ...))
    return _CLASSES["v1"](age=age, city=city)


def _attrs(age: float, city: str) -> Any:
    if "attrs" not in _CLASSES:
        import attrs

        _CLASSES["attrs"] = attrs.make_class("Applicant", {"age": attrs.field(), "city": attrs.field()})
    return _CLASSES["attrs"](age=age, city=city)


def _msgspec(age: float, city: str) -> Any:
    if "msgspec" not in _CLASSES:
        import msgspec

        _CLASSES["msgspec"] = msgspec.defstruct("Applicant", [("age", float), ("city", str)])
    return _CLASSES["msgspec"](age=age, city=city)


_CLASSES: dict[str, Any] = {}


def _half(value: Any) -> Any:
    return value.astype(np.float16)


def _row(value: Any) -> Any:
    return value[None, :]


def _objects(value: Any) -> Any:
    return np.array(value, object)


def _floats(values: Sequence[Any]) -> Any:
    return np.array([np.array(value, np.float64) for value in values])


def _holes(draw: Draw) -> Draw:
    def drawn(rng: Rng, count: int) -> list[Any]:
        return [
            gapped(lambda _rng, _count, row=row: row, share=0.1)(rng, len(row)) for row in draw(rng, count)
        ]  # type: ignore[misc]

    return drawn


def _ints(more: int) -> Draw:
    return lambda rng, count: (rng.integers(0, 1_000, (count, 4)) + more).tolist()


def _outlines(mean: float) -> Draw:
    """Polygons: one or two lists of numbers, of other lengths each."""
    lists = ragged(mean)
    return lambda rng, count: [
        [[1.0, 2.0, *row], *([[0.5]] * (place % 2))] for place, row in enumerate(lists(rng, count))
    ]


def _matrices(mean: float, shape: tuple[int, ...]) -> Draw:
    return lambda rng, count: list(rng.normal(mean, 1.0, (count, *shape)))


def _words(words: Sequence[str], most: int = 3) -> Draw:
    def drawn(rng: Rng, count: int) -> list[Any]:
        return [picked(words)(rng, int(size)) for size in rng.integers(1, most + 1, count)]

    return drawn


def _messages(words: Sequence[str]) -> Draw:
    return mapped(sentences(words), lambda text: [{"role": "user", "content": text}])


def _boxes(scale: float) -> Draw:
    def drawn(rng: Rng, count: int) -> list[Any]:
        found = []
        for size in rng.poisson(2, count):
            corner = rng.uniform(0, 100, (size, 2))
            found.append(np.hstack([corner, corner + rng.uniform(5, 20, (size, 2)) * scale]))
        return found

    return drawn


def _found(boxes: Any) -> list[Found]:
    """Return the records of objects, of a class and with a score that do not depend on their size."""
    return [
        Found(tuple(box), "face" if box[0] < 50 else "hand", 0.5 + box[1] / 201) for box in boxes.tolist()
    ]


def _places(more: float) -> Draw:
    def drawn(rng: Rng, count: int) -> list[Any]:
        return list(rng.normal(size=(count, 5, 9, 9)) + more * (np.arange(5) == 3)[:, None, None])

    return drawn


def _likeliest(scores: Any) -> Any:
    return scores.argmax(axis=0)


def _areas(classes: int) -> tuple[str, ...]:
    return (*(f".area[{number}]" for number in range(classes)), ".area[other]")


def _emptied(value: Any) -> Any:
    return value.tolist()


CONTAINERS = [*_arrays(), *_records(), *_answers()]
