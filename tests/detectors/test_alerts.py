"""From alarms to incidents: one an episode, patient, with ids that a replay repeats."""

from __future__ import annotations

import pytest

from davy.codec import dump, load
from davy.event import Evidence
from davy_detectors.base import Alarm
from davy_detectors.incidents.evidence import Carrier, Findings
from davy_detectors.incidents.incident import Incident, Incidents

pytestmark = pytest.mark.fast

QUIET = 1_000


def alarm(event: int, *features: str, onset: int = 0, cause: str = "drift") -> Alarm:
    found = [Evidence(name, "larger", 0.5, 0.6, 20.0 - i) for i, name in enumerate(features or ("age",))]
    return Alarm(cause, event, onset, 1e5, 2e4, found)


def findings(*ids: int, size: float = 0.1) -> Findings:
    carriers = [Carrier(bytes([i]) * 16, 7, 1.0, {}, b"") for i in ids]
    return Findings(onset_at=5, size=size, level=1.0, probability=1.0, carriers=carriers)


def test_alarms_of_one_episode_make_one_incident_that_goes_on() -> None:
    open_ones = Incidents("m:1", QUIET)
    first, news = open_ones.raised(alarm(300, onset=100), findings(1), at=9, reference="r")
    assert news is not None
    assert (news.state, news.id, news.onset_at) == ("open", first.id, 5)
    second, silence = open_ones.raised(alarm(600, onset=300), findings(2, size=0.3), at=10, reference="r")
    assert silence is None
    assert (second.id, second.state, second.onset_event, second.last_event) == (first.id, "ongoing", 100, 600)
    assert second.size == 0.3
    assert [name[0] for name in second.samples] == [1, 2]


def test_a_new_guilty_feature_is_news() -> None:
    open_ones = Incidents("m:1", QUIET)
    open_ones.raised(alarm(300, "age"), None, at=9, reference="r")
    incident, news = open_ones.raised(alarm(600, "income", "age"), None, at=10, reference="r")
    assert news is not None
    assert news.state == "ongoing"
    assert {found.feature for found in incident.features} == {"age", "income"}
    _, silence = open_ones.raised(alarm(900, "age"), None, at=11, reference="r")
    assert silence is None


@pytest.mark.parametrize(("gap", "patience"), [(10, QUIET), (600, 2_400), (9_000, 10 * QUIET)])
def test_patience_follows_the_distance_of_alarms_within_bounds(gap: int, patience: int) -> None:
    open_ones = Incidents("m:1", QUIET)
    open_ones.raised(alarm(300), None, at=9, reference="r")
    incident, _ = open_ones.raised(alarm(300 + gap), None, at=10, reference="r")
    assert incident.patience == patience
    assert incident.deadline == 300 + gap + patience


def test_a_change_that_took_long_to_see_is_given_as_long_to_show_again() -> None:
    incident, _ = Incidents("m:1", QUIET).raised(alarm(2_000, onset=1_001), None, at=9, reference="r")
    assert incident.patience == 4_000


def test_after_the_end_an_alarm_opens_another_incident() -> None:
    open_ones = Incidents("m:1", QUIET)
    first, _ = open_ones.raised(alarm(300), None, at=9, reference="r")
    ended, news = open_ones.resolved("drift", at=20)
    assert (news.state, news.id, ended.resolved_at) == ("resolved", first.id, 20)
    second, news_again = open_ones.raised(alarm(5_000, onset=4_800), None, at=30, reference="r")
    assert news_again is not None
    assert (second.state, second.id != first.id) == ("open", True)


def test_a_replay_gives_the_same_id_and_another_cause_model_or_reference_another() -> None:
    def name(model: str = "m:1", reference: str = "r", cause: str = "drift", event: int = 300) -> str:
        return (
            Incidents(model, QUIET).raised(alarm(event, cause=cause), None, at=9, reference=reference)[0].id
        )

    assert name() == name()
    others = [name(model="m:2"), name(reference="s"), name(cause="other"), name(event=301)]
    assert len({name(), *others}) == 5


def test_causes_have_incidents_of_their_own() -> None:
    open_ones = Incidents("m:1", QUIET)
    open_ones.raised(alarm(300), None, at=9, reference="r")
    open_ones.raised(alarm(300, cause="slow"), None, at=9, reference="r")
    open_ones.resolved("slow", at=10)
    assert [incident.cause for incident in open_ones] == ["drift"]


def test_lists_stay_bounded() -> None:
    open_ones = Incidents("m:1", QUIET)
    names = [f"f{i}" for i in range(80)]
    incident, _ = open_ones.raised(alarm(300, *names), findings(*range(250)), at=9, reference="r")
    assert (len(incident.features), len(incident.samples)) == (50, 200)
    incident, _ = open_ones.raised(alarm(400, *(f"g{i}" for i in range(80))), None, at=9, reference="r")
    assert len(incident.features) == 50


def test_an_incident_goes_through_the_store() -> None:
    incident, _ = Incidents("m:1", QUIET).raised(alarm(300), findings(1, 2), at=9, reference="r")
    assert load(Incident, dump(incident)) == incident
