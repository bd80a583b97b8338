"""What of an inference travels, and how: the rules of the settings applied to its fields, before they are encoded."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from davy.codec import dump_any
from davy.config import SdkSettings
from davy.errors import InvalidInference, SettingError
from davy.event import Array, BlobRef, Path
from davy.sdk.claims import PLACEHOLDER, Claim
from davy.sdk.payload import Payload, TooLarge, as_numbers, is_pillow, payload_of
from davy.sdk.pseudonyms import pseudonym
from davy.sdk.rules import Policy, Rules
from davy.sdk.summary import summary

_NOTHING: Final[Mapping[str, Any]] = {}
_GONE: Final = object()
_MODELS: Final = 1024
_SMALL: Final = (type(None), bool, int, float, np.generic, BlobRef)


class Parts(NamedTuple):
    """The fields of an inference, or of a batch of them, by section."""

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    embedding: Any = None
    tags: Mapping[str, Any] = _NOTHING
    group: Any = None
    seq: Any = None
    alternatives: Mapping[str, Mapping[str, Any]] = _NOTHING


class Shaper:
    """Applies the rules; fields that no rule touches and that are small enough go through as they are.

    The sizes of fields are looked at once a model has had a large one: looking costs more than most models need.

    Parameters
    ----------
    settings
        Rules and limits.
    payloads
        Whether the sink has somewhere to put payloads.

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
        if settings.oversize not in {"blob", "summary"}:
            raise SettingError("sdk.oversize", settings.oversize, "use blob or summary")
        if "blob" in self._rules.verbs and not payloads:
            raise SettingError("sdk.fields", "blob", "say in blob_url where payloads go")
        self._oversize = Policy(settings.oversize if payloads else "summary")
        self._blobs = payloads
        self._looked_at: set[str] = set()

    def touches(self, model: str, tags: Mapping[str, Any]) -> bool:
        """Whether `shape` may change anything of an inference of this model with these tags."""
        return bool(self._rules.sections or tags) or model in self._looked_at

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
        if model in self._looked_at:
            return False
        if len(self._looked_at) >= _MODELS:
            self._looked_at = set()
        self._looked_at.add(model)
        return True

    def shape(self, model: str, parts: Parts) -> tuple[Parts, list[Claim]]:
        """Give the fields of one inference that travel, and the claims among them.

        Raises
        ------
        TooLarge
            A text, bytes or container is too large for an envelope and for the blob store.
        InvalidInference
            A value cannot become what its rule asks for.
        """
        return self._each(model, parts, self._one)

    def shape_rows(self, model: str, parts: Parts) -> tuple[Parts, list[Claim]]:
        """Do as `shape` for a batch: inputs, outputs, embedding and alternatives have the inferences as first axis."""
        return self._each(model, parts, self._rows)

    def _each(
        self, model: str, parts: Parts, apply: Callable[[Policy, Path, Any], tuple[Any, Claim | None]]
    ) -> tuple[Parts, list[Claim]]:
        claims: list[Claim] = []
        every = model in self._looked_at or apply == self._rows

        def section(
            name: str, fields: Mapping[str, Any], how: Any = apply, *before: str
        ) -> Mapping[str, Any]:
            if not every and name not in self._rules.sections and name != "tags":
                return fields
            found = {}
            for field, value in fields.items():
                exact = field if type(field) is str else str.__str__(field)
                path = (name, *before, exact)
                value, claim = how(self._rules.of(model, path), path, value)
                if value is not _GONE:
                    found[field] = value
                if claim is not None:
                    claims.append(claim)
            return found

        def single(name: str, value: Any, how: Any) -> Any:
            if value is None:
                return None
            value, claim = how(self._rules.of(model, (name,)), (name,), value)
            if claim is not None:
                claims.append(claim)
            return None if value is _GONE else value

        shaped = Parts(
            section("inputs", parts.inputs),
            section("outputs", parts.outputs),
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

    def _one(self, policy: Policy, path: Path, value: Any) -> tuple[Any, Claim | None]:
        """Give what stands for one value, `_GONE` for nothing, and the claim for it."""
        if value is None:
            return None, None
        match policy.verb:
            case "drop":
                return _GONE, None
            case "hash":
                return pseudonym(value, self._salt), None
            case "summary":
                return self._summarised(path, value), None
            case "inline":
                policy = self._policy_for_size(path, value)
        if policy.verb == "blob":
            found = self._payload(path, value, policy.format)
            if isinstance(found, Payload):
                return PLACEHOLDER, Claim(path, {0: found}, {})
            return found, None
        return (value if policy.verb == "inline" else self._summarised(path, value)), None

    def _rows(self, policy: Policy, path: Path, array: Array) -> tuple[Any, Claim | None]:
        """Do as `_one` for every row of a batch."""
        if policy.verb == "drop":
            return _GONE, None
        small = array.dtype.kind in "buif" and array.nbytes <= self._limit * max(1, len(array))
        if policy.verb == "inline" and small:
            return array, None
        found = [self._one(policy, path, value) for value in array]
        values = np.empty(len(array), dtype=object)
        values[:] = [value for value, _ in found]
        payloads = {row: claim.payloads[0] for row, (_, claim) in enumerate(found) if claim is not None}
        return values, Claim(path, payloads, {}) if payloads else None

    def _policy_for_size(self, path: Path, value: Any) -> Policy:
        if isinstance(value, _SMALL):
            return Policy("inline")
        if isinstance(value, os.PathLike):
            return Policy("blob")
        array = as_numbers(value)
        if array is not None:
            return self._oversize if array.nbytes > self._limit else Policy("inline")
        if isinstance(value, (bytes, bytearray, memoryview)):
            size = memoryview(value).nbytes
        elif isinstance(value, str):
            size = len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
        else:
            size = len(dump_any(value))
        if size <= self._limit:
            return Policy("inline")
        if self._blobs and isinstance(value, (str, bytes, bytearray, memoryview)):
            return Policy("blob")
        raise TooLarge(".".join(path), f"{size} bytes", f"at most {self._limit}; see sdk.inline_bytes")

    def _payload(self, path: Path, value: Any, format: str) -> Any:
        if isinstance(value, BlobRef):
            return value
        if not self._blobs:
            raise InvalidInference(".".join(path), type(value).__name__, "say in blob_url where payloads go")
        array = None if is_pillow(value) else as_numbers(value)
        if array is not None and array.nbytes > self._most:
            return summary(array)
        return payload_of(".".join(path), value, format, self._most)

    def _summarised(self, path: Path, value: Any) -> Any:
        array = as_numbers(value)
        if array is None:
            remedy = "only arrays can be summarised; use blob, hash or drop"
            raise InvalidInference(".".join(path), type(value).__name__, remedy)
        return summary(array)


def _import_pillow() -> None:
    """Import now what the sender's thread will need: an import there, during a fork, leaves the child locked."""
    try:
        from PIL import Image
    except ImportError as error:
        raise SettingError(
            "sdk.fields", "blob", "images are encoded by Pillow: pip install pillow"
        ) from error
    Image.init()
