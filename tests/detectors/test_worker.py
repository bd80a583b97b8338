"""The detect role over whole streams: what it promises about alarms, flags, counts and crashes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.dying import Fuse, Killed, mortal
from support.streams import (
    ADAPTERS,
    BEGIN,
    MODEL,
    SECOND,
    bury,
    detect,
    envelopes,
    give_reference,
    id_of,
    make_runtime,
    pass_time,
    read,
    read_flags,
    rows,
    sample,
    sample_of,
    send,
)

from davy import metrics
from davy.codec import Encoder, decode, dump_any, load, load_any, pack
from davy.config import DetectSettings
from davy.consume import stored_positions
from davy.demo.processes import wait_until
from davy.errors import StoreError
from davy.event import ALERTS, INFERENCES, Alert, Array, dead_letters
from davy.log import Record
from davy.meter import Meter
from davy.runtime import Runtime
from davy.store import Batch as Changes
from davy.store import Lease
from davy_detectors.incidents.incident import Incident
from davy_detectors.reference.active import put as put_reference
from davy_detectors.stream import model_run
from davy_detectors.stream.role import DetectTarget

pytestmark = pytest.mark.fast

COUNT = 9_000
ONSET, END = 3_000, 5_000
SETTINGS = DetectSettings(false_alarm_every=100_000, quiet_events=1_000)
WINDOW = int(SETTINGS.window_seconds * SECOND)
LEASES = ("role/detect", f"model/{MODEL}")


@pytest.fixture(params=ADAPTERS)
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runtime]:
    made = make_runtime(request.param, tmp_path, SETTINGS)
    yield made
    made.stop.set()
    made.store.close()
    made.log.close()


@pytest.fixture
def memory(tmp_path: Path) -> Runtime:
    return make_runtime("memory", tmp_path, SETTINGS)


def planted(episodes: Sequence[tuple[int, int]] = ((ONSET, END),), count: int = COUNT) -> Array:
    """Mark a tenth of the inferences of each episode."""
    drawn = np.random.default_rng(3).random(count) < 0.1
    numbers = np.arange(count)
    return drawn & np.any([(start <= numbers) & (numbers < stop) for start, stop in episodes], axis=0)


def stream(
    runtime: Runtime, *, shifted: Array | None = None, sizes: Sequence[int] = (200,), count: int = COUNT
) -> None:
    shifted = planted() if shifted is None else shifted
    send(runtime, list(envelopes(rows(count, 7, shifted=shifted), sizes)))


def incidents(runtime: Runtime) -> list[Incident]:
    found = [load(Incident, data) for _, data in runtime.store.items("incidents")]
    return sorted(found, key=lambda incident: incident.raised_event)


def alerts(runtime: Runtime) -> list[Alert]:
    return [load(Alert, value) for value in read(runtime, ALERTS)]


def state(runtime: Runtime, model: str = MODEL) -> dict[str, object]:
    data = runtime.store.get("detect", model)
    assert data is not None
    found: dict[str, object] = load_any(data)
    return found


def everything(runtime: Runtime) -> dict[str, object]:
    """Return all that must not depend on crashes: state, incidents, positions, distinct messages."""
    return {
        "stored": [list(runtime.store.items(name)) for name in ("detect", "incidents")],
        "positions": {key: place.offset for key, place in stored_positions(runtime.store).items()},
        "alerts": {(one.id, one.state, one.at) for one in alerts(runtime)},
        "flags": set(read_flags(runtime)),
    }


def test_an_alarm_names_the_planted_feature_its_onset_and_its_samples(runtime: Runtime) -> None:
    give_reference(runtime)
    shifted = planted()
    stream(runtime, shifted=shifted)
    detect(runtime)
    (incident,) = incidents(runtime)
    assert incident.features[0].feature == "inputs.income"
    assert incident.features[0].current > 3 * incident.features[0].reference
    assert abs(incident.onset_event - ONSET) <= 200
    assert ONSET < incident.raised_event < ONSET + 600
    assert incident.onset_at == BEGIN + incident.onset_event * 1_000_000
    assert incident.raised_at == BEGIN + incident.raised_event * 1_000_000
    assert 0.05 < incident.size < 0.15
    numbers = [int.from_bytes(name, "big") for name in incident.samples]
    assert len(numbers) > 50
    assert shifted[numbers].mean() > 0.8


def test_the_longer_an_incident_lasts_the_rarer_the_log_is_read_again(
    memory: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looks at the evidence grow with the logarithm of its length, and each reads a partition three times at most."""
    give_reference(memory)
    looks, reads, gather = [0], [0], model_run.gather

    class Watched:
        def read(self, *where: Any) -> Iterator[Record]:
            reads[0] += 1
            return memory.log.read(*where)

    def watched_gather(source: Any, case: Any) -> Any:
        looks[0] += 1
        return gather(replace(source, log=Watched()), case)

    monkeypatch.setattr(model_run, "gather", watched_gather)
    send(memory, envelopes(rows(30_000, 7, shifted=np.arange(30_000) >= ONSET), [200]))
    detect(memory)
    (incident,) = incidents(memory)
    assert incident.last_event > 29_000
    assert 10 < looks[0] < 30  # one every 500 inferences would be 54
    assert looks[0] < reads[0] <= 3 * looks[0]


