"""Second half of the way from a framework to a person and back: one `davy up` and one Label Studio for all of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from xml.etree.ElementTree import fromstring

import httpx

from davy.codec import decode, load
from davy.config import load as load_settings
from davy.demo.processes import Process, free_port, wait_until
from davy.event import INFERENCES, Inference
from davy.runner import open_runtime
from davy.runtime import Runtime
from davy_miner import dataset, rounds
from davy_miner.candidates import CANDIDATES, Candidate
from davy_miner.labelstudio import LocalLabelStudio
from davy_miner.labelstudio.templates import chosen
from support.integration_gateway import Protocols
from support.integration_loop import model_of

ROOT: Final = Path(__file__).resolve().parents[2]
GROUPS: Final = ("tabular", "pytorch", "keras_tensorflow", "web", "serving")
GATEWAY: Final = "gateway"
_BUDGET: Final = 3
_SHORT: Final = 20
"""Characters of a model's name that are surely in the title of its project."""
_SECONDS: Final = 240.0
"""Longest wait for anything; a machine that is not overloaded needs a tenth."""


def python_of(group: str) -> Path:
    """Return the interpreter of a group's environment, which `make test-integrations` makes."""
    return ROOT / ".integrations" / group / "bin" / "python"


def installed(group: str) -> bool:
    """Return whether a group can be run."""
    return group == GATEWAY or (ROOT / ".integrations" / group / ".installed").is_file()


@dataclass
class Trip:
    """What became of one row of the table."""

    model: str
    answers: Sequence[Any] = ()
    failed: str = ""
    inferences: list[Inference] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    project: Mapping[str, Any] = field(default_factory=dict)
    tasks: list[Mapping[str, Any]] = field(default_factory=list)
    given: dict[str, Any] = field(default_factory=dict)
    """By candidate, what the annotator said is right; the first confirmed the model, the second did not."""

    def answer_to(self, task: Mapping[str, Any]) -> Any:
        """Return what the framework itself answered to the inference of a task."""
        order = [one.id.hex() for one in self.inferences]
        return self.answers[order.index(task["data"]["inference_id"])]

    def offered(self) -> list[str]:
        """Return the classes that the form offers."""
        controls = fromstring(self.project["label_config"]).iter("Choices")
        found = [one for one in controls if one.get("name") in {"answer", "answers"}]
        names = [str(choice.get("value")) for one in found for choice in one.iter("Choice")]
        return [name for name in names if name != "none of these"]


@dataclass(frozen=True)
class Asked:
    """What a person is to answer to the tasks of one row: the kind of form, and the classes to choose from."""

    form: str
    classes: Sequence[str] = ()

    def wrong(self, own: Any) -> tuple[Any, list[dict[str, Any]]]:
        """Return another answer than the model's, and the controls that give it."""
        if self.form == "classification":
            other = next(name for name in self.classes if name != own)
            return other, [chosen("answer", other)]
        if self.form == "multilabel":
            others = sorted(set(self.classes) - set(own))[:2] or [self.classes[0]]
            return others, [chosen("answers", *others)]
        if self.form == "regression":
            return 42.5, [_control("number", "number", 42.5)]
        return (
            "something else",
            [_control("text" if self.form == "text" else "note", "text", ["something else"])],
        )


def _control(name: str, kind: str, value: Any) -> dict[str, Any]:
    tag = "textarea" if kind == "text" else kind
    return {"from_name": name, "to_name": "subject", "type": tag, "value": {kind: value}}


