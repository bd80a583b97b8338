"""Names come from strangers: what cannot be seen in one is refused, and one in a command to paste is one word."""

from __future__ import annotations

import html
import re
import shlex
import subprocess
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field, TypeAdapter, ValidationError
from support.gateway_rig import LocalClient
from support.streams import BEGIN, id_of

from davy import console
from davy.cli import run_app
from davy.codec import dump, dump_any
from davy.errors import InvalidInference
from davy.event import MODEL_NAME
from davy.gateway import make_app
from davy.gateway.bodies import ModelName
from davy.gateway.columns import model_name
from davy.runner import open_runtime
from davy.runtime import Runtime
from davy.sdk.client import _MODEL
from davy.store import Batch
from davy_detectors.doctor import checks as detectors_checks
from davy_detectors.models.known import unlisted
from davy_detectors.models.roster import Sketch, put_sketch
from davy_miner.candidates import Candidate
from davy_miner.doctor import checks as miner_checks

pytestmark = pytest.mark.fast
DRAWN = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
"""What formats (Cf) and is drawn all the same: Prepended_Concatenation_Mark."""
BLANK = "\u2800\u3164\uffa0\u115f\U0001d159\U00016fe4"


def unseen() -> Iterator[str]:
    """Every character that Unicode says nobody is to see, by the tables of two libraries."""
    ignorable = TypeAdapter(Annotated[str, Field(pattern=r"\p{Default_Ignorable_Code_Point}")])

    def is_ignorable(text: str) -> bool:
        try:
            return bool(ignorable.validate_python(text))
        except ValidationError:
            return False

    for block in range(0, 0x110000, 256):
        characters = [chr(each) for each in range(block, block + 256) if not 0xD800 <= each <= 0xDFFF]
        some = is_ignorable("".join(characters))
        for each in characters:
            category = unicodedata.category(each)
            formats = category in {"Cc", "Zl", "Zp"} or (category == "Cf" and each not in DRAWN)
            if formats or (some and is_ignorable(each)):
                yield each
    yield from BLANK


UNSEEN = sorted(set(unseen()))


def test_what_cannot_be_seen_is_refused_wherever_a_name_comes_in_and_printed_as_an_escape() -> None:
    assert len(UNSEEN) > 4_000
    body = TypeAdapter(ModelName)
    for character in UNSEEN:
        for name in (f"fraud{character}:3", f"fraud:3{character}"):
            assert _MODEL.fullmatch(name) is None, ascii(name)
            with pytest.raises(InvalidInference):
                model_name(name, "")
            with pytest.raises(ValidationError):
                body.validate_python(name)
        assert console.printable(f"a{character}b").isascii()


@pytest.mark.parametrize(
    "name", ["Betrug-ä:3", "नमूना:१", "模型:一", "نموذج:2", "m\U0001f916:1", "U0e:1-9", "a:b:c"]
)
def test_every_language_may_name_a_model(name: str) -> None:
    assert re.fullmatch(MODEL_NAME, name)
    assert TypeAdapter(ModelName).validate_python(name) == model_name(name, "") == name
    assert console.printable(name) == name


HOSTILE = (
    "x;touch${IFS}stolen;:1",
    "$(touch${IFS}stolen):1",
    "`touch${IFS}stolen`:1",
    "a'b\"c:1",
    "a&touch${IFS}stolen&b:1",
    "a|b>stolen:1",
    "*:1",
    "~:1",
    "#a:1",
    "-a:1",
    "--help:1",
    "a\\:1",
    "!!:1",
    "a>stolen:1",
)
SHELL = "davy() { printf '%s\\0' \"$@\"; }; "


def words(command: str, where: Path) -> list[str]:
    """What a shell makes of a command that somebody pastes, and nothing else happens."""
    done = subprocess.run(
        ["sh", "-c", SHELL + command], cwd=where, capture_output=True, check=True, timeout=60
    )
    assert list(where.iterdir()) == []
    return done.stdout.decode().split("\0")[:-1]


def suggested(text: str, name: str) -> list[str]:
    """The commands in a text that hold a name, as anybody would mark them to copy."""
    verbs = r"davy (?:reference fit|models keep|candidates(?: retry| reject)?) (?:--model |-- )?"
    options = r"(?: --from-log| --last 10000| --state unlabellable)*"
    return re.findall(f"{verbs}{re.escape(shlex.quote(name))}{options}", text)


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAVY_URL", f"sqlite:///{tmp_path}/data")
    with open_runtime() as opened:
        yield opened


def code_on_the_page(runtime: Runtime) -> list[str]:
    with LocalClient(make_app(runtime)) as client:
        return [html.unescape(text) for text in re.findall("<code>(.*?)</code>", client.get("/").text)]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_suggested_command_is_that_command_whatever_the_name(
    name: str, runtime: Runtime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model_name(name, "")  # comes in
    seen = dump_any({"events": 1, "last_at": BEGIN})
    candidate = Candidate("c", name, id_of(1), BEGIN, "unlabellable", [], {}, b"")
    changes = (
        Batch().put("models", name, b"").put("detect", name, seen).put("candidates", "c", dump(candidate))
    )
    runtime.store.apply(changes)
    texts = [check.remedy for check in (*detectors_checks(runtime), *miner_checks(runtime))]
    run_app(["incidents"])
    texts.append(capsys.readouterr().err)
    texts += code_on_the_page(runtime)
    changes, sketch = Batch(), Sketch()
    sketch.add([name], runtime.clock())
    put_sketch(0, sketch, changes)
    changes.add("retired", name, dump_any({"at": runtime.clock(), "by": "a person"}))
    runtime.store.apply(changes)
    texts += code_on_the_page(runtime)
    texts.append(unlisted(runtime.store, runtime.clock()).remedy)
    empty = tmp_path / "empty"
    empty.mkdir()
    found = [command for text in texts for command in suggested(text, name)]
    assert len(found) >= 9
    said = [words(command, empty) for command in found]
    assert all(name in each for each in said)
    assert {" ".join(each[:2]) for each in said} == {
        "reference fit",
        "models keep",
        "candidates --model",
        "candidates retry",
        "candidates reject",
    }
