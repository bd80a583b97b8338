"""Label Studio over HTTP; the only file that knows its interface.

Nothing is ever repeated by itself: an import that is repeated stores every task twice. Every call has a time-out. A
personal access token is exchanged for one that is valid for five minutes, and exchanged again when that is refused.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from davy.errors import SettingError
from davy_miner.labelstudio.tool import PAGE, Annotation, Refused, Task, UnknownFate

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CANDIDATE: Final = "candidate_id"
_UNDECIDED: Final = 408
_STRANGE: Final = "an answer of an unknown form"


class HttpTool:
    """`davy_miner.labelstudio.tool.Tool` over HTTP.

    Parameters
    ----------
    url
        Address of Label Studio, ``http://host:port``.
    api_key
        Legacy token or personal access token.
    timeout
        Longest wait, in seconds, for a connection and for each part of an answer.
    """

    def __init__(self, url: str, api_key: str, *, timeout: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SettingError("labelstudio.url", url, "must be http://host:port or https://host")
        if not api_key:
            raise SettingError("labelstudio.api_key", "", "set DAVY_LABELSTUDIO_API_KEY to an access token")
        self._url = url.rstrip("/")
        self._shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._key = api_key
        self._timeout = timeout
        self._http: httpx.Client | None = None
        self._access = ""
        self._opening = threading.Lock()

    def projects(self, marker: str) -> list[int]:
        """Return the ids of the projects whose description contains `marker`, oldest first."""
        found: list[tuple[int, str]] = []
        page = 1
        while True:
            rows = self._project_page(page)
            found += rows
            if len(rows) < PAGE:
                return sorted(project for project, description in found if marker in description)
            page += 1

    def has_project(self, project: int) -> bool:
        """Whether a project is still there."""
        return self._there(f"projects/{project}/")

    def create_project(self, title: str, description: str, config: str) -> int:
        """Make a project and give its id."""
        body = {
            "title": title,
            "description": description,
            "label_config": config,
            # Predictions are kept for the figures but not filled in: nobody confirms by pressing submit.
            "show_collab_predictions": False,
        }
        return self._call("POST", "projects/", _id, json=body)

    def project_config(self, project: int) -> str:
        """Return a project's labelling configuration as it is now."""
        return self._call("GET", f"projects/{project}/", lambda found: str(found["label_config"] or ""))

    def change_config(self, project: int, config: str) -> None:
        """Change a project's labelling configuration; doing it twice is harmless."""
        self._call("PATCH", f"projects/{project}/", _id, json={"label_config": config})

    def import_tasks(self, project: int, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Add tasks, all or none."""
        path = f"projects/{project}/import"
        self._call("POST", path, dict, params={"return_task_ids": "true"}, json=list(tasks))

    def find_tasks(self, project: int, candidates: Sequence[str]) -> list[Task]:
        """Return every task of these candidates, by id; nothing when the project is gone."""
        found: list[Task] = []
        for start in range(0, len(candidates), PAGE):
            names = list(candidates[start : start + PAGE])
            query = _query(f"data.{_CANDIDATE}", "in_list", "List", names, order="id")
            page = 1
            while True:
                rows = self._tasks(project, query, page)
                found += rows
                if len(rows) < PAGE:
                    break
                page += 1
        return found

    def changed_tasks(self, project: int, since: int, page: int) -> list[Task]:
        """Return a page of the tasks changed at `since` (nanoseconds) or later, oldest change first."""
        moment = (_EPOCH + timedelta(microseconds=since // 1000)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        query = _query("updated_at", "greater_or_equal", "Datetime", moment, order="updated_at")
        return self._tasks(project, query, page)

    def has_task(self, task: int) -> bool:
        """Whether a task is still there."""
        return self._there(f"tasks/{task}/")

    def delete_task(self, task: int) -> None:
        """Remove a task; harmless when it is gone."""
        try:
            self._call("DELETE", f"tasks/{task}/", lambda _: None)
        except Refused as refusal:
            if not _nothing_there(refusal):
                raise

    def close(self) -> None:
        """Let go of the connections; calling it twice is harmless."""
        with self._opening:
            if self._http is not None:
                self._http.close()
            self._http, self._access = None, ""

    def _tasks(self, project: int, query: str, page: int) -> list[Task]:
        asked: dict[str, str | int] = {"project": project, "query": query, "fields": "all"}
        asked |= {"page": page, "page_size": PAGE}
        return self._page("tasks/", asked, lambda found: [_task(row) for row in found["tasks"]])

    def _there(self, path: str) -> bool:
        try:
            self._call("GET", path, _id)
        except Refused as refusal:
            if _nothing_there(refusal):
                return False
            raise
        return True

    def _project_page(self, page: int) -> list[tuple[int, str]]:
        def read(found: Any) -> list[tuple[int, str]]:
            return [(_id(row), str(row.get("description") or "")) for row in found["results"]]

        return self._page("projects/", {"page": page, "page_size": PAGE}, read)

    def _page(self, path: str, asked: Mapping[str, str | int], read: Callable[[Any], list[T]]) -> list[T]:
        try:
            return self._call("GET", path, read, params=asked)
        except Refused as refusal:
            if _nothing_there(refusal):
                return []
            raise

    def _client(self) -> httpx.Client:
        import httpx

        with self._opening:
            if self._http is None:
                self._http = httpx.Client(base_url=f"{self._url}/api/", timeout=self._timeout)
            return self._http

    def _call(self, method: str, path: str, read: Callable[[Any], T], **request: Any) -> T:
        """Return what `read` makes of the answer to a request.

        Raises
        ------
        Refused
            The request was understood and nothing was done.
        UnknownFate
            It may have been done.
        """
        if not self._personal:
            return self._ask(method, path, read, f"Token {self._key}", **request)
        known = self._access
        self._access = known or self._exchanged()
        try:
            return self._ask(method, path, read, f"Bearer {self._access}", **request)
        except Refused as refusal:
            if refusal.status != 401 or not known:
                raise
        self._access = self._exchanged()
        return self._ask(method, path, read, f"Bearer {self._access}", **request)

    def _exchanged(self) -> str:
        return self._ask(
            "POST", "token/refresh/", lambda found: str(found["access"]), json={"refresh": self._key}
        )

    def _ask(
        self, method: str, path: str, read: Callable[[Any], T], authorization: str = "", **request: Any
    ) -> T:
        import httpx

        status = 0
        headers = {"Authorization": authorization} if authorization else {}
        try:
            with self._client().stream(method, path, headers=headers, **request) as response:
                status = response.status_code
                text = response.read()
            if response.is_success:
                return read(json.loads(text) if text else None)
            detail = _detail(text)
        except httpx.HTTPError as error:
            # Of an answer that does not end the status counts only where it says that the server failed.
            status, detail = status if status >= 500 else 0, type(error).__name__
        except json.JSONDecodeError:
            detail = "an answer that is not JSON"
        except (AttributeError, LookupError, TypeError, ValueError):  # JSON, and not of the form that is read
            detail = _STRANGE
        # Outside the except block: an exception of the client carries headers, with the token, into every traceback.
        raise self._failure(status, detail)

    @property
    def _personal(self) -> bool:
        return self._key.count(".") == 2

    def _failure(self, status: int, detail: str) -> Refused | UnknownFate:
        detail = detail.replace(self._key, "…")
        if status in {401, 403}:
            return Refused(*self._about_token(status, detail), status=status)
        if 400 <= status < 500 and status != _UNDECIDED:
            return Refused("Label Studio", self._shown, f"refused with {status}: {detail}", status=status)
        if status >= 500 or status == _UNDECIDED:
            remedy = f"answered {status} ({detail}): its own log says why"
        elif status:
            remedy = f"answered {status} with {detail}: is this the address of Label Studio?"
        else:
            remedy = f"gave no answer ({detail}): start it, or set DAVY_LABELSTUDIO_URL"
        return UnknownFate("Label Studio", self._shown, remedy)

    def _about_token(self, status: int, detail: str) -> tuple[str, str, str]:
        kind = "personal access token" if self._personal else "legacy token"
        if status == 403:
            remedy = f"its owner may not do this ({detail}): use the token of a member of the organization"
        elif self._personal:
            remedy = (
                f"not accepted ({detail}): make a new one under Account & Settings → Personal Access Token"
            )
        elif "legacy token authentication has been disabled" in detail:
            remedy = (
                "legacy tokens are disabled there: use a personal access token, "
                "or start Label Studio with LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN=true"
            )
        else:
            remedy = f"not accepted ({detail}): copy it again from Account & Settings → Access Token"
        return "labelstudio.api_key", kind, remedy


def _nothing_there(refusal: Refused) -> bool:
    """Whether Label Studio itself says so: a 404 of anything on the way to it must not pass for an empty project."""
    says = "matches the given query" in refusal.remedy or "Invalid page" in refusal.remedy
    return refusal.status == 404 and says


def _query(column: str, operator: str, kind: str, value: Any, *, order: str) -> str:
    item = {"filter": f"filter:tasks:{column}", "operator": operator, "type": kind, "value": value}
    return json.dumps(
        {"filters": {"conjunction": "and", "items": [item]}, "ordering": [f"tasks:{order}"]},
        separators=(",", ":"),
    )


def _id(found: Any) -> int:
    return int(found["id"])


def _task(row: Any) -> Task:
    annotations = [_annotation(one) for one in row.get("annotations") or ()]
    counted = (row.get("total_annotations") or 0) + (row.get("cancelled_annotations") or 0)
    data = row["data"] if isinstance(row["data"], dict) else {}
    return Task(
        id=_id(row),
        candidate=str(data.get(_CANDIDATE) or ""),
        updated_at=_moment(row["updated_at"]),
        touched=bool(counted + len(row.get("drafts") or ()) or annotations),
        annotations=annotations,
    )


def _annotation(found: Any) -> Annotation:
    by = found.get("completed_by")
    if isinstance(by, dict):
        by = by.get("email") or by.get("id")
    return Annotation(
        id=_id(found),
        updated_at=_moment(found["updated_at"]),
        result=list(found.get("result") or ()),
        annotator="" if by is None else str(by),
        seconds=None if found.get("lead_time") is None else float(found["lead_time"]),
        skipped=bool(found.get("was_cancelled")),
    )


def _moment(text: str) -> int:
    """Nanoseconds since the epoch."""
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1) * 1000


def _detail(text: bytes) -> str:
    """Say what the server said, without the task data it repeats: they hold signed links."""
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return "no explanation"
    said = [str(body.get("detail") or "")]
    problems = body.get("validation_errors")
    if isinstance(problems, dict):
        said += [f"{name}: {text}" for name, texts in problems.items() for text in _texts(texts)]
    return "; ".join(part.partition(" :: ")[0] for part in said if part)[:300] or "no explanation"


def _texts(found: Any) -> list[str]:
    return [text for text in (found if isinstance(found, list) else [found]) if isinstance(text, str)]