def test_samples_of_an_incident_go_to_the_miner_while_it_lasts(memory: Runtime) -> None:
    """The incident is known to those who count two seconds after its alarm: lateness, and a look a second."""
    give_reference(memory)
    end = 8_000
    shifted = planted([(ONSET, end)])
    target = DetectTarget(memory)
    for value in envelopes(rows(COUNT, 7, shifted=shifted), [200]):
        send(memory, [value])
        target.counting.step()
        target.testing.turn()
    target.close()
    (incident,) = incidents(memory)
    flags = [flag for flag in read_flags(memory).values() if flag.incident == incident.id]
    numbers = np.array([int.from_bytes(flag.inference_id, "big") for flag in flags])
    weights = np.array(
        [1 / draw.probability for flag in flags for draw in flag.draws if draw.kind == "incident"]
    )
    known = incident.raised_event + 2_400
    later = (numbers >= known) & (numbers < end)
    assert 0.8 < (weights * shifted[numbers])[later].sum() / shifted[known:end].sum() < 1.25
    assert shifted[numbers[later]].mean() > 0.8
    assert all(0 < draw.probability <= 1 for flag in flags for draw in flag.draws)


def test_one_incident_an_episode_with_one_alert_at_each_end(memory: Runtime) -> None:
    give_reference(memory)
    episodes = ((ONSET, END), (9_000, 11_000))
    shifted = planted(episodes, 15_000)
    stream(memory, shifted=shifted, count=15_000)
    detect(memory)
    first, second = incidents(memory)
    assert [(one.id, one.state) for one in alerts(memory)] == [
        (first.id, "open"), (first.id, "resolved"), (second.id, "open"), (second.id, "resolved"),
    ]  # fmt: skip
    assert first.last_event > first.raised_event  # raised again and again, yet one incident
    assert first.resolved_at is not None
    assert 0 <= first.resolved_at - (BEGIN + (first.last_event + first.patience) * 1_000_000) < WINDOW
    assert first.patience >= SETTINGS.quiet_events
    assert sample(memory, "davy_incident_open", model=MODEL, cause=first.cause) == 0
    assert sample(memory, "davy_incidents_total", model=MODEL, cause=first.cause) == 2


def test_clean_traffic_raises_no_incident_and_flags_what_was_asked_for(memory: Runtime) -> None:
    give_reference(memory)
    stream(memory, shifted=np.zeros(COUNT, bool))
    detect(memory)
    assert incidents(memory) == []
    chosen = Counter(draw.arm for flag in read_flags(memory).values() for draw in flag.draws)
    assert abs(chosen["control"] / COUNT - SETTINGS.control_share) < 0.005
    for arm in ("score:msp", "score:entropy"):
        assert 0.3 * SETTINGS.flag_share < chosen[arm] / COUNT < 2 * SETTINGS.flag_share


