"""What an encoded inference is made of: the layout its fields share and the bytes of one chunk."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from operator import itemgetter
from typing import Any, ClassVar, Final

import msgspec
import numpy as np

from davy.codec._kinds import SCALARS, Kind, dumper
from davy.errors import InvalidInference
from davy.event import BlobRef, Path, Summary

SYSTEM: Final = np.dtype([("id", "V16"), ("at", "<i8"), ("latency_ms", "<f8"), ("rate", "<f8")])
_SYSTEM_CODES: Final = "16sqdd"


class Layout:
    """The fields of an envelope and how each is kept; made by `Encoder`.

    `names` are the field names as `Encoder.encode` meets them, the first `inputs` of them inputs; `pick` takes the
    scalars out of a list of values, `pick_doubles` the floats of 64 bits among them, the `doubles`; `size` is the
    bytes of one inference when every field has a fixed width, else 0. `shared` is what every inference of the model
    has in common, written once an envelope; a layout is `stale` once that has changed, or a wider one has taken its
    place.
    """

    __slots__ = (
        "doubles", "flags", "inputs", "kinds", "model", "names", "objects", "others", "pack_row", "paths", "pick",
        "pick_doubles", "scalars", "shared", "size", "stale", "width",
    )  # fmt: skip

    def __init__(
        self,
        model: str,
        paths: tuple[Path, ...],
        kinds: tuple[Kind, ...],
        *,
        inputs: int = 0,
        names: Sequence[Any] = (),
        shared: Mapping[Path, Any] | None = None,
    ) -> None:
        self.model = model
        self.paths = paths
        self.kinds = kinds
        self.inputs = inputs
        self.names = list(names)
        self.shared = shared or {}
        self.stale = False
        self.scalars = [i for i, kind in enumerate(kinds) if kind.scalar]
        self.flags = [i for i in self.scalars if kinds[i].dtype == "BOOL"]
        self.others = [(i, dumper(kind)) for i, kind in enumerate(kinds) if not kind.scalar]
        self.objects = [i for i, kind in enumerate(kinds) if kind.dtype == "MSGPACK"]
        self.pick = _picker(self.scalars)
        self.doubles = [i for i in self.scalars if kinds[i].dtype == "FP64"]
        self.pick_doubles = _picker(self.doubles)
        codes = "".join(SCALARS[kinds[i].dtype] for i in self.scalars)
        row = struct.Struct(f"<{_SYSTEM_CODES}{codes}")
        self.pack_row = row.pack
        self.width = row.size
        widths = [kinds[i].width for i, _ in self.others]
        self.size = 0 if None in widths else self.width + sum(width or 0 for width in widths)


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """One or more encoded inferences: immutable, so the caller's arrays may change right after.

    It is part of no cycle: the collector need not look at the thousands that may wait in a queue.

    `parts` are the fixed-width records (system columns and scalars) and then one part for every other field.
    `size` is the number of bytes held: what a queue's byte bound counts. `missing` lists (row, field). `sizes`
    gives, for a batch, the byte length of every value of a field of variable size. `lost` counts the values that
    could not travel and are missing instead, by ``field:NAME:REASON``; the envelope's client report tells of them.
    It is encoded, and so has no `recipe`, as a `Snapshot` has.
    """

    recipe: ClassVar[None] = None
    layout: Layout
    count: int
    parts: Sequence[bytes]
    size: int
    missing: Sequence[tuple[int, int]] = ()
    sizes: Mapping[int, Sequence[int]] | None = None
    lost: Mapping[str, int] | None = None


def without(chunk: Chunk, section: str) -> int:
    """Return how many inferences of a chunk have no value in a section."""
    fields = {i for i, path in enumerate(chunk.layout.paths) if path[0] == section}
    if not fields:
        return chunk.count
    if not chunk.missing:
        return 0
    missing = Counter(row for row, field in chunk.missing if field in fields)
    return sum(found == len(fields) for found in missing.values())


def refer(chunk: Chunk, path: Path, references: Mapping[int, BlobRef | Summary | None]) -> Chunk:
    """Return `chunk` with references, by row, in a field whose kind holds them; None is a missing value."""
    layout = chunk.layout
    field = layout.paths.index(path)
    part, dump = next((part, dump) for part, (index, dump) in enumerate(layout.others, 1) if index == field)
    sizes = [len(chunk.parts[part])] if chunk.sizes is None else chunk.sizes[field]
    ends = [0, *accumulate(sizes)]
    rows = [chunk.parts[part][start:end] for start, end in pairwise(ends)]
    for row, found in references.items():
        rows[row] = b"" if found is None else dump(found)
    parts = (*chunk.parts[:part], b"".join(rows), *chunk.parts[part + 1 :])
    missing = [place for place in chunk.missing if place[1] != field or place[0] not in references]
    missing += [(row, field) for row, found in references.items() if found is None]
    new = None if chunk.sizes is None else {**chunk.sizes, field: [len(row) for row in rows]}
    return Chunk(layout, chunk.count, parts, sum(map(len, parts)), missing, new, chunk.lost)


def exact_paths(model: str, paths: Iterable[Path]) -> tuple[Path, ...]:
    """Return the paths in plain text: what an app makes of ``str`` may compare as it likes, and layouts are kept.

    Raises
    ------
    InvalidInference
        A name is not text, or not Unicode: the whole envelope would fail on it later.
    """
    found = []
    for path in (("model", model), *paths):
        try:
            plain = tuple(map(str.__str__, path))
            "".join(plain).encode()
        except (TypeError, UnicodeEncodeError) as error:
            raise InvalidInference("field name", path, "names are text without lone surrogates") from error
        found.append(plain)
    return tuple(found[1:])


def _picker(places: Sequence[int]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    if len(places) > 1:
        return itemgetter(*places)
    first = places[0] if places else 0
    return itemgetter(slice(first, first + len(places)))  # a lone index would give the value, not a sequence
