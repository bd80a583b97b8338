"""Fields too large for an envelope: arrays become summaries, the rest is counted."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from support.inference_strategies import OIP_DTYPES
from support.sdk_rig import Store, inferences_in, start

import davy
from davy.blobs import open_blobs
from davy.fields.payloads import as_array
from davy.sdk.payload import snapshot
from davy.sdk.summary import summary

pytestmark = pytest.mark.fast


def test_a_large_array_is_summarised_and_the_rest_stays(own_client: str) -> None:
    davy.init(oversize="summary")
    image = np.arange(256 * 1024 + 1, dtype=np.uint8)
    davy.capture("m:1", {"image": image, "age": 3}, {"label": "cat"})
    davy.flush()
    (found,) = inferences_in(own_client)
    assert dict(found.outputs) == {"label": "cat"}
    assert found.inputs["age"] == 3
    assert moments(found.inputs["image"]) == {
        "shape": [image.size],
        "dtype": "uint8",
        "hash": blake2b(image.tobytes(), digest_size=32).hexdigest(),
        "mean": image.mean(),
        "std": image.std(),
        "min": 0.0,
        "max": 255.0,
    }


def moments(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what every summary says, of whatever kind the array was."""
    names = ("shape", "dtype", "hash", "mean", "std", "min", "max")
    return {name: found[name] for name in names} | {"shape": list(found["shape"])}


@pytest.mark.parametrize("field", ["inputs", "outputs", "embedding", "tags", "alternatives"])
def test_every_field_has_the_limit(field: str, own_client: str) -> None:
    davy.init(oversize="summary")
    large = np.zeros(100_000)
    given: dict[str, Any] = {"inputs": {"x": 1.0}, "outputs": {}}
    given[field] = {"embedding": large, "alternatives": {"m:2": {"x": large}}}.get(field, {"x": large})
    davy.capture("m:1", **given)
    davy.flush()
    (found,) = inferences_in(own_client)
    value: Any = getattr(found, field)
    value = value["m:2"] if field == "alternatives" else value
    assert list((value if field == "embedding" else value["x"])["shape"]) == [100_000]


def test_a_field_at_the_limit_travels_whole(own_client: str) -> None:
    davy.init(inline_bytes=1000, oversize="summary")
    for size in (1000, 1001):
        davy.capture("m:1", {"x": np.zeros(size, np.uint8)}, {})
    davy.flush()
    whole, summarised = inferences_in(own_client)
    assert isinstance(whole.inputs["x"], np.ndarray)
    assert list(summarised.inputs["x"]["shape"]) == [1001]


def test_many_small_fields_travel_whole_together(own_client: str) -> None:
    davy.init(inline_bytes=1000)
    for _ in range(2):
        davy.capture("m:1", {f"x{i}": np.zeros(90) for i in range(5)}, {})
    davy.flush()
    assert {type(value) for one in inferences_in(own_client) for value in one.inputs.values()} == {np.ndarray}


def test_large_rows_of_a_batch_are_summarised(own_client: str) -> None:
    davy.init(inline_bytes=1000, oversize="summary")
    davy.watch(lambda x: x[:, 0], "m:1", batched=True)(np.zeros((3, 1001)))
    davy.flush()
    assert [list(one.inputs["x"]["shape"]) for one in inferences_in(own_client)] == [[1001]] * 3


@pytest.mark.parametrize(
    "rule", [{"oversize": "summary"}, {"oversize": "blob"}, {"fields": {"inputs.x": "blob"}}]
)
@pytest.mark.parametrize("shape", [(4, 3, 64, 64), (8, 3, 224, 224)])
def test_large_rows_of_a_batch_are_copied_once_for_all_and_stay_what_they_were(
    rule: dict[str, Any], shape: tuple[int, ...], own_client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[int] = []
    once = snapshot

    def counted(array: Any) -> Any:
        found = once(array)
        copied.append(0 if np.shares_memory(found, array) else array.nbytes)
        return found

    monkeypatch.setattr("davy.sdk.payload.snapshot", counted)
    davy.init(inline_bytes=1000, queue_bytes=2**30, **rule)
    pictures = np.random.default_rng(0).random(shape, np.float32)
    kept = pictures.copy()
    davy.watch(lambda x: x[:, 0, 0, 0].copy(), "m:1", batched=True)(pictures)
    pictures[:] = 0.0
    davy.flush()
    assert [size for size in copied if size] == [kept.nbytes]
    for one, picture in zip(inferences_in(own_client), kept, strict=True):
        found: Any = one.inputs["x"]
        if rule == {"oversize": "summary"}:
            assert found["mean"] == pytest.approx(float(picture.mean()), rel=1e-6)
        else:
            stored = as_array(open_blobs(own_client).get(found.hash), found.about)
            np.testing.assert_array_equal(stored, picture)


@pytest.mark.parametrize(
    "value", ["x" * 1001, "ü" * 501, b"x" * 1001, {"a": ["x" * 600] * 2}, [["a" * 600], ["b" * 600]]]
)
def test_large_text_bytes_and_containers_are_left_out_and_counted(value: Any) -> None:
    sink = Store()
    start(sink, inline_bytes=1000)
    for _ in range(2):
        assert davy.capture("m:1", {"x": value, "y": 1.0}, {})
    davy.flush()
    (name,) = davy.stats()["left_out"]
    assert (name.startswith("m:1 inputs.x"), davy.stats()["left_out"][name]) == (True, 2)
    assert [one.inputs["y"] for envelope in sink.envelopes for one in envelope.inferences()] == [1.0, 1.0]
    assert sum(count for envelope in sink.envelopes for count in envelope.report.values()) == 2


@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=3)))
def test_a_summary_never_warns_and_never_fails(array: Any) -> None:
    found = summary(array)
    assert found["shape"] == list(array.shape)
    assert np.isnan(found["mean"]) or found["min"] <= found["max"]


@pytest.mark.parametrize("dtype", OIP_DTYPES)
def test_a_summary_reads_every_dtype_and_layout(dtype: str) -> None:
    array = np.ones((4, 6), np.dtype(dtype).newbyteorder(">"))
    found = summary(array.T[::2])
    assert (found["mean"], found["std"], found["min"], found["max"]) == (1.0, 0.0, 1.0, 1.0)
    assert found["hash"] == summary(array.T[::2].copy())["hash"]