def test_splitting_into_envelopes_and_polls_changes_nothing(tmp_path: Path) -> None:
    def outcome(sizes: Sequence[int], max_records: int) -> dict[str, object]:
        runtime = make_runtime("memory", tmp_path, SETTINGS)
        give_reference(runtime)
        stream(runtime, sizes=sizes)
        detect(runtime, max_records=max_records)
        flags = read_flags(runtime)
        return {
            "incidents": incidents(runtime),
            "alerts": alerts(runtime),
            "flags": {name: (flag.draws, flag.scores) for name, flag in flags.items()},
            "counts": [state(runtime)[key] for key in ("events", "flags", "incidents", "ratio", "tested")],
            "windows": list(runtime.store.items(f"windows/{MODEL}")),
        }

    expected = outcome([200], 8)
    assert outcome([1, 7, 130, 1, 500, 33], 64) == expected
    assert outcome([64], 1) == expected
    assert outcome([COUNT], 1) == expected


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_kills_at_random_steps_change_neither_state_nor_flags(adapter: str, tmp_path: Path) -> None:
    outcomes = []
    for seed in range(4):
        runtime = make_runtime(adapter, tmp_path / str(seed), SETTINGS)
        give_reference(runtime)
        stream(runtime)
        rng, deaths = np.random.default_rng(seed), 0
        while seed:  # the first run is not killed
            dying = mortal(runtime, Fuse(int(rng.integers(1, 25))))
            try:
                detect(replace(dying, meter=Meter()))
            except Killed:
                deaths += 1
                bury(runtime, *LEASES)
                continue
            break
        detect(runtime)
        outcomes.append(everything(runtime))
        assert deaths > 0 or seed == 0
        assert sample(runtime, "davy_inferences_total", model=MODEL) == COUNT
        runtime.store.close()
        runtime.log.close()
    for outcome in outcomes[1:]:
        assert outcome == outcomes[0]


def test_counters_go_on_after_a_restart(runtime: Runtime) -> None:
    give_reference(runtime)
    values = list(envelopes(rows(COUNT, 7, shifted=planted()), [200]))
    send(runtime, values[:30])
    detect(runtime)
    send(runtime, values[30:])
    restarted = replace(runtime, meter=Meter())
    detect(restarted)
    assert sample(restarted, "davy_inferences_total", model=MODEL) == COUNT
    (incident,) = incidents(restarted)
    assert sample(restarted, "davy_incidents_total", model=MODEL, cause=incident.cause) == 1
    chosen = Counter(draw.kind for flag in read_flags(restarted).values() for draw in flag.draws)
    for reason in ("control", "incident"):
        assert sample(restarted, "davy_flags_total", model=MODEL, reason=reason) == chosen[reason]


def test_another_length_of_epochs_goes_on_where_the_old_one_ended(memory: Runtime) -> None:
    give_reference(memory)
    values = list(envelopes(rows(COUNT, 7, shifted=planted()), [200]))
    send(memory, values[:14])
    detect(memory)
    assert incidents(memory) == []
    longer = replace(SETTINGS, window_seconds=0.2)
    changed = replace(memory, settings=replace(memory.settings, detect=longer), meter=Meter())
    send(changed, values[14:])
    detect(changed)
    (incident,) = incidents(changed)
    assert abs(incident.onset_event - ONSET) <= 200
    assert incident.onset_at == BEGIN + incident.onset_event * 1_000_000
    assert incident.state == "resolved"
    assert state(changed)["events"] == COUNT


def test_a_failed_transaction_counts_nothing_twice(memory: Runtime) -> None:
    give_reference(memory)
    stream(memory)
    refusals = iter([StoreError("store", "down", "wait")] * 5)

    class Refusing:
        """A store that refuses its first transactions."""

        def __getattr__(self, name: str) -> object:
            return getattr(memory.store, name)

        def apply(self, batch: Changes, *, lease: Lease | None = None) -> None:
            if error := next(refusals, None):
                raise error
            memory.store.apply(batch, lease=lease)

    target = DetectTarget(replace(memory, store=Refusing()))
    for _ in range(5):
        with pytest.raises(StoreError):
            target.counting.step()
    target.close()
    detect(memory)
    assert state(memory)["events"] == COUNT
    assert sample(memory, "davy_inferences_total", model=MODEL) == COUNT


