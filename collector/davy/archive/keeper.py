"""What the archive keeps of inferences: rows of its files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn

from davy.archive.spans import LEDGERS
from davy.errors import SettingError
from davy.forgetting import Ids, Trace, role_lease
from davy.runtime import Runtime

if TYPE_CHECKING:
    from davy.archive.places import FilePlace


class ArchiveKeeper:
    """Implements `davy.forgetting.Keeper`; pyarrow is needed where there is an archive."""

    def __init__(self, runtime: Runtime) -> None:
        self._store = runtime.store
        self._url = runtime.settings.archive.url
        if self._url:
            from davy.archive import removal

            self._removal = removal

    def leases(self) -> Sequence[str]:
        """Name the lease of the role that writes files."""
        return [role_lease("archive")]

    def tagged(self, name: str, text: str) -> Iterator[bytes]:
        """Return the ids of archived inferences that carry a tag."""
        return self._removal.tagged(self._place, name, text) if self._url else iter(())

    def traces(self, ids: Ids) -> Iterator[Trace]:
        """Return the files with rows of `ids`; where the settings do not say where the files are, that they do not."""
        if self._url:
            yield from self._removal.traces(self._place, ids)
        elif LEDGERS.count(self._store):
            yield Trace({}, _ask_where)

    def payloads(self, ids: Ids) -> Iterator[str]:
        """Return nothing: the archive outlives the payloads that its rows name."""
        del ids
        return iter(())

    @cached_property
    def _place(self) -> FilePlace:
        from davy.archive.places import open_place

        return open_place(self._url)


def _ask_where() -> NoReturn:
    remedy = (
        "this log has an archive: set DAVY_ARCHIVE_URL as for `davy run archive`, and run the command again"
    )
    raise SettingError("archive.url", "", remedy)
