"""The archive as a role of `davy run`, and of `davy up` where a URL is set; pyarrow is loaded when it starts."""

from __future__ import annotations

from davy._urls import without_password
from davy.config import Settings
from davy.consume import Loop
from davy.errors import SettingError
from davy.event import ALERTS, FEEDBACK, FLAGS, INFERENCES, LABELS
from davy.runtime import Runtime, Target


class ArchiveTarget(Target):
    """Writes what the log holds to `archive.url`.

    Raises
    ------
    SettingError
        The URL is empty or names no archive.
    """

    reads = (INFERENCES, FEEDBACK, FLAGS, LABELS, ALERTS)

    def __init__(self, runtime: Runtime) -> None:
        from davy.archive.places import open_place
        from davy.archive.role import Archive

        settings = runtime.settings.archive
        if not settings.url:
            remedy = "say where: DAVY_ARCHIVE_URL=file:///directory or s3://bucket/prefix"
            raise SettingError("archive.url", "", remedy)
        self._url = without_password(settings.url)
        self._loop = Loop(runtime, Archive(runtime, open_place(settings.url)))

    @staticmethod
    def wanted(settings: Settings) -> bool:
        """Whether the settings say where the archive is."""
        return bool(settings.archive.url)

    def uses(self) -> list[str]:
        """Where the files go."""
        return [f"files go to {self._url}"]

    def run(self) -> None:
        """Archive until the runtime stops; what waits for its file then is written after the next start."""
        try:
            self._loop.run()
        finally:
            self._loop.close()
