"""A plug-in that a process lacks, that was not fitted or whose state is lost blinds its model for that one alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.plugged import Install, MeanShift, install
from support.streams import MODEL, detect, envelopes, give_reference, make_runtime, pass_time, rows, send

from davy.codec import dump_any, load, load_any
from davy.config import DetectSettings
from davy.errors import DecodeError
from davy.forgetting import keepers
from davy.retention import RetentionTarget
from davy.runtime import Runtime
from davy_dashboards.web import router
from davy_detectors.batch import Batch
from davy_detectors.doctor import checks
from davy_detectors.incidents.incident import INCIDENTS, Incident
from davy_detectors.installed import Installed
from davy_detectors.plugins import Plugins, suspensions
from davy_detectors.reference import Reference, active
from davy_detectors.reference.fitted import INLINE
from davy_detectors.reference.fitting import fit_new_scorers, fit_on_log

__all__ = ["install"]  # a fixture
pytestmark = [pytest.mark.fast, pytest.mark.may_swallow]
ONSET = 2_000
HOUR = 3_600


class Neighbours:
    """A scorer with a fitted state of any size: the reference's incomes, and the distance to the nearest."""

    name = "neighbours"
    stream = "inputs.strangeness"
    size = 3_000

    def __init__(self, known: np.ndarray) -> None:
        self.known = known

    @classmethod
    def fit(cls, batch):
        column = batch.fields.get(("inputs", "income"))
        return None if column is None else cls(np.sort(np.resize(column.values, cls.size)))

    def score(self, batch):
        values = batch.fields["inputs", "income"].values
        place = np.clip(np.searchsorted(self.known, values), 1, len(self.known) - 1)
        return np.minimum(np.abs(values - self.known[place - 1]), np.abs(values - self.known[place]))

    def dump(self):
        return {"known": self.known}

    @classmethod
    def load(cls, state):
        return cls(np.asarray(state["known"]))


class Large(Neighbours):
    name = "large"
    stream = "inputs.large"
    size = 200_000


class OfEmbeddings(Neighbours):
    """One that these inferences have nothing for."""

    name = "of-embeddings"

    @classmethod
    def fit(cls, batch):
        return None


def _runtime(directory: Path) -> Runtime:
    return make_runtime("memory", directory, DetectSettings(false_alarm_every=1e5))


def _drift(runtime: Runtime, *, first: int = 0) -> list[Incident]:
    """Send 4,000 inferences, the later half of them changed, and detect; return the incidents of the drift monitor."""
    shifted = np.arange(2 * ONSET) >= ONSET
    send(runtime, list(envelopes(rows(2 * ONSET, 7, shifted=shifted), [200], first=first)))
    detect(runtime)
    found = [load(Incident, data) for _, data in runtime.store.items(INCIDENTS)]
    return [one for one in found if one.cause == "drift"]


def _told(runtime: Runtime) -> list[tuple[str, str, str]]:
    return [(one.kind, one.name, one.model) for one in suspensions(runtime.store, runtime.clock())]


def _shown(runtime: Runtime) -> str:
    return runtime.meter.exposition().decode()


@pytest.mark.parametrize("kind", [Neighbours, MeanShift])
def test_a_plugin_that_this_process_lacks_blinds_its_model_for_that_one_alone(
    kind: Any, install: Install, tmp_path: Path
) -> None:
    install(kind)
    runtime = _runtime(tmp_path)
    version = give_reference(runtime).version
    install()
    (incident,) = _drift(runtime)
    assert incident.features[0].feature == "inputs.income"
    what = "scorer" if kind is Neighbours else "monitor"
    assert _told(runtime) == [(what, kind.name, MODEL)]
    (one,) = suspensions(runtime.store, runtime.clock())
    assert one.words == f"blind for this detector: {kind.name}"
    assert f"install davy-{kind.name}" in one.remedy
    (check,) = [found for found in checks(runtime) if kind.name in found.what]
    assert (check.state, check.remedy) == ("wrong", one.remedy)
    assert f"blind for this detector: {kind.name}" in check.found
    series = f'davy_plugin_suspended{{kind="{what}",model="{MODEL}",plugin="{kind.name}"}} 1.0'
    assert series in _shown(runtime)
    stored = runtime.store.get("references", MODEL)
    assert stored is not None
    here = Reference.from_bytes(stored)
    assert (here.version, here.to_bytes()) == (version, stored)


def test_what_the_others_find_owes_nothing_to_a_scorer_that_is_not_there(
    install: Install, tmp_path: Path
) -> None:
    """The stream of the missing score has no evidence in either, so all else is the same to the bit."""
    found = []
    for name, later in (("fails", Neighbours), ("lacks", None)):
        install(Neighbours)
        runtime = _runtime(tmp_path / name)
        give_reference(runtime)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Neighbours, "score", lambda self, batch: 1 / 0)
            install(*([] if later is None else [later]))
            found.append(_drift(runtime))
    assert found[0] == found[1] != []