def test_undecodable_bytes_go_to_the_dead_letters_unchanged(runtime: Runtime) -> None:
    good = list(envelopes(rows(400, 7), [200]))
    damaged = good[0][:-40]
    send(runtime, [good[0], b"not an envelope", damaged, good[1]])
    detect(runtime)
    assert read(runtime, dead_letters(INFERENCES)) == [b"not an envelope", damaged]
    assert state(runtime)["events"] == 400


def test_a_silent_model_is_blind_until_it_is_heard_again(memory: Runtime) -> None:
    target = DetectTarget(memory)
    values = list(envelopes(rows(400, 7), [200]))
    send(memory, values[:1])
    target.counting.step()
    target.testing.turn()
    assert sample(memory, "davy_blind", model=MODEL) == 0
    pass_time(memory, SETTINGS.blind_seconds + 1)
    target.testing.turn()
    assert sample(memory, "davy_blind", model=MODEL) == 1
    send(memory, values[1:])
    target.counting.step()
    target.testing.turn()
    assert sample(memory, "davy_blind", model=MODEL) == 0
    target.close()


def test_a_model_whose_inferences_nobody_has_read_yet_is_not_called_blind(memory: Runtime) -> None:
    target = DetectTarget(memory)
    values = list(envelopes(rows(400, 7), [200]))
    send(memory, values[:1])
    target.counting.step()
    target.testing.turn()
    send(memory, values[1:])
    pass_time(memory, SETTINGS.blind_seconds + 1)
    target.testing.turn()
    assert sample(memory, "davy_blind", model=MODEL) == 0
    target.counting.drain()
    pass_time(memory, SETTINGS.blind_seconds + 1)
    target.testing.turn()
    assert sample(memory, "davy_blind", model=MODEL) == 1
    target.close()


def test_an_envelope_that_arrives_twice_counts_once(memory: Runtime) -> None:
    give_reference(memory)
    values = list(envelopes(rows(COUNT, 7, shifted=planted()), [200]))
    send(memory, [value for value in values for _ in range(2)])
    detect(memory)
    assert state(memory)["events"] == COUNT
    assert sample(memory, "davy_repeated_inferences_total", model=MODEL) == COUNT
    assert len(incidents(memory)) == 1


def test_what_the_sender_dropped_is_counted_by_reason(memory: Runtime) -> None:
    chunk = Encoder().encode(MODEL, id_of(1), BEGIN, {"age": 1.0}, {})
    other = Encoder().encode(MODEL, id_of(2), BEGIN, {"age": 1.0}, {})
    send(
        memory,
        [pack([chunk], report={"queue_full": 3}), pack([other], report={"queue_full": 2, "offline": 1})],
    )
    detect(memory)
    assert state(memory)["dropped"] == {"queue_full": 5, "offline": 1}
    assert sample(memory, "davy_dropped_total", model=MODEL, reason="queue_full") == 5


def test_a_flag_carries_the_whole_inference_and_every_rank(memory: Runtime) -> None:
    reference = give_reference(memory)
    columns = rows(2_000, 7)
    send(memory, list(envelopes(columns, [200])))
    detect(memory)
    flags = read_flags(memory)
    assert flags
    for flag in flags.values():
        envelope = decode(flag.inference)
        row = int.from_bytes(flag.inference_id, "big")
        assert envelope.ids.tobytes() == flag.inference_id
        assert envelope["inputs", "income"].values.tolist() == [columns["inputs.income"][row]]
        assert set(flag.scores) == set(reference.scorers)
        for draw in flag.draws:
            if draw.kind == "score":
                rank = flag.scores[draw.name]
                assert rank <= SETTINGS.flag_share
                assert draw.score == pytest.approx(-np.log(rank))


def test_the_control_arm_needs_no_reference_and_counts_the_sampling_before_it(memory: Runtime) -> None:
    encoder = Encoder()
    chunks = [encoder.encode(MODEL, id_of(i), BEGIN + i, {"age": 1.0}, {}, rate=0.25) for i in range(2_000)]
    send(memory, [pack(chunks)])
    detect(memory)
    flags = list(read_flags(memory).values())
    assert 20 <= len(flags) <= 60
    assert {(draw.arm, draw.probability) for flag in flags for draw in flag.draws} == {
        ("control", SETTINGS.control_share * 0.25)
    }


