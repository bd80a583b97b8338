"""From an empty environment to a first incident: what the documentation says, typed by nobody."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, Self

from davy.demo.processes import free_port, wait_until

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
PINS = ROOT / "requirements"
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
FEATURE = "inputs.amount"
_PATIENCE = 180.0


@dataclass
class Place:
    """Where the wheel, the environments and the services of all journeys are.

    Parameters
    ----------
    folder
        Everything is made here.
    as_a_user
        Install by pip without pins and without a cache, as somebody does it the first time; else by uv from its cache
        with the pins of the tests.
    services
        The addresses of a Kafka, a Redis and an S3, as variables.
    """

    folder: Path
    as_a_user: bool
    services: Mapping[str, str] = field(default_factory=dict)
    _locks: dict[str, Lock] = field(default_factory=dict)

    @cached_property
    def sources(self) -> Path:
        """What the image is built from, and no other file of this tree."""
        ignored = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
        for name in [line[1:].rstrip("/") for line in ignored if line.startswith("!")]:
            target = self.folder / "src" / name
            if (ROOT / name).is_dir():
                shutil.copytree(
                    ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
                )
            else:
                target.parent.mkdir(exist_ok=True)
                shutil.copy(ROOT / name, target)
        return self.folder / "src"

    @cached_property
    def wheel(self) -> Path:
        """This tree, built once."""
        out = self.folder / "wheel"
        words = [UV, "build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable]
        run([*map(str, words), "--out-dir", str(out), str(self.sources)])
        return next(out.glob("davy-*.whl"))

    def install(self, extras: str) -> tuple[Path, float]:
        """Return the programs of an environment with these extras and nothing else, and the seconds it took to make."""
        with self._locks.setdefault(extras, Lock()):
            home = self.folder / "environments" / (extras or "base").replace(",", "-")
            took = home / "seconds"
            if not took.exists():
                begun = time.perf_counter()
                self._make(home, f"{self.wheel}[{extras}]" if extras else str(self.wheel))
                took.write_text(str(time.perf_counter() - begun))
            return home / "bin", float(took.read_text())

    def add(self, bin_: Path, *what: str, pins: str = "dev.txt") -> None:
        """Install more into an environment, as a line of the documentation says."""
        pinned = [] if self.as_a_user else ["--constraints", str(PINS / pins)]
        run([str(UV), "pip", "install", "--quiet", "--python", str(bin_ / "python"), *what, *pinned])

    def _make(self, home: Path, what: str) -> None:
        if self.as_a_user:
            run([sys.executable, "-m", "venv", str(home)])
            run([str(home / "bin" / "pip"), "install", "--quiet", "--no-cache-dir", what])
        else:
            run([str(UV), "venv", "--quiet", "--python", sys.executable, str(home)])
            self.add(home / "bin", what)


@dataclass(frozen=True)
class Result:
    """What came of a journey.

    Attributes
    ----------
    python
        Version of the environment in which Davy ran.
    packages
        How many the environment holds, and how large it is in MB.
    seconds
        By step, in the order of the steps.
    incident
        The first incident, as ``davy incidents --json`` tells it.
    """

    python: str
    packages: int
    megabytes: int
    seconds: Mapping[str, float]
    incident: Mapping[str, Any]


class Trip:
    """One journey: a directory, an environment of variables, processes that end with it."""

    def __init__(self, place: Place, name: str, env: Mapping[str, str]) -> None:
        self.folder = place.folder / "trips" / name
        self.folder.mkdir(parents=True)
        shutil.copytree(ROOT / "examples", self.folder / "examples", ignore=shutil.ignore_patterns("cpp"))
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        # Two cores are shared by all journeys: threads of BLAS would wait for one another.
        ports = {"DAVY_GATEWAY_PORT": str(free_port()), "DAVY_HEALTH_PORT": "0", "OPENBLAS_NUM_THREADS": "1"}
        self.env = {**kept, **ports, **env}
        self.seconds: dict[str, float] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - begun

    def type(self, bin_: Path, line: str, *, env: Mapping[str, str] | None = None) -> str:
        """Type a line of the documentation; return what it prints."""
        words = shlex.split(line, comments=True)
        words[0] = str(bin_ / words[0])
        return run(words, cwd=self.folder, env={**self.env, **(env or {})})

    def start(self, bin_: Path, line: str, *, env: Mapping[str, str] | None = None) -> Callable[[], str]:
        """Start what runs on until the end; return what has it written so far."""
        words = shlex.split(line, comments=True)
        path = self.folder / f"{'-'.join(words[1:])}.log"
        with path.open("w") as log:
            child = subprocess.Popen(
                [str(bin_ / words[0]), *words[1:]], cwd=self.folder, env={**self.env, **(env or {})},
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

        def stop() -> None:
            child.terminate()
            child.wait(60)

        self._stack.callback(stop)

        def said() -> str:
            if child.poll() is not None:
                raise AssertionError(f"{line} ended with {child.returncode}: {path.read_text()}")
            return path.read_text()

        wait_until(lambda: "Ctrl-C stops it" in said(), f"{line} starts", seconds=_PATIENCE)
        return said

    def incident(self, bin_: Path, drift: Callable[[], object], *said: Callable[[], str]) -> dict[str, Any]:
        """Let the traffic drift and wait for the first incident, and for the feature that it names."""
        found: list[dict[str, Any]] = []

        def told(what: str) -> bool:
            for one in said:
                one()  # raises when a process has ended
            found[:] = json.loads(self.type(bin_, "davy incidents --json"))
            return what in json.dumps(found[:1])

        with self.step("incident"):
            drift()
            wait_until(lambda: told("fraud:3"), "the first incident", seconds=_PATIENCE)
        with self.step("feature"):
            wait_until(lambda: told(FEATURE), "the name of the feature", seconds=_PATIENCE)
        return found[0]

    def result(self, bin_: Path, incident: Mapping[str, Any]) -> Result:
        listed = run(
            [str(UV), "pip", "list", "--quiet", "--format", "json", "--python", str(bin_ / "python")]
        )
        python = run(
            [str(bin_ / "python"), "-c", "import platform; print(platform.python_version())"]
        ).strip()
        size = sum(path.stat().st_size for path in bin_.parent.rglob("*") if path.is_file()) // 10**6
        return Result(python, len(json.loads(listed)), size, dict(self.seconds), incident)


def readme(place: Place) -> Result:
    """Follow the README to the letter: two terminals, one environment."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first, second = re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    install, serve, fit, up = first.splitlines()
    again, look = second.splitlines()
    assert (install, up, look) == ("pip install '.[server]'", "davy up", "davy incidents")
    with Trip(place, "readme", {}) as trip:
        bin_, trip.seconds["install"] = place.install("server")
        with trip.step("first inferences"):
            trip.type(bin_, serve)
        with trip.step("reference"):
            trip.type(bin_, fit)
        with trip.step("start"):
            said = trip.start(bin_, up)
        incident = trip.incident(bin_, lambda: trip.type(bin_, again), said)
        assert FEATURE in trip.type(bin_, look)
        return trip.result(bin_, incident)