def test_it_is_over_some_minutes_after_the_last_process_that_lacks_it(
    install: Install, tmp_path: Path
) -> None:
    install(MeanShift)
    runtime = _runtime(tmp_path)
    give_reference(runtime)
    install()
    detect(runtime)
    assert _told(runtime) == [("monitor", "mean-shift", MODEL)]
    install(MeanShift)
    pass_time(runtime, 170)
    detect(runtime)
    assert _told(runtime) == [("monitor", "mean-shift", MODEL)]  # another process may still lack it
    pass_time(runtime, 20)
    detect(runtime)
    assert _told(runtime) == []
    assert [found for found in checks(runtime) if "mean-shift" in found.what] == []


def test_a_missing_monitor_keeps_its_share_of_the_accepted_false_alarms(
    install: Install, tmp_path: Path
) -> None:
    install(MeanShift)
    runtime = _runtime(tmp_path)
    reference = give_reference(runtime)
    with_all = Plugins(runtime).fresh(reference)["e-detector"]
    install()
    without = Plugins(runtime).fresh(reference)["e-detector"]
    assert without._threshold == with_all._threshold == 2e5  # type: ignore[attr-defined]


def _calm(runtime: Runtime, count: int = 4_000) -> None:
    send(runtime, list(envelopes(rows(count, 3), [200])))


def test_a_new_scorer_is_fitted_where_the_log_still_holds_what_the_reference_was_fitted_on(
    install: Install, tmp_path: Path
) -> None:
    runtime = _runtime(tmp_path)
    _calm(runtime)
    before = fit_on_log(runtime, MODEL, last=4_000, since=None, until=None)
    active.put_fitted(runtime, before)
    install(Neighbours, OfEmbeddings)
    assert fit_new_scorers(runtime) == [MODEL]
    assert fit_new_scorers(runtime) == []
    after = active.read(runtime, runtime.store.get("references", MODEL) or b"")
    assert set(after.scorers) - set(before.scorers) == {"neighbours"}
    assert set(after.streams) - set(before.streams) == {"inputs.strangeness"}
    whole = fit_on_log(runtime, MODEL, last=4_000, since=None, until=None)
    assert whole.to_bytes() == after.to_bytes()
    assert (after.learned_until, after.size) == (before.learned_until, before.size)
    assert _told(runtime) == []


def test_a_new_scorer_of_which_nothing_is_at_hand_is_said_with_the_remedy(
    install: Install, tmp_path: Path
) -> None:
    runtime = _runtime(tmp_path)
    give_reference(runtime)  # of a file
    install(Neighbours)
    assert fit_new_scorers(runtime) == []
    (incident,) = _drift(runtime)
    assert incident.features[0].feature == "inputs.income"
    (one,) = suspensions(runtime.store, runtime.clock())
    assert (one.name, "not fitted" in one.error) == ("neighbours", True)
    assert f"davy reference fit --model {MODEL}" in one.remedy
    (check,) = [found for found in checks(runtime) if "neighbours" in found.what]
    assert check.remedy == one.remedy


def test_a_new_scorer_that_the_inferences_have_nothing_for_changes_no_version(
    install: Install, tmp_path: Path
) -> None:
    runtime = _runtime(tmp_path)
    _calm(runtime)
    before = fit_on_log(runtime, MODEL, last=4_000, since=None, until=None)
    active.put_fitted(runtime, before)
    install(OfEmbeddings)
    assert fit_new_scorers(runtime) == [MODEL]
    after = active.read(runtime, runtime.store.get("references", MODEL) or b"")
    assert (after.version, after.unfitted(Installed())) == (before.version, [])


def test_a_log_that_is_long_is_left_to_the_command(install: Install, tmp_path: Path) -> None:
    runtime = _runtime(tmp_path)
    _calm(runtime)
    active.put_fitted(runtime, fit_on_log(runtime, MODEL, last=4_000, since=None, until=None))
    install(Neighbours)
    assert fit_new_scorers(runtime, patience=0.0) == []


def _large(runtime: Runtime) -> tuple[Reference, str]:
    """Give a model a reference with a large fitted state; return it with the hash of that."""
    reference = give_reference(runtime)
    (hash,) = reference.payloads
    assert reference.kept["large"].hash == hash
    assert reference.kept["large"].length > INLINE
    return reference, hash