def test_a_new_reference_is_taken_up_and_ends_what_it_explains(memory: Runtime) -> None:
    give_reference(memory)
    target = DetectTarget(memory)
    send(memory, list(envelopes(rows(4_000, 7, shifted=planted(count=4_000)), [200])))
    target.counting.drain()
    pass_time(memory, 2.0)
    target.testing.turn()
    (incident,) = incidents(memory)
    assert incident.state != "resolved"
    before = state(memory)["reference"]
    give_reference(memory, seed=2)
    pass_time(memory, 2.0)
    target.testing.turn()
    target.close()
    assert state(memory)["reference"] != before
    assert [one.state for one in alerts(memory)] == ["open", "resolved"]
    assert incidents(memory)[0].state == "resolved"
    assert sample(memory, "davy_incident_open", model=MODEL, cause=incident.cause) == 0


def test_a_reference_nobody_can_read_is_counted_and_stops_nothing(memory: Runtime) -> None:
    put_reference(memory.store, MODEL, b"written by another age")
    stream(memory)
    detect(memory)
    assert state(memory)["events"] == COUNT
    assert sample(memory, "davy_reference_inferences", model=MODEL) == 0
    assert sample(memory, "davy_role_errors_total", error="DecodeError", role="detect") == 1


def test_a_model_whose_state_cannot_be_read_is_counted_and_stops_no_other(memory: Runtime) -> None:
    memory.store.apply(Changes().put("detect", MODEL, dump_any({"v": 0})))
    send(memory, list(envelopes(rows(400, 7), [200])))
    send(memory, list(envelopes(rows(400, 8), [200], model="other:1", first=400)), model="other:1")
    detect(memory)
    assert state(memory, "other:1")["events"] == 400
    assert state(memory) == {"v": 0}
    assert sample(memory, "davy_role_errors_total", error="DecodeError", role="detect") == 1
    memory.store.apply(Changes().delete("detect", MODEL))
    detect(memory)
    assert state(memory)["events"] == 400  # what was counted meanwhile has waited


def test_models_are_watched_apart(memory: Runtime) -> None:
    give_reference(memory)
    give_reference(memory, model="other:1")
    one = list(envelopes(rows(COUNT, 7, shifted=planted()), [200]))
    two = list(envelopes(rows(COUNT, 8), [200], model="other:1", first=COUNT))
    for value, other in zip(one, two, strict=True):
        send(memory, [value])
        send(memory, [other], model="other:1")
    detect(memory)
    assert {incident.model for incident in incidents(memory)} == {MODEL}
    assert state(memory, "other:1")["events"] == COUNT


def test_the_target_detects_until_it_is_told_to_stop(runtime: Runtime) -> None:
    send(runtime, list(envelopes(rows(400, 7), [200])))
    thread = threading.Thread(target=DetectTarget(runtime).run)
    thread.start()
    wait_until(lambda: runtime.store.get("detect", MODEL) is not None, "the model to be tested", seconds=20)
    runtime.stop.set()
    thread.join(timeout=20)
    assert not thread.is_alive()
    assert state(runtime)["events"] == 400


def test_scores_shown_together_are_those_shown_one_by_one() -> None:
    ranks = np.array([0.0005, 0.001, 0.0011, 0.2, 0.2, 0.75, 1.0])
    together, singly = Meter(), Meter()
    together.observe_many(metrics.SCORE, ranks, model=MODEL, score="msp")
    for rank in ranks.tolist():
        singly.observe(metrics.SCORE, rank, model=MODEL, score="msp")
    for name, labels in [
        *(("davy_score_bucket", {"le": le}) for le in ("0.001", "0.01", "0.25", "0.75", "1.0", "+Inf")),
        ("davy_score_count", {}),
        ("davy_score_sum", {}),
    ]:
        expected = sample_of(singly, name, model=MODEL, score="msp", **labels)
        assert expected is not None
        assert sample_of(together, name, model=MODEL, score="msp", **labels) == pytest.approx(expected)
