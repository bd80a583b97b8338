"""Dataset versions: immutable, whole or absent, verified, the same when nothing changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.mining import MODEL, make_candidate, make_flag, make_label, make_runtime, run, send

from davy.errors import DatasetError
from davy.event import BlobRef
from davy.runtime import Runtime
from davy_miner import dataset
from davy_miner.dataset.files import pack
from davy_miner.dataset.versions import find, versions

pytestmark = pytest.mark.fast


def labelled(tmp_path: Path, count: int = 8, **more: Any) -> Runtime:
    """A runtime with `count` labelled candidates, every third answered against the model."""
    runtime = make_runtime(datasets=str(tmp_path))
    answer(runtime, range(count), **more)
    return runtime


def answer(runtime: Runtime, numbers: range, revision: int = 1, **more: Any) -> None:
    flags = [make_flag(n, control=0.1, **more) for n in numbers]
    send(runtime, *flags)
    answers = [str((n + 1 if n % 3 == 0 else n) % 10) for n in numbers]
    labels = [make_label(make_candidate(f), a, revision) for f, a in zip(flags, answers, strict=True)]
    send(runtime, *labels)
    run(runtime)


def test_a_version_reads_back_what_was_labelled(tmp_path: Path) -> None:
    path = dataset.build(labelled(tmp_path), MODEL)
    found = dataset.load(path)
    assert path.parent == tmp_path / "digits-1"
    order = [int(str(name), 16) for name in found.arrays["inference_id"]]
    assert sorted(order) == list(range(8))
    for row, number in enumerate(order):
        np.testing.assert_array_equal(found.arrays["inputs.image"][row], _image(number))
        assert found.arrays["outputs.label"][row] == number % 10
        expected = "failure" if number % 3 == 0 else "correct"
        assert found.manifest["rows"][row]["verdict"] == expected
    assert found.arrays["label"].dtype.kind == "U"


def _image(number: int) -> Any:
    rng = np.random.default_rng([7, number])
    rng.normal(size=32)
    return rng.random((8, 8))


def test_building_again_without_new_labels_gives_the_same_version(tmp_path: Path) -> None:
    runtime = labelled(tmp_path)
    first = dataset.build(runtime, MODEL)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert dataset.build(runtime, MODEL) == first
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_equal_labels_give_equal_bytes_in_another_place(tmp_path: Path) -> None:
    one = dataset.build(labelled(tmp_path / "a"), MODEL)
    other = dataset.build(labelled(tmp_path / "b"), MODEL)
    assert one.name == other.name
    assert (one / "rows.npz").read_bytes() == (other / "rows.npz").read_bytes()


def test_a_new_answer_makes_a_new_version_and_leaves_the_old_one_as_it_was(tmp_path: Path) -> None:
    runtime = labelled(tmp_path)
    old = dataset.build(runtime, MODEL)
    before = (old / "manifest.json").read_bytes()
    corrected = make_candidate(make_flag(1))
    send(runtime, make_label(corrected, "9", 2))
    answer(runtime, range(8, 10))
    new = dataset.build(runtime, MODEL)
    assert [manifest["version"] for _, manifest in versions(tmp_path, MODEL)] == [old.name, new.name]
    assert (old / "manifest.json").read_bytes() == before
    changes = dataset.diff(find(tmp_path, old.name)[1], find(tmp_path, new.name)[1])
    assert (len(changes["added"]), changes["removed"], changes["relabelled"]) == (2, [], [corrected.id])
    assert dataset.load(new).manifest["parent"] == old.name


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(bytes(data))


def _cut(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-7])


def _rewrite(path: Path) -> None:
    if path.suffix == ".json":
        manifest = json.loads(path.read_text())
        manifest["rows"][0]["verdict"] = "correct!"
        path.chmod(0o644)
        path.write_text(json.dumps(manifest))
    else:
        _flip(path)


@pytest.mark.parametrize("name", ["manifest.json", "rows.npz"])
@pytest.mark.parametrize("damage", [_flip, _cut, _rewrite, Path.unlink])
def test_damage_is_found_and_named(tmp_path: Path, name: str, damage: Callable[[Path], None]) -> None:
    path = dataset.build(labelled(tmp_path), MODEL)
    damage(path / name)
    with pytest.raises(DatasetError):
        dataset.load(path)


def test_what_a_killed_build_left_behind_is_no_version_and_does_not_stop_the_next(tmp_path: Path) -> None:
    runtime = labelled(tmp_path)
    path = dataset.build(runtime, MODEL)
    left = path.rename(path.with_name(f".building-{path.name}"))
    (left / "manifest.json").unlink()
    assert versions(tmp_path) == []
    assert dataset.build(runtime, MODEL) == path
    assert len(dataset.load(path)) == 8


def test_the_miner_shows_how_many_versions_there_are(tmp_path: Path) -> None:
    runtime = labelled(tmp_path)
    dataset.build(runtime, MODEL)
    run(runtime)
    assert f'davy_dataset_versions{{model="{MODEL}"}} 1.0' in runtime.meter.exposition().decode()


def test_two_builds_at_once_are_refused(tmp_path: Path) -> None:
    runtime = labelled(tmp_path)
    assert runtime.store.acquire(f"dataset/{MODEL}", "somebody", seconds=60) is not None
    with pytest.raises(DatasetError, match="another process"):
        dataset.build(runtime, MODEL)


def test_no_group_is_torn_between_train_and_suite(tmp_path: Path) -> None:
    runtime = make_runtime(datasets=str(tmp_path))
    for video in range(20):
        answer(runtime, range(video * 10, video * 10 + 5), group=f"video {video}")
    rows = dataset.load(dataset.build(runtime, MODEL, suite_share=0.5)).manifest["rows"]
    splits = {
        group: {row["split"] for row in rows if row["group"] == group} for group in {r["group"] for r in rows}
    }
    assert len(splits) == 20
    assert {len(found) for found in splits.values()} == {1}
    assert {"train", "suite"} == set.union(*splits.values())


def test_nothing_labelled_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no labelled candidate"):
        dataset.build(make_runtime(datasets=str(tmp_path)), MODEL)


def test_models_whose_directories_collide_are_refused(tmp_path: Path) -> None:
    runtime = labelled(tmp_path)
    dataset.build(runtime, MODEL)
    answer(runtime, range(3), model="digits-1")
    with pytest.raises(DatasetError, match="another directory"):
        dataset.build(runtime, "digits-1")


@pytest.mark.parametrize(
    "values",
    [
        [1, None, 3],
        [np.zeros((2, 2)), np.ones(3)],
        [{"verdict": "failure"}, "x", 3],
        [True, False],
        [1, 2.5],
        ["a", "bcd\0"],
        [BlobRef("ab", 3, "image/png"), None],
        [b"a\0", b"b"],
    ],
)
def test_columns_of_any_kind_survive_the_file(tmp_path: Path, values: list[Any]) -> None:
    from davy_miner.dataset.files import FORMAT, content_hash, hash_of, write

    data = pack({"x": values})
    manifest: dict[str, Any] = {"format": FORMAT, "model": MODEL, "suite_share": 0, "rows": []}
    manifest["files"] = {"rows.npz": {"hash": hash_of(data), "bytes": len(data)}}
    manifest["content"] = content_hash(manifest)
    manifest["version"] = f"v1-{manifest['content'][:8]}"
    write(tmp_path / manifest["version"], manifest, {"rows.npz": data})
    found = dataset.load(tmp_path / manifest["version"]).arrays["x"]
    assert len(found) == len(values)
    for got, wanted in zip(found, values, strict=True):
        np.testing.assert_array_equal(got, wanted)
        assert isinstance(wanted, np.ndarray) or type(getattr(got, "item", lambda got=got: got)()) is type(
            wanted
        )