def test_a_large_fitted_state_lies_in_the_blob_store_and_is_kept_while_a_reference_has_it(
    install: Install, tmp_path: Path
) -> None:
    install(Neighbours, Large)
    runtime = _runtime(tmp_path)
    reference, hash = _large(runtime)
    data = runtime.store.get("references", MODEL) or b""
    assert len(data) < reference.kept["large"].length
    assert not reference.kept["neighbours"].hash
    again = active.read(runtime, data)
    assert (again.version, again.to_bytes()) == (reference.version, data)
    batch = Batch.from_columns(MODEL, rows(500, 5))
    for name, scores in reference.scored(batch).scores.items():
        assert np.array_equal(scores, again.scored(batch).scores[name])
    (incident,) = _drift(runtime)
    assert incident.features[0].feature in {"inputs.income", "inputs.large", "inputs.strangeness"}
    assert _told(runtime) == []
    runtime.clock.now += 10**18  # type: ignore[attr-defined]
    RetentionTarget(runtime).collect()
    assert runtime.blobs.exists(hash)
    assert hash in {one for keeper in keepers(runtime) for one in keeper.payloads(frozenset())}
    install()
    give_reference(runtime)
    RetentionTarget(runtime).collect()
    assert not runtime.blobs.exists(hash)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_lost_or_damaged_state_blinds_that_scorer_alone_until_it_is_back(
    damaged: bool, install: Install, tmp_path: Path
) -> None:
    install(Neighbours, Large)
    runtime = _runtime(tmp_path)
    _, hash = _large(runtime)
    payload = runtime.blobs.get(hash)
    runtime.blobs.delete(hash)
    if damaged:
        runtime.blobs._payloads[hash] = payload[:-9] + b"damaged!!", 0  # type: ignore[attr-defined]
    (incident,) = _drift(runtime)
    assert incident.features[0].feature in {"inputs.income", "inputs.strangeness"}
    (one,) = suspensions(runtime.store, runtime.clock())
    assert (one.kind, one.name) == ("scorer", "large")
    assert "fitted state is missing" in one.error
    assert f"davy reference fit --model {MODEL}" in one.remedy
    references, plugins = active.References(runtime), Plugins(runtime)
    blind = references.current(MODEL)
    assert blind is not None
    assert list(blind.blind) == ["large"]
    assert [each.name for each in plugins.suspended(blind)] == ["large"]
    runtime.blobs.delete(hash)
    runtime.blobs.put(payload, "")
    pass_time(runtime, 61)
    mended = references.current(MODEL)
    assert mended is not None
    assert (mended.blind, mended.version) == ({}, blind.version)
    assert plugins.suspended(mended) == []


def test_a_state_that_a_scorer_does_not_take_up_blinds_that_scorer_alone(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(Neighbours)
    runtime = _runtime(tmp_path)
    give_reference(runtime)
    monkeypatch.setattr(Neighbours, "load", classmethod(lambda cls, state: state["other"]))
    assert len(_drift(runtime)) == 1
    (one,) = suspensions(runtime.store, runtime.clock())
    assert (one.name, "KeyError" in one.error) == ("neighbours", True)


def _version_3(reference: Reference) -> bytes:
    """Return a reference as it was written before plug-ins could be blind each by itself."""
    found = load_any(reference.to_bytes())
    states = {name: load_any(kept[2]) for name, kept in found["scorers"].items()}
    del found["version"], found["tried"]
    return dump_any({**found, "v": 3, "scorers": states})


def test_a_reference_that_was_written_before_keeps_its_version_and_watches_on(
    install: Install, tmp_path: Path
) -> None:
    runtime = _runtime(tmp_path)
    fitted = give_reference(runtime)
    data = _version_3(fitted)
    active.put(runtime.store, MODEL, data)
    old = active.read(runtime, data)
    assert Reference.from_bytes(old.to_bytes()).version == old.version
    batch = Batch.from_columns(MODEL, rows(500, 5))
    assert np.array_equal(old.scored(batch).bins, fitted.scored(batch).bins)
    assert len(_drift(runtime)) == 1
    assert _told(runtime) == []
    install(Neighbours)
    active.put(runtime.store, MODEL, _version_3(give_reference(runtime)))
    install()
    with pytest.raises(DecodeError, match="neighbours"):
        active.read(runtime, runtime.store.get("references", MODEL) or b"")


def test_the_page_says_for_what_a_model_is_blind(install: Install, tmp_path: Path) -> None:
    import asyncio

    import httpx
    from fastapi import FastAPI

    from davy.health import Health

    install(Neighbours, MeanShift)
    runtime = _runtime(tmp_path)
    give_reference(runtime)
    install()
    _drift(runtime)

    async def get(path: str) -> httpx.Response:
        app = FastAPI()
        app.include_router(router(runtime, Health(runtime)))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://davy") as client:
            return await client.get(path)

    page = asyncio.run(get("/")).text
    assert "blind for this detector: neighbours" in page
    assert "blind for this detector: mean-shift" in page
    (model,) = asyncio.run(get("/status.json")).json()["models"]
    assert [one["words"] for one in model["blind"]] == [
        "blind for this detector: mean-shift",
        "blind for this detector: neighbours",
    ]
    pass_time(runtime, HOUR)
    assert "blind for this detector" not in asyncio.run(get("/")).text
