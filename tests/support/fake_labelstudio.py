"""A Label Studio in this process, over real HTTP, with the vices of the real one and a switch for each.

Always: an import sent twice is stored twice, one bad task refuses the whole import, a prediction of nonsense is stored
with 201, a page after the last is 404. By switch, once per import in the order of `vices`: no answer, a reset or an
error, each before or after the tasks are stored, or long after (`commit_late`); the same once per deletion in the order
of `delete_vices`. By call: expired access tokens, legacy tokens off.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit
from xml.etree.ElementTree import ParseError, fromstring

LEGACY_KEY: Final = "0123456789abcdef0123456789abcdef01234567"
VICES: Final = (
    "reset before",
    "reset after",
    "error before",
    "error after",
    "silence before",
    "silence after",
    "commit late",
)
"""What an import may suffer: a reset, a 500, no answer; `commit late` is no answer and stored later."""

_DAY: Final = "2026-01-05"


class FakeLabelStudio:
    """The server; a context manager that starts and stops it.

    `tasks` are as the API gives them; annotators' acts are methods. Its clock stands still but for a microsecond a
    change, and moves by `advance`. An import with a candidate of `refuse` is refused, and so is a project with a title
    of `refuse_titles`; lists leave out `unlisted` tasks, and something on the way answers 404 to paths like `lost`.
    While it is `broken` it answers 500 to everything.
    """

    def __init__(self) -> None:
        self.projects: dict[int, dict[str, Any]] = {}
        self.tasks: dict[int, dict[str, Any]] = {}
        self.vices: deque[str] = deque()
        self.delete_vices: deque[str] = deque()
        self.requests: list[tuple[str, str]] = []
        self.before_answer: Callable[[str, str], None] | None = None
        self.legacy_enabled = True
        self.refuse: set[str] = set()
        self.refuse_titles: set[str] = set()
        self.unlisted: set[int] = set()
        self.lost = ""
        self.broken = False
        self.refresh_token = _jwt("refresh", 4_000_000_000, 0)
        self._late: list[tuple[int, list[dict[str, Any]]]] = []
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        self._microseconds = 0
        self._generation = 0
        self._annotations = 0
        self._last_task = 0

    def __enter__(self) -> Self:
        fake = self

        class Handler(_Handler):
            server_state = fake

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._thread.join()
        with self._lock:
            for connection in self._connections:
                _quietly(lambda connection=connection: connection.shutdown(socket.SHUT_RDWR))
        self._server.server_close()

    def commit_late(self) -> int:
        """Store what silent imports left unstored; return the number of tasks."""
        with self._lock:
            late, self._late = self._late, []
            return sum(len(self._store(project, tasks)) for project, tasks in late)

    def advance(self, seconds: float) -> None:
        """Move the server's clock."""
        with self._lock:
            self._microseconds += int(seconds * 1e6)

    def expire_access_tokens(self) -> None:
        """Refuse every access token given out so far, as after five minutes."""
        self._generation += 1

    def tasks_of(self, candidate: str) -> list[dict[str, Any]]:
        """Every task of a candidate, by id."""
        with self._lock:
            return [task for task in self.tasks.values() if task["data"].get("candidate_id") == candidate]

    def annotate(
        self,
        task: int,
        *choices: tuple[str, str],
        regions: Sequence[Mapping[str, Any]] = (),
        seconds: float = 2.0,
        skip: bool = False,
        user: int = 7,
    ) -> int:
        """Submit an annotation with these ``(control, choice)`` and regions; return its id."""
        with self._lock:
            self._annotations += 1
            made = {
                "id": self._annotations,
                "result": [*_result(choices), *regions],
                "completed_by": user,
                "was_cancelled": skip,
                "lead_time": seconds,
                "updated_at": self._now(),
            }
            self.tasks[task]["annotations"].append(made)
            self._touch(task)
            return self._annotations

    def edit(self, annotation: int, *choices: tuple[str, str]) -> None:
        """Change an annotation."""
        with self._lock:
            task, found = self._annotation(annotation)
            found |= {"result": _result(choices), "updated_at": self._now()}
            self._touch(task)

    def withdraw(self, annotation: int) -> None:
        """Delete an annotation."""
        with self._lock:
            task, found = self._annotation(annotation)
            self.tasks[task]["annotations"].remove(found)
            self._touch(task)

    def choices_used(self, project: int) -> set[str]:
        """The choices that annotations of a project hold: its form cannot lose them."""
        return {
            choice
            for task in self.tasks.values()
            if task["project"] == project
            for annotation in task["annotations"]
            for region in annotation["result"]
            for choice in region["value"].get("choices", ())
        }

    def import_directly(self, project: int, tasks: Sequence[dict[str, Any]]) -> list[int]:
        """Store tasks as somebody else would."""
        with self._lock:
            return self._store(project, tasks)

    def _annotation(self, annotation: int) -> tuple[int, dict[str, Any]]:
        return next(
            (number, one)
            for number, task in self.tasks.items()
            for one in task["annotations"]
            if one["id"] == annotation
        )

    def _touch(self, task: int) -> None:
        self.tasks[task]["updated_at"] = self._now()

    def _now(self) -> str:
        self._microseconds += 1
        seconds, micro = divmod(self._microseconds, 10**6)
        minutes, second = divmod(seconds, 60)
        hour, minute = divmod(minutes, 60)
        return f"{_DAY}T{hour:02d}:{minute:02d}:{second:02d}.{micro:06d}Z"

    def _store(self, project: int, tasks: Sequence[dict[str, Any]]) -> list[int]:
        made = []
        for task in tasks:
            self._last_task += 1
            made.append(self._last_task)
            self.tasks[self._last_task] = {
                "id": self._last_task,
                "project": project,
                "data": task["data"],
                "predictions": task.get("predictions", []),
                "annotations": [],
                "drafts": [],
                "updated_at": self._now(),
            }
        return made


