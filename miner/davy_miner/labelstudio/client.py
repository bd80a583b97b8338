"""Label Studio through its SDK; the only file that knows it.

The SDK repeats failed calls by default, also imports, which then store every task twice: its repetition is off
everywhere, and every call has a time-out. It exchanges a personal access token for one that is valid for five minutes;
should the server refuse that one before its time, it is exchanged once more.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from davy.errors import SettingError
from davy.requirements import needs
from davy_miner.labelstudio.tool import PAGE, Annotation, Refused, Task, UnknownFate

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CANDIDATE: Final = "candidate_id"
_UNDECIDED: Final = 408
_NEWEST: Final = "it is not for Python 3.14 yet: run the role mine on 3.13 or older"
_STRANGE: Final = "an answer of an unknown form"


class SdkTool:
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
        if find_spec("label_studio_sdk") is None:
            raise SettingError(
                "labelstudio.url", url, f"{needs('label-studio-sdk', extras='server')}; {_NEWEST}"
            )
        self._url = url.rstrip("/")
        self._shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._key = api_key
        self._timeout = timeout
        self._http: httpx.Client | None = None
        self._heard = threading.local()
        self._sdk: Any = None
        self._opening = threading.Lock()
        self._options = {"max_retries": 0, "timeout": timeout}

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
        return self._there(lambda sdk: int(sdk.projects.get(project, request_options=self._options).id))

    def create_project(self, title: str, description: str, config: str) -> int:
        """Make a project and give its id."""
        return self._call(
            lambda sdk: int(
                sdk.projects.create(
                    title=title,
                    description=description,
                    label_config=config,
                    # Predictions are kept for the figures but not filled in: nobody confirms by pressing submit.
                    show_collab_predictions=False,
                    request_options=self._options,
                ).id
            )
        )

    def project_config(self, project: int) -> str:
        """Return a project's labelling configuration as it is now."""
        return self._call(
            lambda sdk: str(sdk.projects.get(project, request_options=self._options).label_config or "")
        )

    def change_config(self, project: int, config: str) -> None:
        """Change a project's labelling configuration; doing it twice is harmless."""
        self._call(
            lambda sdk: sdk.projects.update(project, label_config=config, request_options=self._options)
        )

    def import_tasks(self, project: int, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Add tasks, all or none."""
        self._call(
            lambda sdk: sdk.projects.import_tasks(
                project, request=list(tasks), return_task_ids=True, request_options=self._options
            )
        )

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
        return self._there(lambda sdk: int(sdk.tasks.get(str(task), request_options=self._options).id))

    def delete_task(self, task: int) -> None:
        """Remove a task; harmless when it is gone."""
        try:
            self._call(lambda sdk: sdk.tasks.delete(str(task), request_options=self._options))
        except Refused as refusal:
            if not _nothing_there(refusal):
                raise

    def close(self) -> None:
        """Close the connections; calling it twice is harmless."""
        with self._opening:
            if self._http is not None:
                self._http.close()
            self._http = self._sdk = None

    def _tasks(self, project: int, query: str, page: int) -> list[Task]:
        def read(sdk: Any) -> Any:
            return sdk.tasks.list(
                project=project,
                query=query,
                fields="all",
                page=page,
                page_size=PAGE,
                request_options=self._options,
            )

        return self._page(read, _task)

    def _there(self, get: Callable[[Any], object]) -> bool:
        try:
            self._call(get)
        except Refused as refusal:
            if _nothing_there(refusal):
                return False
            raise
        return True

    def _project_page(self, page: int) -> list[tuple[int, str]]:
        return self._page(
            lambda sdk: sdk.projects.list(page=page, page_size=PAGE, request_options=self._options),
            lambda row: (int(row.id), str(row.description or "")),
        )

    def _page(self, call: Callable[[Any], Any], read: Callable[[Any], T]) -> list[T]:
        """Return the rows of a page, read inside the call: what something else answers has any form."""
        try:
            return self._call(lambda sdk: [read(row) for row in _rows(call(sdk))])
        except Refused as refusal:
            if _nothing_there(refusal):
                return []
            raise

    def _open(self) -> Any:
        import httpx
        from label_studio_sdk.client import LabelStudio

        with self._opening:
            if self._http is None:
                self._http = httpx.Client(
                    timeout=self._timeout, event_hooks={"request": [self._ask], "response": [self._hear]}
                )
            if self._sdk is None:
                self._sdk = LabelStudio(
                    base_url=self._url,
                    api_key=self._key,
                    timeout=self._timeout,
                    max_retries=0,
                    httpx_client=self._http,
                )
            return self._sdk

    def _call(self, call: Callable[[Any], T], *, again: bool = True) -> T:
        import httpx
        from label_studio_sdk.core.api_error import ApiError
        from label_studio_sdk.core.parse_error import ParsingError

        self._heard.failure = self._heard.status = 0
        try:
            return call(self._open())
        except ApiError as error:
            status, detail = error.status_code or 0, _detail(error.body)
        except ParsingError as error:
            status, detail = error.status_code or 0, _STRANGE
        except httpx.HTTPError as error:
            status, detail = self._heard.failure, type(error).__name__
        except json.JSONDecodeError:
            status, detail = 0, "an answer that is not JSON"
        except (
            AttributeError,
            LookupError,
            TypeError,
            ValueError,
        ):  # JSON, and not of the form the SDK reads
            status, detail = self._heard.status, _STRANGE
        if status == 401 and again and self._personal:
            with self._opening:
                self._sdk = None
            return self._call(call, again=False)
        # Outside the except block: an exception of the SDK carries headers, with cookies, into every traceback.
        raise self._failure(status, detail)

    def _ask(self, _: httpx.Request) -> None:
        self._heard.failure = 0

    def _hear(self, response: httpx.Response) -> None:
        """Keep that the server failed, for the body of its answer may never end, and with what it answered."""
        self._heard.status = response.status_code
        self._heard.failure = response.status_code if response.status_code >= 500 else 0

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


def _rows(page: Any) -> Sequence[Any]:
    """Return the rows of a page.

    Raises
    ------
    TypeError
        It holds no list of them, not even an empty one: something else answered.
    """
    if page.items is None:
        raise TypeError("an answer without rows")
    rows: Sequence[Any] = page.items
    return rows


def _query(column: str, operator: str, kind: str, value: Any, *, order: str) -> str:
    item = {"filter": f"filter:tasks:{column}", "operator": operator, "type": kind, "value": value}
    return json.dumps(
        {"filters": {"conjunction": "and", "items": [item]}, "ordering": [f"tasks:{order}"]},
        separators=(",", ":"),
    )


def _task(row: Any) -> Task:
    annotations = [_annotation(one) for one in row.annotations or ()]
    handled = (row.total_annotations or 0) + (row.cancelled_annotations or 0) + len(row.drafts or ())
    data = row.data if isinstance(row.data, dict) else {}
    return Task(
        id=int(row.id),
        candidate=str(data.get(_CANDIDATE) or ""),
        updated_at=_moment(row.updated_at),
        touched=bool(handled or annotations),
        annotations=annotations,
    )


def _annotation(found: Any) -> Annotation:
    one: Mapping[str, Any] = found if isinstance(found, dict) else vars(found)
    by = one.get("completed_by")
    if isinstance(by, dict):
        by = by.get("email") or by.get("id")
    return Annotation(
        id=int(one["id"]),
        updated_at=_moment(one["updated_at"]),
        result=list(one.get("result") or ()),
        annotator="" if by is None else str(by),
        seconds=None if one.get("lead_time") is None else float(one["lead_time"]),
        skipped=bool(one.get("was_cancelled")),
    )


def _moment(value: datetime | str) -> int:
    """Nanoseconds since the epoch; the SDK gives text or a datetime, depending on the record it takes a task for."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def _detail(body: Any) -> str:
    """Say what the server said, without the task data it repeats: they hold signed links."""
    if not isinstance(body, dict):
        return "no explanation"
    said = [str(body.get("detail") or "")]
    problems = body.get("validation_errors")
    if isinstance(problems, dict):
        said += [f"{name}: {text}" for name, texts in problems.items() for text in _texts(texts)]
    return "; ".join(part.partition(" :: ")[0] for part in said if part)[:300] or "no explanation"


def _texts(found: Any) -> list[str]:
    return [text for text in (found if isinstance(found, list) else [found]) if isinstance(text, str)]
