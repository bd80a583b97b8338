"""docs/fields.md says what the code does: every kind of value, how it is kept, what watches it, why one is left out."""

from __future__ import annotations

import numpy as np
import pytest

from davy.codec import Encoder, decode, pack
from davy.config import DetectSettings
from davy.fields import Unfit, plain
from davy.fields.losses import REMEDIES
from davy_detectors.batch import Batch
from davy_detectors.reference import Reference

from .catalogue import KINDS
from .kinds import Kind, spelt
from .losing import EXAMPLES, VALUES
from .page import PAGE, filled
from .sources import AT, STEADY, Sample

pytestmark = pytest.mark.fast
HERE = [pytest.param(kind, id=f"{kind.group}, {kind.name}") for kind in KINDS if kind.here]


def test_the_page_is_what_the_list_of_kinds_says() -> None:
    page = PAGE.read_text()
    assert filled(page) == page, "run make generate"


def test_every_kind_has_a_name_of_its_own() -> None:
    names = [(kind.group, kind.name) for kind in KINDS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("kind", HERE)
def test_a_kind_is_kept_and_watched_as_the_page_says(kind: Kind) -> None:
    sample = Sample.draw(kind, 1, 300)
    encoder, chunks = Encoder(), []
    for place, (value, steady) in enumerate(zip(sample.values, sample.steady, strict=True)):
        name = place.to_bytes(16, "big")
        chunks.append(encoder.encode("m:1", name, AT, *sample.sections(value, steady)))
    assert not any(chunk.lost for chunk in chunks)
    layouts = {id(chunk.layout): chunk.layout for chunk in chunks}
    *_, layout = layouts.values()
    kept = dict(zip(layout.paths, layout.kinds, strict=True))
    mine = [spelt(found) for path, found in kept.items() if path[-1] != STEADY]
    assert " ".join(mine) == kind.kept
    envelopes = [
        Batch.of(decode(pack([chunk for chunk in chunks if chunk.layout is each])))
        for each in layouts.values()
    ]
    reference = Reference.fit("m:1", Batch.concat(envelopes), settings=DetectSettings())
    section, _, name = kind.field.partition(".")
    field = section if name in {"probs", "logits"} else kind.field
    streams = {stream.removeprefix(field) for stream in reference.streams if not stream.endswith(STEADY)}
    assert streams == set(kind.watched)


def test_every_reason_to_leave_a_value_out_has_an_example_and_a_remedy() -> None:
    assert EXAMPLES.keys() == REMEDIES.keys()


@pytest.mark.parametrize("reason", VALUES)
def test_a_value_that_cannot_travel_is_left_out_for_the_reason_the_page_gives(reason: str) -> None:
    chunk = Encoder().encode("m:1", bytes(16), 1, {"odd": VALUES[reason](), "even": 1.0}, {})
    assert chunk.lost == {f"field:inputs.odd:{reason}": 1}
    assert decode(pack([chunk]))["inputs", "even"].values.tolist() == [1.0]


def test_the_reasons_of_a_batch_of_a_rule_and_of_a_section_are_those_the_page_gives() -> None:
    encoder = Encoder()
    many = {f"x{place}": place for place in range(5_000)}
    assert set(encoder.encode("m:1", bytes(16), 1, many, {}).lost or ()) == {"field:inputs.*:count"}
    named = encoder.encode("m:2", bytes(16), 1, {"\ud800": 1.0, "x": 2.0}, {})
    assert set(named.lost or ()) == {"field:inputs.*:name"}
    columns = {"x": np.zeros(4), "y": np.zeros(3)}
    batch = encoder.encode_batch("m:3", bytes(64), 1, columns, {})
    assert set(batch.lost or ()) == {"field:inputs.y:length"}


def test_a_value_that_cannot_travel_says_why_and_what_to_do() -> None:
    with pytest.raises(Unfit, match="magnitude") as caught:
        plain(1j)
    assert caught.value.reason == "complex"
