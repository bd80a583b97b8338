"""How tests are shared out between processes (pytest-xdist): a service starts in one, a stopwatch runs alone."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from xdist.scheduler import LoadGroupScheduling

_GROUPS = (
    "demo", "faults on kafka", "cluster", "labelstudio", "kafka", "librdkafka", "s3", "redis", "prometheus",
)  # fmt: skip
"""The groups of the tests that need a service, the longest first, so that no process is left with one at the end.

A test that needs several services is in the group of the first that is called as one is.
"""
_PARTS: dict[str, dict[str, str]] = {
    "labelstudio": {"tests/loop/test_demo.py": "demo"},
    "kafka": {"tests/loop/": "demo", "tests/faults/": "faults on kafka", "librdkafka": "librdkafka"},
}
"""Groups with too many tests for one process: what the name of a test may hold, and the group it is in then."""
_TURNS = pytest.StashKey["_Turns"]()
_FOLDER = pytest.StashKey[TemporaryDirectory[str]]()


class ByServiceAndFile(LoadGroupScheduling):
    """Keeps tests of one service together, and otherwise those of one file; gives them out in their order."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        scope: str = super()._split_scope(nodeid)
        # A round of faults mostly waits, and shares nothing with the others of its file.
        return scope if "@" in nodeid or scope.startswith("tests/faults/") else scope.partition("::")[0]


class _Turns:
    """Lets tests run beside each other, but those marked ``alone`` with nothing beside them.

    Whoever waits for the room holds the gate, so that no stream of others keeps one that must be alone waiting.
    """

    def __init__(self, folder: Path) -> None:
        self._gate, self._room = (folder / "gate").open("w"), (folder / "room").open("w")
        self._alone = False

    def begin(self, alone: bool) -> None:
        if alone and self._alone:
            return
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        fcntl.flock(self._room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        if not alone:
            fcntl.flock(self._gate, fcntl.LOCK_UN)
        self._alone = alone

    def end(self, alone_again: bool) -> None:
        if self._alone and alone_again:
            return
        fcntl.flock(self._room, fcntl.LOCK_UN)
        fcntl.flock(self._gate, fcntl.LOCK_UN)
        self._alone = False


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if _TURNS not in config.stash:
        return
    order = [*_GROUPS, ""]
    places = {}
    for item in items:
        group = _group(item)
        if group:
            item.add_marker(pytest.mark.xdist_group(group))
        # Whoever must be alone waits until all others have ended what they are at, thus comes when few are left.
        places[item] = (_alone(item), order.index(group), item.get_closest_marker("fast") is not None)
    items.sort(key=lambda item: places[item])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[Any]:
    turns = item.config.stash.get(_TURNS, None)
    if turns is None:
        return (yield)
    turns.begin(_alone(item))
    try:
        return (yield)
    finally:
        turns.end(nextitem is not None and _alone(nextitem))


def pytest_configure(config: pytest.Config) -> None:
    given = getattr(config, "workerinput", {})
    if "turns" in given:
        config.stash[_TURNS] = _Turns(Path(given["turns"]))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    if _FOLDER not in node.config.stash:
        node.config.stash[_FOLDER] = TemporaryDirectory(prefix="davy-turns-")
    node.workerinput["turns"] = node.config.stash[_FOLDER].name


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByServiceAndFile | None:
    return ByServiceAndFile(config, log) if config.getvalue("dist") == "loadgroup" else None


def pytest_unconfigure(config: pytest.Config) -> None:
    if _FOLDER in config.stash:
        config.stash[_FOLDER].cleanup()


def _group(item: pytest.Item) -> str:
    needed = {mark.args[0] for mark in item.iter_markers("service")}
    if "shared_kafka_cluster" in getattr(item, "fixturenames", ()):
        needed.add("cluster")
    group = next((group for group in _GROUPS if group in needed), "")
    return next((own for part, own in _PARTS.get(group, {}).items() if part in item.nodeid), group)


def _alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None
