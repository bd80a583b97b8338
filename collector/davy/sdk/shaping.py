"""What of an inference travels, and how: the rules of the settings applied to its fields, before they are encoded."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np

from davy.codec import dump_any
from davy.errors import InvalidInference, SettingError
from davy.event import Array, BlobRef, Path, Summary
from davy.fields import plain
from davy.fields.noted import noted
from davy.fields.places import places_of
from davy.fields.secrets import is_number
from davy.sdk.claims import PLACEHOLDER, Claim
from davy.sdk.payload import (
    SMALLEST,
    Payload,
    PayloadTooLarge,
    as_numbers,
    dense,
    is_file,
    is_pillow,
    payload_of,
    pillow_bytes,
    snapshot_of_rows,
    summarised,
)
from davy.sdk.pseudonyms import pseudonym
from davy.sdk.rules import DENIED, INLINE, Policy, Rules

if TYPE_CHECKING:
    from davy.config import SdkSettings

_NOTHING: Final[Mapping[str, Any]] = {}
_GONE: Final = object()
_SECRET: Final = object()
_MODELS: Final = 1024
_LEAST_BYTES: Final = 2**15
"""What is taken of a picture however much waits."""
Lose: TypeAlias = Callable[[str, str], None]
"""Told the name of a field that is left out, and the reason."""
Apply: TypeAlias = Callable[[Policy, Path, Any, Lose, "_Room"], tuple[Any, Claim | None]]
_SMALL: Final = (type(None), bool, int, float, np.generic, BlobRef, Summary)


class Parts(NamedTuple):
    """The fields of an inference, or of a batch of them, by section."""

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    embedding: Any = None
    tags: Mapping[str, Any] = _NOTHING
    group: Any = None
    seq: Any = None
    alternatives: Mapping[str, Mapping[str, Any]] = _NOTHING


class _Noted(NamedTuple):
    """A mapping or list whose files are notes, for they are too large to travel."""

    value: Any


class _Room:
    """How many bytes one inference, or a batch of some, may still take of the queue.

    `dense` says whether a dense answer is among them: then their pictures, too, are summarised from a part of them
    where there is no room, for a sample of all inferences is worth more than a few whole ones.
    """

    __slots__ = ("dense", "left", "whole")

    def __init__(self, left: int, whole: int) -> None:
        self.left = left
        self.whole = whole
        self.dense = False

    def for_dense(self, rows: int) -> int:
        """Return what a dense answer may take, of so many still to come: less leaves room for a picture to look at."""
        return self.left // rows if 4 * self.left >= 3 * self.whole else self.left // (4 * rows)

    def take(self, payload: Payload) -> Payload:
        self.left = max(0, self.left - payload.size)
        return payload


class Shaper:
    """Applies the rules; fields that no rule touches and that are small enough go through as they are.

    The sizes of fields are looked at once a model has had a large one: looking costs more than most models need.

    Parameters
    ----------
    settings
        Rules and limits.
    payloads
        Whether the sink has somewhere to put payloads.

    Attributes
    ----------
    looked_at
        The models that have had a large field.
    room
        Gives how many bytes of dense answers the queue takes now: what would be larger is taken at fewer places, so
        that dense traffic is queued whole and coarse instead of being thinned.

    Raises
    ------
    SettingError
        A rule asks for what cannot be.
    """

    def __init__(self, settings: SdkSettings, *, payloads: bool) -> None:
        self._rules = Rules(settings)
        if self._rules.formats:
            _import_pillow()
        self._limit = settings.inline_bytes
        self._most = settings.payload_bytes
        self._salt = settings.salt
        if "blob" in self._rules.verbs and not payloads:
            raise SettingError("sdk.fields", "blob", "say in blob_url where payloads go")
        self._oversize = Policy(settings.oversize if payloads else "summary")
        self._blobs = payloads
        self._whole = settings.queue_bytes // 4
        self.room: Callable[[], int] = lambda: self._whole
        self.looked_at: set[str] = set()

    def ruled(self, model: str, path: Path) -> bool:
        """Whether a rule is about a field of a model."""
        return self._rules.of(model, path) not in (INLINE, DENIED)

    def denied(self, model: str, path: Path) -> bool:
        """Whether a field of a model sounds like a secret, and no rule names it."""
        return self._rules.of(model, path) is DENIED

    @property
    def has_rules(self) -> bool:
        """Whether a rule may touch fields of any model."""
        return bool(self._rules.sections)

    def touches(self, model: str, tags: Mapping[str, Any]) -> bool:
        """Whether `shape` may change anything of an inference of this model with these tags."""
        return bool(self._rules.sections or tags) or model in self.looked_at

    def denies(self, model: str, tags: Sequence[Path]) -> bool:
        """Whether one of these tags does not leave the process as it is."""
        return any(self._rules.of(model, tag) is not INLINE for tag in tags)

    def touches_rows(self, model: str, parts: Parts) -> bool:
        """Whether `shape_rows` may change anything of a batch: a rule, a tag, a large array or one of no numbers."""
        if self.touches(model, parts.tags):
            return True
        arrays = [*parts.inputs.values(), *parts.outputs.values()]
        arrays += [array for fields in parts.alternatives.values() for array in fields.values()]
        arrays += [] if parts.embedding is None else [parts.embedding]
        most = self._limit * len(arrays[0]) if arrays else 0
        return any(array.nbytes > most or array.dtype.kind not in "buif" for array in arrays)

    def look_at(self, model: str) -> bool:
        """Look at the size of each field of a model from now on; false when that was so before."""
        if model in self.looked_at:
            return False
        if len(self.looked_at) >= _MODELS:
            self.looked_at = set()
        self.looked_at.add(model)
        return True

    def shape(self, model: str, parts: Parts, lose: Lose) -> tuple[Parts, list[Claim]]:
        """Return the fields of one inference that travel, and the claims among them.

        A value that is too large for an envelope and for the blob store, or that cannot become what its rule asks for,
        is missing, and `lose` is told.
        """
        return self._each(model, parts, self._one, lose)

    def shape_rows(self, model: str, parts: Parts, lose: Lose) -> tuple[Parts, list[Claim]]:
        """Do as `shape` for a batch: inputs, outputs, embedding and alternatives have the inferences as first axis."""
        return self._each(model, parts, self._rows, lose)

    def _each(self, model: str, parts: Parts, apply: Apply, lose: Lose) -> tuple[Parts, list[Claim]]:
        claims: list[Claim] = []
        room = _Room(self.room(), self._whole)
        every = model in self.looked_at or apply == self._rows

        def section(
            name: str, fields: Mapping[str, Any], how: Any = apply, *before: str
        ) -> Mapping[str, Any]:
            if not every and name not in self._rules.sections and name != "tags":
                return fields
            found = {}
            for field, value in fields.items():
                exact = field if type(field) is str else str.__str__(field)
                path = (name, *before, exact)
                value, claim = how(self._rules.of(model, path), path, value, lose, room)
                if value is not _GONE:
                    found[field] = value
                if claim is not None:
                    claims.append(claim)
            return found

        def single(name: str, value: Any, how: Any) -> Any:
            if value is None:
                return None
            value, claim = how(self._rules.of(model, (name,)), (name,), value, lose, room)
            if claim is not None:
                claims.append(claim)
            return None if value is _GONE else value

        outputs = section("outputs", parts.outputs)  # first, for a dense answer takes room from pictures
        shaped = Parts(
            section("inputs", parts.inputs),
            outputs,
            single("embedding", parts.embedding, apply),
            section("tags", parts.tags, self._one),
            single("group", parts.group, self._one),
            parts.seq,
            {
                other: section("alternatives", fields, apply, other)
                for other, fields in parts.alternatives.items()
            },
        )
        return shaped, claims

    def _one(
        self, policy: Policy, path: Path, value: Any, lose: Lose, room: _Room, rows: int = 1
    ) -> tuple[Any, Claim | None]:
        """Return what stands for one value, `_GONE` for nothing, and the claim for it; `rows` are still to come."""
        try:
            found = self._ruled(policy, path, value, room, rows)
        except Exception as error:  # noqa: BLE001 - whatever the value's own methods raise costs this field only
            lose(
                ".".join(path),
                "too_large" if isinstance(error, PayloadTooLarge) else getattr(error, "reason", "unfit"),
            )
            return None, None
        if found is _SECRET:
            lose(".".join(path), "secret")
            return _GONE, None
        if type(found) is _Noted:
            lose(".".join(path), "noted")
            return found.value, None
        return (PLACEHOLDER, Claim(path, {0: found}, {})) if isinstance(found, Payload) else (found, None)

    def _ruled(self, policy: Policy, path: Path, value: Any, room: _Room, rows: int) -> Any:
        """Return what stands for one value: itself, a payload or `_GONE`."""
        if policy.verb != "drop" and not is_file(value):
            value = plain(value)
        if value is None:
            return None
        match policy.verb:
            case "drop":
                return _GONE
            case "deny" if path[0] == "tags" or not is_number(value):
                return _SECRET
            case "hash":
                return pseudonym(value, self._salt)
            case "summary":
                return self._summarised(path, value)
            case "blob":
                return self._payload(path, value, policy.format)
        return self._by_size(path, value, room, rows)

    def _rows(
        self, policy: Policy, path: Path, array: Array, lose: Lose, room: _Room
    ) -> tuple[Any, Claim | None]:
        """Do as `_one` for every row of a batch."""
        policy = INLINE if policy is DENIED else policy  # a column that is no numbers was left out before
        if policy.verb == "drop":
            return _GONE, None
        small = array.dtype.kind in "buif" and array.nbytes <= self._limit * max(1, len(array))
        if policy.verb == "inline" and small:
            return array, None
        if self._travels_whole(policy, path, array, room):
            array = snapshot_of_rows(array)
        rows = range(len(array), 0, -1)
        found = [
            self._one(policy, path, value, lose, room, left) for left, value in zip(rows, array, strict=True)
        ]
        values = np.empty(len(array), dtype=object)
        values[:] = [value for value, _ in found]
        payloads = {row: claim.payloads[0] for row, (_, claim) in enumerate(found) if claim is not None}
        return values, Claim(path, payloads, {}) if payloads else None

    def _travels_whole(self, policy: Policy, path: Path, array: Array, room: _Room) -> bool:
        """Whether each row of a batch will be kept as it is until it is sent."""
        if array.dtype.kind not in "buif" or not array.size or array.nbytes > self._most * len(array):
            return False
        if policy.verb == "blob":
            return self._blobs
        thinned = places_of(path, array[0]) is not None or (room.dense and array.nbytes > room.left)
        return policy.verb in ("inline", "summary") and not thinned

    def _by_size(self, path: Path, value: Any, room: _Room, rows: int) -> Any:
        if isinstance(value, _SMALL):
            return value
        if isinstance(value, os.PathLike):
            return self._payload(path, value, SMALLEST)
        if is_pillow(value):  # looked at by its size alone: its pixels are read by the sender
            return value if pillow_bytes(value) <= self._limit else self._picture(path, value)
        array = as_numbers(value)
        if array is not None:
            return value if array.nbytes <= self._limit else self._large(path, value, array, room, rows)
        if isinstance(value, (bytes, bytearray, memoryview)):
            size = memoryview(value).nbytes
        elif isinstance(value, str):
            size = len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
        else:
            size = len(dump_any(value))
            if size > self._limit and len(dump_any(parts := noted(value))) <= self._limit:
                return _Noted(parts)
        if size <= self._limit:
            return value
        if self._blobs and isinstance(value, (str, bytes, bytearray, memoryview)):
            return self._payload(path, value, SMALLEST)
        raise PayloadTooLarge(".".join(path), f"{size} bytes", f"at most {self._limit}; see sdk.inline_bytes")

    def _large(self, path: Path, value: Any, array: Array, room: _Room, rows: int) -> Payload:
        """Return a payload of an array that is too large for an envelope, as no rule says what becomes of it."""
        stored = self._oversize.verb == "blob"
        places = places_of(path, array)
        if places is not None:
            room.dense = True
            return room.take(dense(array, places, room.for_dense(rows), stored=stored))
        if room.dense and array.nbytes > room.left // rows:
            return room.take(summarised(path, array, max(room.left // rows, _LEAST_BYTES)))
        found = (
            payload_of(path, value, SMALLEST, self._most) if stored else summarised(path, array, self._most)
        )
        return room.take(found)

    def _picture(self, path: Path, value: Any) -> Payload:
        """Return a payload of an image of Pillow; a summary is made of its pixels where there is no blob store."""
        if self._oversize.verb == "blob":
            return payload_of(path, value, SMALLEST, self._most)
        return summarised(path, np.asarray(plain(value)), self._most)

    def _payload(self, path: Path, value: Any, format: str) -> Any:
        if isinstance(value, (BlobRef, Summary)):
            return value
        if not self._blobs:
            raise InvalidInference(".".join(path), type(value).__name__, "say in blob_url where payloads go")
        return payload_of(path, value, format, self._most)

    def _summarised(self, path: Path, value: Any) -> Payload:
        array = as_numbers(value)
        if array is None:
            remedy = "only arrays can be summarised; use blob, hash or drop"
            raise InvalidInference(".".join(path), type(value).__name__, remedy)
        return summarised(path, array, self._most)


def _import_pillow() -> None:
    """Import now what the sender's thread will need: an import there, during a fork, leaves the child locked."""
    try:
        from PIL import Image
    except ImportError as error:
        raise SettingError(
            "sdk.fields", "blob", "images are encoded by Pillow: pip install pillow"
        ) from error
    Image.init()