def beside(place: Place, trip: Trip, app: str, server: str, roles: Sequence[str] = ("up",)) -> Result:
    """Serve from an environment with the extras `app`, and run Davy from one with the extras `server`."""
    client, first = place.install(app)
    bin_, second = place.install(server)
    trip.seconds["install"] = second if app == server else first + second
    return watched(trip, client, bin_, roles)


def watched(trip: Trip, client: Path, bin_: Path, roles: Sequence[str]) -> Result:
    with trip.step("first inferences"):
        trip.type(client, "python examples/two_lines.py")
    with trip.step("reference"):
        trip.type(bin_, "davy reference fit --model fraud:3 --from-log")
    with trip.step("start"):
        said = [trip.start(bin_, f"davy {role}") for role in roles]
    drift = "python examples/two_lines.py --drift"
    incident = trip.incident(bin_, lambda: trip.type(client, drift), *said)
    return trip.result(bin_, incident)


def archive(place: Place) -> Result:
    """An app with the SDK alone beside `davy up` with an archive, whose files are read."""
    env = {"DAVY_ARCHIVE_URL": "file:///archive", "DAVY_ARCHIVE_SECONDS": "1"}
    with Trip(place, "archive", env) as trip:
        result = beside(place, trip, "", "server")
        files = trip.folder.joinpath("archive", "inferences").rglob
        wait_until(lambda: any(files("*.parquet")), "a file in the archive", seconds=_PATIENCE)
        return result


def cluster(place: Place) -> Result:
    """Apps and roles over Kafka, Redis and S3, a process a role."""
    with Trip(place, "cluster", on(place, "kafka", "cluster")) as trip:
        return beside(place, trip, "cluster", "server,cluster", ("run detect", "run mine"))