class _Handler(BaseHTTPRequestHandler):
    server_state: FakeLabelStudio
    protocol_version = "HTTP/1.1"
    timeout = 30

    def setup(self) -> None:
        super().setup()
        with self.server_state._lock:
            self.server_state._connections.add(self.connection)

    def finish(self) -> None:
        with self.server_state._lock:
            self.server_state._connections.discard(self.connection)
        _quietly(super().finish)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._handle("GET")

    def do_POST(self) -> None:
        self._handle("POST")

    def do_PATCH(self) -> None:
        self._handle("PATCH")

    def do_DELETE(self) -> None:
        self._handle("DELETE")

    def _handle(self, method: str) -> None:
        fake, parts = self.server_state, urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        fake.requests.append((method, parts.path))
        if fake.before_answer:
            fake.before_answer(method, parts.path)
        if fake.broken:
            self._answer(500, {"detail": "server error"})
            return
        with fake._lock:
            refused = self._refused(parts.path)
        if refused:
            self._answer(401, {"detail": refused})
            return
        if re.fullmatch(fake.lost, parts.path):
            self._answer(404, {"detail": "no route"})
            return
        for route, pattern, act in _ROUTES:
            found = re.fullmatch(pattern, parts.path)
            if route == method and found:
                act(self, json.loads(body or b"null"), *map(int, found.groups()))
                return
        self._answer(404, None)

    def _refused(self, path: str) -> str:
        fake, sent = self.server_state, self.headers.get("Authorization", "")
        if path == "/api/token/refresh/" or sent == f"Bearer {_access(fake._generation)}":
            return ""
        if sent == f"Token {LEGACY_KEY}":
            off = "legacy token authentication has been disabled for this organization"
            return "" if fake.legacy_enabled else f"Authentication token no longer valid: {off}"
        return "Invalid token."

    def _refresh(self, body: Any) -> None:
        if body["refresh"] != self.server_state.refresh_token:
            self._answer(401, {"detail": "Token is blacklisted"})
            return
        self._answer(200, {"access": _access(self.server_state._generation)})

    def _list_projects(self, _: Any) -> None:
        rows = sorted(self.server_state.projects.values(), key=lambda project: -project["id"])
        page = self._page(rows)
        if page is not None:
            self._answer(200, {"count": len(rows), "next": None, "previous": None, "results": page})

    def _create_project(self, body: Mapping[str, Any]) -> None:
        fake = self.server_state
        if not 3 <= len(body["title"]) <= 50:
            self._answer(400, {"detail": "Validation error", "validation_errors": {"title": ["length"]}})
            return
        if body["title"] in fake.refuse_titles or not _is_form(body["label_config"]):
            self._answer(
                400, {"detail": "Validation error", "validation_errors": {"label_config": ["no form"]}}
            )
            return
        with fake._lock:
            number = len(fake.projects) + 1
            fake.projects[number] = {**body, "id": number}
        self._answer(201, fake.projects[number])

    def _get_project(self, _: Any, project: int) -> None:
        found = self.server_state.projects.get(project)
        self._answer(*((200, found) if found else (404, _gone("Project"))))

    def _change_project(self, body: Mapping[str, Any], project: int) -> None:
        fake = self.server_state
        if project not in fake.projects:
            self._answer(404, _gone("Project"))
            return
        with fake._lock:
            used = fake.choices_used(project)
            lost = used - _choices_in(body["label_config"])
            if not lost:
                fake.projects[project] |= body
        if lost:
            text = f"These labels still exist in annotations: {sorted(lost)}"
            self._answer(400, {"detail": "Validation error", "validation_errors": {"label_config": [text]}})
            return
        self._answer(200, fake.projects[project])

    def _import(self, body: list[dict[str, Any]], project: int) -> None:
        fake = self.server_state
        if project not in fake.projects:
            self._answer(404, _gone("Project"))
            return
        config = fake.projects[project]["label_config"]
        keys = re.findall(r'value="\$(\w+)"', config)
        for number, task in enumerate(body):
            missing = [key for key in keys if key not in task["data"]]
            if missing or task["data"].get("candidate_id") in fake.refuse:
                text = f'Error at item {number}: "{keys[0]}" key is expected in task data :: {task}'
                self._answer(
                    400, {"detail": "Validation error", "validation_errors": {"non_field_errors": [text, {}]}}
                )
                return
        with fake._lock:
            vice = fake.vices.popleft() if fake.vices else ""
            if vice == "commit late":
                fake._late.append((project, body))
            stored = [] if vice.endswith(("before", "late")) else fake._store(project, body)
        if not self._suffer(vice):
            self._answer(201, {"task_count": len(stored), "task_ids": stored})

    def _suffer(self, vice: str) -> bool:
        match vice.split():
            case ["reset", _]:
                self._reset()
            case ["error", _]:
                self._answer(500, {"detail": "database is locked"})
            case ["silence", _] | ["commit", _]:
                self._stay_silent()
        return bool(vice)

    def _list_tasks(self, _: Any) -> None:
        fake = self.server_state
        project = int(self._query["project"])
        if project not in fake.projects:
            self._answer(404, _gone("Project"))
            return
        query = json.loads(self._query["query"])
        with fake._lock:
            rows = [task for task in fake.tasks.values() if task["project"] == project]
            rows = [task for task in rows if task["id"] not in fake.unlisted]
            for item in query["filters"]["items"]:
                rows = [task for task in rows if _fits(task, item)]
            order = query["ordering"][0].removeprefix("tasks:")
            rows = [_as_listed(task) for task in sorted(rows, key=lambda task: (task[order], task["id"]))]
        page = self._page(rows)
        if page is not None:
            self._answer(
                200, {"total": len(rows), "total_annotations": 0, "total_predictions": 0, "tasks": page}
            )

    def _get_task(self, _: Any, task: int) -> None:
        found = self.server_state.tasks.get(task)
        self._answer(*((200, _as_listed(found)) if found else (404, _gone("Task"))))

    def _delete_task(self, _: Any, task: int) -> None:
        fake = self.server_state
        with fake._lock:
            vice = fake.delete_vices.popleft() if fake.delete_vices else ""
            found = fake.tasks.get(task) if vice.endswith("before") else fake.tasks.pop(task, None)
        if not self._suffer(vice):
            self._answer(*((204, None) if found else (404, _gone("Task"))))

    def _page(self, rows: list[Any]) -> list[Any] | None:
        number, size = int(self._query.get("page", 1)), int(self._query.get("page_size", 30))
        start = (number - 1) * size
        if number > 1 and start >= len(rows):
            self._answer(404, {"detail": "Invalid page."})
            return None
        return rows[start : start + size]

    def _answer(self, status: int, body: Any) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if data else "text/html")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        _quietly(lambda: self.wfile.write(data))

    def _reset(self) -> None:
        self.close_connection = True
        # A linger time of zero makes the close a reset.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _stay_silent(self) -> None:
        """Answer nothing until the client hangs up."""
        self.close_connection = True
        self.connection.settimeout(0.02)
        while not self.server_state._stopping.is_set():
            try:
                if not self.connection.recv(1):
                    return
            except TimeoutError:
                continue
            except OSError:
                return


_ROUTES: Final[tuple[tuple[str, str, Callable[..., None]], ...]] = (
    ("POST", r"/api/token/refresh/", _Handler._refresh),
    ("GET", r"/api/projects/", _Handler._list_projects),
    ("POST", r"/api/projects/", _Handler._create_project),
    ("GET", r"/api/projects/(\d+)/", _Handler._get_project),
    ("PATCH", r"/api/projects/(\d+)/", _Handler._change_project),
    ("POST", r"/api/projects/(\d+)/import", _Handler._import),
    ("GET", r"/api/tasks/", _Handler._list_tasks),
    ("GET", r"/api/tasks/(\d+)/", _Handler._get_task),
    ("DELETE", r"/api/tasks/(\d+)/", _Handler._delete_task),
)


def _is_form(config: str) -> bool:
    """Whether it is XML, and every control names what is there."""
    try:
        tree = fromstring(config)
    except ParseError:
        return False
    names = {tag.get("name") for tag in tree.iter()}
    return all(tag.get("toName", "subject") in names for tag in tree.iter())


def _choices_in(config: str) -> set[str]:
    """The choices a form offers; raises on what is no XML, which the real one refuses, too."""
    return {str(choice.get("value")) for choice in fromstring(config).iter("Choice")}


def _fits(task: Mapping[str, Any], item: Mapping[str, Any]) -> bool:
    match item["filter"], item["operator"]:
        case "filter:tasks:data.candidate_id", "in_list":
            return task["data"].get("candidate_id") in item["value"]
        case "filter:tasks:updated_at", "greater_or_equal":
            return bool(task["updated_at"] >= item["value"])
    raise ValueError(f"the fake knows no filter {item}")


def _as_listed(task: Mapping[str, Any]) -> dict[str, Any]:
    skipped = sum(one["was_cancelled"] for one in task["annotations"])
    return json.loads(
        json.dumps(
            {
                **task,
                "total_annotations": len(task["annotations"]) - skipped,
                "cancelled_annotations": skipped,
            }
        )
    )


def _result(choices: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    return [
        {"from_name": control, "to_name": "subject", "type": "choices", "value": {"choices": [choice]}}
        for control, choice in choices
    ]


def _gone(kind: str) -> dict[str, str]:
    return {"detail": f"No {kind} matches the given query."}


def _access(generation: int) -> str:
    return _jwt("access", int(time.time()) // 3600 * 3600 + 7200, generation)


def _jwt(kind: str, expires: int, generation: int) -> str:
    parts = ({"alg": "HS256", "typ": "JWT"}, {"token_type": kind, "exp": expires, "jti": generation})
    head, body = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
    return f"{head}.{body}.c2lnbmVk"


def _quietly(action: Callable[[], object]) -> None:
    """The other side may have hung up already: that is what these tests are about."""
    try:
        action()
    except OSError:
        return
