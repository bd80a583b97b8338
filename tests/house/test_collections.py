"""Every collection of the store is declared once and used through it, and what lies there stays readable."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fake_labelstudio import FakeLabelStudio
from support.forget_world import ForgetWorld, Subject

from davy.codec import dump, dump_any
from davy.event import Feedback
from davy.store import Batch, Collection, declaration, declare, declared, events, open_store

pytestmark = pytest.mark.fast
ROOT = Path(__file__).parents[2]
PACKAGES = ("davy", "davy_detectors", "davy_miner", "davy_dashboards")
FOLDERS = ("collector", "detectors", "miner", "dashboards")
READS = {"get", "get_many", "items", "count"}
WRITES = {"put", "add", "delete"}


@pytest.fixture(scope="module", autouse=True)
def _everything_imported() -> None:
    """A declaration is known once its module is."""
    for package in PACKAGES:
        for found in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if not found.name.endswith("__main__"):
                importlib.import_module(found.name)


def by_hand(source: str) -> Iterator[str]:
    """Yield the calls of a store or a batch that name a collection themselves."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            receiver = ast.unparse(node.func.value).rpartition(".")[2]
            stored = receiver.lstrip("_") in {"store", "fresh"} and node.func.attr in READS
            batched = receiver in {"batch", "changes", "Batch()", "Changes()"} and node.func.attr in WRITES
            if stored or batched:
                yield f"{ast.unparse(node.func)} in line {node.lineno}"


def test_nobody_names_a_collection_by_hand() -> None:
    port = ROOT / "collector/davy/store"
    found = {
        str(path.relative_to(ROOT)): calls
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        if port not in path.parents and (calls := list(by_hand(path.read_text())))
    }
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        'self._store.get("models", model)',
        'runtime.store.items("incidents")',
        'batch.put("labels", key, b"")',
        "store.apply(Batch().delete(COLLECTION, key))",
    ],
)
def test_one_named_by_hand_is_found(source: str) -> None:
    assert len(list(by_hand(source))) == 1


def test_the_whole_product_writes_what_is_declared_and_every_record_comes_back_byte_by_byte(
    tmp_path: Path,
) -> None:
    subjects = [Subject(number) for number in range(6)]
    with FakeLabelStudio() as fake, ForgetWorld("sqlite", tmp_path, fake) as world:
        world.live(subjects)
        world.forget(subjects[0])
        kept = world.collections()
    assert {"candidates", "labels", "labelstudio", "incidents", "detect", "positions", "forgotten"} <= set(
        kept
    )
    assert [name for name in kept if declaration(name) is None] == []
    for name, records in kept.items():
        collection = declaration(name)
        assert collection is not None
        for key, data in records.items():
            assert collection.dump(collection.load(data)) == data, (name, key)


def test_one_that_is_not_declared_is_noticed() -> None:
    assert declaration("candidate") is None
    assert declaration("candidates/fraud:3") is None
    assert declaration("partials") is not None
    found = declaration("partials/fraud:3")
    assert found is not None
    assert found.name == "partials/fraud:3"


def test_every_collection_says_who_writes_it_and_which_version_it_has() -> None:
    assert len(declared()) > 30
    for name, one in declared().items():
        assert one.name == name
        assert one.writer, name
        assert one.version >= 1
        assert isinstance(one.record, type)


def test_a_second_declaration_of_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="'candidates' is declared twice"):
        declare(Collection("candidates", bytes, "nobody", bytes, bytes))


def test_a_collection_does_what_the_store_does() -> None:
    store, notes = open_store("memory://test-collections"), events("test-notes", Feedback, writer="a test")
    one, other = Feedback(bytes(16), 3, 1), Feedback(bytes(16), 4, 2)
    batch = notes.add(notes.put(Batch(), "a", one), "a", other)
    assert batch.operations == [
        ("put", "test-notes", "a", dump(one)),
        ("add", "test-notes", "a", dump(other)),
    ]
    store.apply(notes.put(batch, "b", other))
    assert notes.get(store, "a") == one
    assert (notes.get(store, "c"), notes.has(store, "b"), notes.has(store, "c")) == (None, True, False)
    assert list(notes.items(store)) == [("a", one), ("b", other)]
    assert (list(notes.keys(store)), list(notes.values(store)), notes.count(store)) == (
        ["a", "b"],
        [one, other],
        2,
    )
    assert notes.get_many(store, ["b", "c"]) == {"b": other}
    stamps = {key: (stamp, read()) for key, stamp, read in notes.stamped(store)}
    assert stamps["a"][1] == one
    assert stamps["a"][0] != stamps["b"][0]
    store.apply(notes.delete(Batch(), "a", "c"))
    assert list(notes.keys(store)) == ["b"]
    with pytest.raises(TypeError, match="is one collection"):
        notes.of("fraud:3")


@pytest.mark.parametrize(
    ("name", "key", "stored"),
    [
        ("positions", "mine/davy.flags/0", 7),
        ("positions", "mine/davy.flags/0", [["log", 7], ["other", 3]]),
        ("watermarks", "0", 1_700_000_000),
        ("watermarks", "0", [1_700_000_000, -1, 0, 0, "log"]),
        ("dead_letters", "davy.flags.dlq/0/1", ["dropped", 5]),
        ("forgotten", "00" * 16, {"v": 1, "at": 5, "done": True}),
        ("labelstudio.seen", "c", {"v": 1, "revision": 2, "tasks": {"1": {"2": 3}}}),
        ("labelstudio.sweeps", "c", {"v": 1, "project": 4}),
        ("labelling", "queue", {"v": 1, "since": 1, "reason": "r"}),
        ("retired", "m:1", {"at": 1, "by": "silence"}),
    ],
)
def test_records_of_earlier_versions_are_read(name: str, key: str, stored: object) -> None:
    collection = declaration(name)
    assert collection is not None
    store = open_store(f"memory://earlier-{name}")
    store.apply(Batch().put(name, key, dump_any(stored)))
    assert collection.get(store, key) is not None