def librdkafka(place: Place) -> Result:
    """The same with the other client of Kafka."""
    extras = "server,cluster,librdkafka"
    with Trip(place, "librdkafka", on(place, "kafka+librdkafka", "librdkafka")) as trip:
        return beside(place, trip, extras, extras, ("run detect",))


def on(place: Place, scheme: str, name: str) -> dict[str, str]:
    """Return the services' variables with a part of each for `name`."""
    given = dict(place.services)
    brokers = given["DAVY_URL"].partition("://")[2]
    return given | {
        "DAVY_URL": f"{scheme}://{brokers}/{name}",
        "DAVY_STORE_URL": f"{given['DAVY_STORE_URL']}?namespace={name}",
        "DAVY_BLOB_URL": f"{given['DAVY_BLOB_URL']}/{name}",
    }


def demo(place: Place) -> Result:
    """Run the demo, which has an incident of its own."""
    with Trip(place, "demo", {}) as trip:
        bin_, trip.seconds["install"] = place.install("demo")
        with trip.step("the whole demo"):
            trip.type(bin_, "davy demo --no-label-studio --json demo.json")
        (one,) = json.loads((trip.folder / "demo.json").read_text())["runs"]
        return trip.result(bin_, {"features": one["alarm"]["features"]})


def evidently(place: Place) -> Result:
    """Compare two days of an archive, as docs/archive.md says."""
    from support.archive_days import ten_days

    text = (ROOT / "docs" / "archive.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python archive evidently\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    with Trip(place, "evidently", {}) as trip:
        home = place.folder / "environments" / "evidently"
        with trip.step("install"):
            run([str(UV), "venv", "--quiet", "--python", sys.executable, str(home)])
            place.add(home / "bin", "evidently", "pandas<3.1", "pyarrow", pins="evidently.txt")
        there = ten_days(trip.folder).parent
        with trip.step("report"):
            run([str(home / "bin" / "python"), "-c", code], cwd=there, env=trip.env)
        assert (there / "drift.html").stat().st_size
        return trip.result(home / "bin", {"features": [FEATURE]})


def image(place: Place) -> Result:
    """Take the install steps of the image, on its Python where that is here, and run every role over the services."""
    dockerfile = re.sub(r"\\\n\s*", "", DOCKERFILE.read_text(encoding="utf-8"))
    (steps,) = re.findall(r"^RUN (uv venv .+)$", dockerfile, re.MULTILINE)
    home, found = place.folder / "environments" / "image", python_of_the_image()
    steps = steps.replace("/opt/davy", str(home)).replace("/src", str(place.sources))
    steps = steps.replace("uv venv", f"uv venv --python {found or sys.executable}")
    with Trip(place, "image", on(place, "kafka", "image")) as trip:
        with trip.step("install"):
            run(["sh", "-ec", steps], env={**os.environ, "PATH": f"{UV.parent}:{os.environ['PATH']}"})
        trip.env["PATH"] = f"{home / 'bin'}:{trip.env['PATH']}"
        roles = [f"run {role}" for role in ("gateway", "detect", "mine", "retain", "archive")]
        trip.env["DAVY_ARCHIVE_URL"] = "s3://davy/archive?scheme=http"
        result = watched(trip, home / "bin", home / "bin", roles)
        told = json.loads(trip.type(home / "bin", "davy doctor --json"))
        assert [one for one in told if one["state"] == "wrong"] == []
        return result


def python_of_the_image() -> str:
    """Return a Python of the image's minor version; empty where none is here."""
    (version, *_) = re.findall(
        r"^FROM python:(\d+\.\d+)-", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE
    )
    name = f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    places = [*sorted(pyenv.glob(f"versions/{version}.*/bin/{name}")), shutil.which(name)]
    for python in filter(None, places):
        if subprocess.run([str(python), "-c", ""], check=False, capture_output=True).returncode == 0:
            return str(python)
    return ""


JOURNEYS: Mapping[str, Callable[[Place], Result]] = {
    "demo": demo,
    "image": image,
    "server": readme,
    "base": archive,
    "server,cluster": cluster,
    "cluster": cluster,
    "server,cluster,librdkafka": librdkafka,
    "evidently": evidently,
}
"""By what an install line installs; the longest first."""


def run(words: Sequence[str], **options: Any) -> str:
    """Run a program; return what it prints. AssertionError with all it said when it fails."""
    options |= {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL, "timeout": _PATIENCE}
    done = subprocess.run(words, check=False, **options)
    assert done.returncode == 0, f"{shlex.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout
