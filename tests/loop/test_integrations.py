"""Every integration of docs/integrations.md goes from capture to a real Label Studio and back to a dataset row."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from support.integration_gateway import FRUITS
from support.integration_journey import GATEWAY, GROUPS, Asked, Journey, Trip, installed, rows_of
from support.labelstudio_server import needs_label_studio
from support.services import service_or_skip

from davy.outputs import CLASS_NAMES
from davy_miner.labels import quality
from davy_miner.labelstudio import LocalLabelStudio

pytestmark = [pytest.mark.timeout(900), *needs_label_studio()]
GUIDE: Final = Path(__file__).parents[2] / "docs" / "integrations.md"
FORMS: Final = {
    "one class": "classification",
    "several classes": "multilabel",
    "a number": "regression",
    "a text": "text",
    "in words": "review",
    "none": "",
}
"""What the table says of a form, and how projects are titled."""
FLOWERS: Final = ["setosa", "versicolor", "virginica"]
ANIMALS: Final = ["cat", "cow", "dog"]
MOODS: Final = ["bad", "fair", "good"]
NUMBERS: Final = ["0", "1", "2"]


class Row(NamedTuple):
    """A row of the table: the group whose environment captures, and the classes its form must offer, in order."""

    group: str
    classes: Sequence[str] = ()


ROWS: Final = {
    "scikit-learn, `predict_proba`": Row("tabular", FLOWERS),
    "scikit-learn, `predict`": Row("tabular", ["1", "2", "3"]),
    "scikit-learn, several labels": Row("tabular", ["rain", "snow", "wind"]),
    "scikit-learn, regressor": Row("tabular"),
    "XGBoost, `XGBClassifier`": Row("tabular", NUMBERS),
    "XGBoost, `Booster`": Row("tabular", ["benign", "malignant"]),
    "XGBoost, `Booster` of `multi:softmax`": Row("tabular", FLOWERS),
    "LightGBM, `LGBMClassifier`": Row("tabular", FLOWERS),
    "LightGBM, `Booster`": Row("tabular", FLOWERS),
    "ONNX Runtime, ZipMap": Row("tabular", FLOWERS),
    "ONNX Runtime, tensors": Row("tabular", ["bass", "cello", "viola", "violin"]),
    "MLflow, `sklearn` flavour": Row("tabular", FLOWERS),
    "MLflow, `xgboost` flavour": Row("tabular", NUMBERS),
    "MLflow, a model of one's own": Row("tabular"),
    "PyTorch, `logits`": Row("pytorch", ANIMALS),
    "PyTorch, several labels": Row("pytorch", ANIMALS),
    "PyTorch, a number": Row("pytorch"),
    "PyTorch, detection": Row("pytorch"),
    "Hugging Face, `text-classification`": Row("pytorch", MOODS),
    "Hugging Face, `text-classification` with `top_k=None`": Row("pytorch", MOODS),
    "Hugging Face, `token-classification`": Row("pytorch"),
    "Hugging Face, `text-generation`": Row("pytorch"),
    "Hugging Face, `text-generation` of messages": Row("pytorch"),
    "Hugging Face, `feature-extraction`": Row("pytorch"),
    "Hugging Face, a model as a module": Row("pytorch", MOODS),
    "Keras, on PyTorch": Row("pytorch", ANIMALS),
    "Keras, on TensorFlow": Row("keras_tensorflow", ANIMALS),
    "Keras, one sigmoid unit": Row("keras_tensorflow", ["ham", "spam"]),
    "FastAPI": Row("web", ["praise", "complaint"]),
    "Starlette": Row("web", ["praise", "complaint"]),
    "Flask": Row("web", ["praise", "complaint"]),
    "Django": Row("web"),
    "Ray Serve": Row("serving"),
    "BentoML": Row("serving", ["large", "small"]),
    "LitServe": Row("serving"),
    "Gateway, `/v1/inferences`": Row(GATEWAY, FRUITS),
    "Gateway, KServe V1": Row(GATEWAY, NUMBERS),
    "Gateway, TensorFlow Serving": Row(GATEWAY, FRUITS),
    "Gateway, Open Inference Protocol": Row(GATEWAY, FRUITS),
    "Gateway, generate": Row(GATEWAY),
    "Gateway, Seldon V1": Row(GATEWAY, FRUITS),
    "Gateway, MLflow": Row(GATEWAY),
    "Gateway, OpenAI chat": Row(GATEWAY),
    "Gateway, OpenAI completions": Row(GATEWAY),
    "Gateway, OpenAI embeddings": Row(GATEWAY),
    "Gateway, reranking": Row(GATEWAY),
}


class Documented(NamedTuple):
    """What the guide says of a row."""

    fields: set[str]
    names: str
    form: str


def documented() -> dict[str, Documented]:
    """Read the table of the guide."""
    _, _, below = GUIDE.read_text().partition("| captured by | fields of the answer |")
    found = {}
    for line in below.partition("\n\n")[0].splitlines()[2:]:
        name, fields, names, form = (cell.strip() for cell in line.strip().strip("|").split(" | "))
        found[name] = Documented(set(re.findall(r"`([^`]+)`", fields)), names, FORMS[form])
    return found


def _marks(group: str) -> Any:
    remedy = f"make test-integrations INTEGRATIONS={group}"
    return [] if group == GATEWAY else service_or_skip("integrations", installed(group), remedy)


@pytest.fixture(scope="module")
def journey(labelstudio: LocalLabelStudio, tmp_path_factory: pytest.TempPathFactory) -> Journey:
    """Take all rows whose group is installed there and back, together."""
    groups = [group for group in (*GROUPS, GATEWAY) if installed(group)]
    guide = documented()
    asked = {name: Asked(guide[name].form, row.classes) for name, row in ROWS.items() if row.group in groups}
    made = Journey(tmp_path_factory.mktemp("integrations"), labelstudio, asked)
    made.run(groups)
    return made


def test_the_table_has_a_row_for_every_way_in_and_no_other() -> None:
    assert list(documented()) == list(ROWS)


@pytest.mark.parametrize("name", [pytest.param(name, marks=_marks(row.group)) for name, row in ROWS.items()])
def test_it_goes_to_a_person_and_back_as_the_table_says(name: str, journey: Journey) -> None:
    trip, row, said = journey.trips[name], ROWS[name], documented()[name]
    assert trip.failed == ""
    assert len(trip.inferences) == len(trip.answers) > 0
    outputs = {field for one in trip.inferences for field in one.outputs}
    assert outputs - {CLASS_NAMES[0]} == said.fields
    if not said.form:
        assert {one.state for one in trip.candidates} <= {"unlabellable", "waiting"}
        assert all(one.reason for one in trip.candidates if one.state == "unlabellable")
        assert any(one.state == "unlabellable" for one in trip.candidates)
        return
    assert not [one.reason for one in trip.candidates if one.state == "unlabellable"]
    assert trip.project["title"].endswith(f"-{said.form}")
    _offers_the_classes(trip, row, said)
    for task in trip.tasks:
        _shows_the_answer(task, trip.answer_to(task))
    _labels_arrive(trip, journey, said.form)


def _offers_the_classes(trip: Trip, row: Row, said: Documented) -> None:
    if said.names == "as they are seen":
        assert set(trip.offered()) <= set(row.classes)
        assert trip.offered()
    else:
        assert trip.offered() == list(row.classes)
    assert (said.names == "none") == (not row.classes)


def _shows_the_answer(task: Any, own: Any) -> None:
    shown = task["data"]["model_answer"]
    if isinstance(own, float):
        assert math.isclose(float(shown), own, rel_tol=1e-5)
    elif isinstance(own, list):
        assert shown == (", ".join(own) or "none")
    elif own is not None:
        assert shown == own
    assert shown


def _labels_arrive(trip: Trip, journey: Journey, form: str) -> None:
    confirmed, contradicted = trip.given
    with journey.runtime() as runtime:
        rows = rows_of(runtime, trip.model)
        estimate = quality(runtime.store, trip.model)
    assert rows[confirmed][1] == "correct"
    if form != "review":  # which says in words what is wrong, and no more
        assert rows[contradicted][1] == "failure"
        for key in (confirmed, contradicted):
            assert rows[key][0] == (
                pytest.approx(trip.given[key], rel=1e-5) if form == "regression" else trip.given[key]
            )
    assert estimate is not None
    assert estimate.rate == 0.5