class Journey:
    """Takes every row of the table from its framework to Label Studio and back.

    Parameters
    ----------
    directory
        Where the log and everything else lies.
    labelstudio
        A Label Studio that runs.
    asked
        What a person answers, by row; rows whose form is empty are asked nothing.
    """

    def __init__(self, directory: Path, labelstudio: LocalLabelStudio, asked: Mapping[str, Asked]) -> None:
        self.directory = directory
        self.trips = {name: Trip(model_of(name)) for name in asked}
        self._asked = asked
        self._tool = labelstudio
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        self.env = {
            "DAVY_URL": f"sqlite:///{directory / 'log'}",
            "DAVY_GATEWAY_PORT": str(port),
            "DAVY_DETECT_CONTROL_SHARE": "1",
            "DAVY_MINE_GREEDY_SHARE": "0",
            "DAVY_MINE_ROUND_SECONDS": "0",
            "DAVY_MINE_POLL_SECONDS": "0.5",
            "DAVY_MINE_SIMILARITY": "1",
            "DAVY_LABELSTUDIO_URL": labelstudio.url,
            "DAVY_LABELSTUDIO_API_KEY": labelstudio.api_key,
        }
        headers = {"Authorization": f"Token {labelstudio.api_key}"}
        self._http = httpx.Client(
            base_url=labelstudio.url, headers=headers, timeout=_SECONDS, trust_env=False
        )

    def run(self, groups: Sequence[str]) -> None:
        """Capture, mine, answer and read the answers back; ends when nothing is under way any more."""
        up = Process(
            "davy up", [sys.executable, "-m", "davy", "up"], env=self.env, log=self.directory / "up.log"
        )
        try:
            self._capture(groups, up)
            with self.runtime() as runtime:
                self._mine(runtime)
                self._answer()
                self._read_back(runtime)
        finally:
            up.stop()
            self._http.close()

    @contextmanager
    def runtime(self) -> Iterator[Runtime]:
        """Open what `davy up` keeps, as a command does."""
        with open_runtime(load_settings(env=self.env)) as opened:
            yield opened

    def _capture(self, groups: Sequence[str], up: Process) -> None:
        with ThreadPoolExecutor(2) as pool:
            running = [pool.submit(self._run_group, group) for group in groups if group != GATEWAY]
            up.wait_for(f"{self.address}/readyz", seconds=_SECONDS)
            protocols = Protocols(self.address)
            for name, capture in protocols.rows().items():
                if name in self.trips:
                    self.trips[name].answers = capture(self.trips[name].model)
            protocols.close()
            told = [one.result() for one in running]
        for rows in told:
            for name, one in rows.items():
                if name in self.trips:
                    self.trips[name].answers = one.get("answers", ())
                    self.trips[name].failed = one.get("failed", "")

    def _run_group(self, group: str) -> Mapping[str, Any]:
        home, file = self.directory / group, self.directory / f"{group}.json"
        home.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DAVY_")}
        code = os.pathsep.join(map(str, (ROOT / "collector", ROOT / "tests")))
        env = {**kept, "DAVY_URL": self.env["DAVY_URL"], "HOME": str(home), "PYTHONPATH": code}
        env["TMPDIR"] = tempfile.gettempdir()  # sockets have short names
        program = ROOT / "tests" / "integrations" / group / "loop.py"
        done = subprocess.run(
            [python_of(group), program, file],
            cwd=home,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
        if done.returncode or not file.is_file():
            return {name: {"failed": done.stderr[-4000:]} for name in self.trips}
        told = json.loads(file.read_text(encoding="utf-8"))
        whole = told["flushed"] and not told["lost"]
        told["rows"].update({} if whole else {name: {"failed": str(told)} for name in told["rows"]})
        return dict(told["rows"])

    def _mine(self, runtime: Runtime) -> None:
        start = runtime.log.start(INFERENCES)[INFERENCES, 0]
        records = runtime.log.read(INFERENCES, 0, start)
        for one in (one for record in records for one in decode(record.value).inferences()):
            for trip in self.trips.values():
                if trip.model == one.model:
                    trip.inferences.append(one)
        total = sum(len(trip.inferences) for trip in self.trips.values())
        wait_until(lambda: self._counted() >= total, f"{total} inferences to be counted", seconds=_SECONDS)
        key = rounds.request(runtime, "", _BUDGET)

        def done() -> bool:
            found = rounds.read(runtime.store, key)
            if found is None or found.state != rounds.DONE:
                return False
            return not any(one.state in {"selected", "pushing"} for one in _candidates(runtime))

        wait_until(done, "tasks in Label Studio", seconds=_SECONDS)
        for one in _candidates(runtime):
            for trip in self.trips.values():
                if trip.model == one.model:
                    trip.candidates.append(one)

    def _counted(self) -> float:
        text = httpx.get(f"{self.address}/metrics", timeout=_SECONDS).text.splitlines()
        return sum(
            float(line.rpartition(" ")[2]) for line in text if line.startswith("davy_inferences_total{")
        )

    def _answer(self) -> None:
        for project in self._get("/api/projects/", {"page_size": 1000})["results"]:
            if not any(
                project["title"].startswith(f"Davy {trip.model[:_SHORT]}") for trip in self.trips.values()
            ):
                continue  # of another test
            page = {"project": project["id"], "page_size": 1000, "fields": "all"}
            tasks = self._get("/api/tasks/", page)["tasks"]
            for name, trip in self.trips.items():
                if tasks and tasks[0]["data"]["model"] == trip.model:
                    trip.project, trip.tasks = project, tasks
                    self._answer_some(trip, self._asked[name])

    def _answer_some(self, trip: Trip, asked: Asked) -> None:
        """Confirm the model's answer to the first task, contradict that to the second, leave the others."""
        confirmed, *others = trip.tasks
        own = trip.answer_to(confirmed)
        self._annotate(confirmed, [chosen("verdict", "model correct")])
        trip.given[confirmed["data"]["candidate_id"]] = own
        for contradicted in others[:1]:
            right, controls = asked.wrong(trip.answer_to(contradicted))
            self._annotate(contradicted, [chosen("verdict", "model wrong"), *controls])
            trip.given[contradicted["data"]["candidate_id"]] = right

    def _annotate(self, task: Mapping[str, Any], result: list[dict[str, Any]]) -> None:
        answer = self._http.post(f"/api/tasks/{task['id']}/annotations/", json={"result": result})
        assert answer.status_code == httpx.codes.CREATED, answer.text

    def _read_back(self, runtime: Runtime) -> None:
        wanted = {key for trip in self.trips.values() for key in trip.given}

        def back() -> bool:
            return all(one.state == "labelled" for one in _candidates(runtime) if one.id in wanted)

        wait_until(back, f"{len(wanted)} answers", seconds=_SECONDS)

    def _get(self, path: str, params: Mapping[str, Any]) -> Any:
        found = self._http.get(path, params=dict(params))
        assert found.status_code == httpx.codes.OK, found.text
        return found.json()


def rows_of(runtime: Runtime, model: str) -> dict[str, tuple[Any, str]]:
    """Build a version of a model's dataset; return the label and the verdict of each row, by candidate."""
    built = dataset.load(dataset.build(runtime, model))
    keys, labels = built.arrays["candidate"].tolist(), built.arrays["label"].tolist()
    verdicts = {row["candidate"]: row["verdict"] for row in built.manifest["rows"]}
    return {key: (label, verdicts[key]) for key, label in zip(keys, labels, strict=True)}


def _candidates(runtime: Runtime) -> Iterator[Candidate]:
    for _, data in runtime.store.items(CANDIDATES.name):
        yield load(Candidate, data)
