"""A value means the same however it came: the matrix of docs/fields.md, kinds by sources.

For every kind of value and every pair of sources that can hold it: a reference fitted on 1,000 inferences that came by
one raises nothing on 1,000 others that came by the other, and a planted change in 400 is raised and named as that
field; of images, and of others that are summed up, on half as many.

Accepted is one false alarm in 1,000,000 inferences, in the mean: 162,000 of their own are tested, each kind's against
the same reference in up to 49 ways, so at most 0.2 false alarms are expected, and then in many pairs at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import davy
from davy.config import DetectSettings
from davy_detectors.batch import Batch
from davy_detectors.drift import ScoreDictionaryDetector
from davy_detectors.reference import Reference

from .catalogue import KINDS
from .kinds import IMAGE, SUMMARY, Kind
from .sources import SOURCES, Sample, Sources, alarms, at_once, holds, opened

SETTINGS = DetectSettings(false_alarm_every=1_000_000)
REFERENCE, FRESH, CHANGED = 1_000, 1_000, 400
QUICK = {
    "int, of at most 20 values",
    "None among booleans",
    "NaN among texts",
    "str that spells a code (00123)",
    "datetime in another zone",
    "ragged lists, some empty",
    "mapping in a mapping",
    "boxes, [] in some images",
}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sources]:
    with opened(tmp_path_factory.mktemp("files")) as found:
        yield found
    davy.shutdown()


@pytest.fixture
def sources(rig: Sources) -> Sources:
    rig.renew()
    return rig


def _params() -> Iterator[object]:
    for kind in KINDS:
        marks = [pytest.mark.fast] if kind.name in QUICK else []
        if not kind.here:
            marks.append(pytest.mark.skip(reason=f"takes {kind.needs}"))
        yield pytest.param(kind, marks=marks, id=f"{kind.group}, {kind.name}")


@pytest.mark.parametrize("kind", list(_params()))
def test_a_kind_means_the_same_by_every_pair_of_sources(kind: Kind, sources: Sources) -> None:
    less = 2 if kind.watched in (IMAGE, SUMMARY) else 1
    normal, fresh = Sample.draw(kind, 1, REFERENCE // less), Sample.draw(kind, 2, FRESH // less)
    changed = Sample.draw(kind, 3, CHANGED // less, changed=True)
    able = [source for source in SOURCES if holds(kind, source)]
    quiet = {source: sources.send(source, fresh) for source in able}
    loud = {source: sources.send(source, changed) for source in able}
    wrong = []
    for known in able:
        detector = _detector(sources.send(known, normal))
        state = detector.to_bytes()
        for live in able:
            for batches, right in ((quiet[live], _is_quiet), (loud[live], _is_found)):
                detector.restore(state)
                said = [each for alarm in alarms(detector, batches) for each in alarm.features[:1]]
                if not right(kind, [each.feature for each in said]):
                    wrong.append((known, live, [f"{each.feature}: {each.change}" for each in said[:2]]))
    assert wrong == []


def _detector(batches: list[Batch]) -> ScoreDictionaryDetector:
    reference = Reference.fit("m:1", at_once(batches), settings=SETTINGS)
    return ScoreDictionaryDetector(reference, SETTINGS)


def _is_quiet(_: Kind, found: list[str]) -> bool:
    return not found


def _is_found(kind: Kind, found: list[str]) -> bool:
    section, _, name = kind.field.partition(".")
    field = section if name in {"probs", "logits"} else kind.field
    return bool(found) and found[0].startswith(field) and not found[0].endswith(".steady")
