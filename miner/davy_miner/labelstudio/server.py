"""A Label Studio of one's own on this machine, for tests and the demo: started, awaited, stopped."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from davy.errors import LabelError

ENVIRONMENT: Final = Path(".labelstudio")
VERSION: Final = "1.23.2"
"""What Davy is tested with."""
_DATABASE: Final = "label_studio.sqlite3"
_KEY_FILE: Final = "davy-api-key"
_USER: Final = "davy@davy.localhost"
_SWITCHED_OFF: Final = {
    "LABEL_STUDIO_COLLECT_ANALYTICS": "false",
    "LABEL_STUDIO_SENTRY_DSN": "",
    "LABEL_STUDIO_FRONTEND_SENTRY_DSN": "",
    "LABEL_STUDIO_LATEST_VERSION_CHECK": "false",
    "LABEL_STUDIO_DEBUG": "false",
}


class LocalLabelStudio:
    """Label Studio as a child process on the loopback interface, with a user of its own and a legacy token.

    Making its database takes half a minute, so an empty one is made once and kept beside the environment; every new
    data directory starts from a copy of it. Analytics, crash reports and the version check are off.

    Parameters
    ----------
    environment
        The virtual environment Label Studio is installed in, which is not Davy's: the two need other versions of the
        same packages.

    Attributes
    ----------
    url, api_key, user, password
        How to reach it and log in, once it is started.

    Examples
    --------
    >>> with LocalLabelStudio() as labelstudio:  # doctest: +SKIP
    ...     url, api_key = labelstudio.start(Path("label-studio-data"))
    """

    def __init__(self, environment: Path = ENVIRONMENT) -> None:
        self._environment = environment.absolute()
        self._data_dir = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.api_key = ""
        self.user = _USER
        self.password = ""

    @property
    def installed(self) -> bool:
        """Whether there is something to start."""
        return Path(self._command()).is_file()

    def prepare(self) -> Path:
        """Make the empty database unless there is one; return its path."""
        kept = self._environment / "prepared" / _DATABASE
        if kept.is_file():
            return kept
        kept.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
            done = subprocess.run(
                [self._command(), "version"],
                env=self._env(Path(scratch), {}),
                cwd=scratch,
                capture_output=True,
                check=False,
                timeout=600,
            )
            if done.returncode:
                raise LabelError(
                    "label-studio version", done.returncode, done.stderr.decode(errors="replace")[-500:]
                )
            # Whoever is second replaces an equal file: no reader ever sees half of one.
            (Path(scratch) / _DATABASE).replace(kept)
        return kept

    def start(self, data_dir: Path, port: int = 0, *, seconds: float = 120.0) -> tuple[str, str]:
        """Start it and wait until it answers: `launch`, then `wait`.

        Returns
        -------
        tuple of str
            Its address and an API key.

        Raises
        ------
        LabelError
            It is not installed, ended early or did not answer in time; its output is in ``label-studio.log``.
        """
        self.launch(data_dir, port)
        self.wait(seconds=seconds)
        return self.url, self.api_key

    def launch(self, data_dir: Path, port: int = 0) -> None:
        """Start it; how to reach it is known at once, that it answers is not.

        Parameters
        ----------
        data_dir
            Where it keeps projects and annotations; used again when it exists.
        port
            Port on 127.0.0.1; 0 takes a free one.

        Raises
        ------
        LabelError
            It is not installed.
        """
        if not self.installed:
            raise LabelError("Label Studio", str(self._environment), _how_to_install(self._environment))
        self._data_dir = data_dir = data_dir.absolute()
        data_dir.mkdir(parents=True, exist_ok=True)
        if not (data_dir / _DATABASE).exists():
            shutil.copyfile(self.prepare(), data_dir / _DATABASE)
        self.api_key, self.password = _credentials(data_dir / _KEY_FILE)
        port = port or _free_port()
        self.url = f"http://127.0.0.1:{port}"
        login = {"USERNAME": _USER, "PASSWORD": self.password, "USER_TOKEN": self.api_key}
        with (data_dir / "label-studio.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._command(),
                    *("start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port)),
                ],
                env=self._env(data_dir, login),
                cwd=data_dir,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def stop(self) -> None:
        """End the process this object started; calling it twice is harmless."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _command(self) -> str:
        return str(self._environment / "bin" / "label-studio")

    def _env(self, data_dir: Path, more: Mapping[str, str]) -> dict[str, str]:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("LABEL_STUDIO_")
        }
        ours = {
            "LABEL_STUDIO_BASE_DATA_DIR": str(data_dir),
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
            **{f"LABEL_STUDIO_{name}": value for name, value in more.items()},
        }
        return {**inherited, **_SWITCHED_OFF, **ours}

    def wait(self, *, seconds: float = 120.0) -> None:
        """Wait until it answers; raises LabelError when it ends early or takes longer than `seconds`."""
        deadline, pause = time.monotonic() + seconds, threading.Event()
        # No proxy of the environment stands between this machine and itself.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while True:
            process = self._process
            ended = process is None or process.poll() is not None
            if ended or time.monotonic() > deadline:
                self.stop()
                why = "ended early" if ended else f"gave no answer in {seconds:g} s"
                raise LabelError(
                    "Label Studio", self.url, f"{why}; see {self._data_dir / 'label-studio.log'}"
                )
            try:
                with opener.open(f"{self.url}/health", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                pause.wait(0.05)


def _how_to_install(environment: Path) -> str:
    place = environment.relative_to(Path.cwd()) if environment.is_relative_to(Path.cwd()) else environment
    return (
        "is not installed there; it wants an environment of its own:"
        f" `python3 -m venv {place}`, then `{place}/bin/pip install label-studio=={VERSION}`"
    )


def _credentials(path: Path) -> tuple[str, str]:
    """Read the token and password of a data directory; make them the first time."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(f"{secrets.token_hex(20)}\n{secrets.token_urlsafe(16)}\n", encoding="utf-8")
    token, password = path.read_text(encoding="utf-8").split()
    return token, password


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
