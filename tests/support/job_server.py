"""A batch endpoint that loses answers on purpose: it keeps jobs in memory, and runs none."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from hybridmodel.remote.batch_endpoint import BatchClient, BatchEndpoint
from hybridmodel.remote.batch_endpoint.bodies import TAG

AFTER = ("lost", "500", "503", "hang", "garbage", "nameless")
"""What may happen after a job was made: no answer, an error, silence, or an answer that is none."""
BEFORE = ("drop", "500 before", "429")
"""What may happen before any was made."""

_PAGE = 20

Trouble = Callable[[int], str]
"""Names what happens to the submission of a number, from 0; ``""`` for nothing."""


class JobServer:
    """Makes jobs, and makes trouble.

    Attributes
    ----------
    made : Counter of str
        Jobs by the name that was asked for.
    bodies, headers : list
        Of each submission.
    looks : int
        Questions for one job.

    Parameters
    ----------
    trouble : callable
        For each submission.
    hidden_looks : int
        So many questions for a job are answered as if it was not there yet.
    failing_looks : int
        So many questions are answered with 503.
    keeps_names : bool
        Whether a job has the name that the client gave it, and a second one of it gets 409;
        otherwise the client's name is in the tag alone.
    lists : bool
        Whether all jobs are told, some on each page.
    """

    def __init__(
        self,
        trouble: Trouble = lambda _: "",
        *,
        hidden_looks: int = 0,
        failing_looks: int = 0,
        keeps_names: bool = True,
        lists: bool = True,
        states: Iterable[str] = ("Completed",),
    ) -> None:
        self.trouble = trouble
        self.hidden_looks, self.failing_looks = hidden_looks, failing_looks
        self.keeps_names, self.lists = keeps_names, lists
        self.states = list(states)
        self.next_link = ""
        self.made: Counter[str] = Counter()
        self.jobs: dict[str, dict[str, Any]] = {}
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.looks = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.say(server.submit(body, dict(self.headers)))

            def do_GET(self) -> None:
                self.say(server.look(self.path))

            def say(self, said: tuple[int, Any] | None) -> None:
                if said is None:
                    self.close_connection = True
                    return
                status, answer = said
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: object) -> None:
                pass  # Clients that do not wait are meant.

        self._server = Server(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def client(self, timeout_s: float = 20.0, max_attempts: int = 5, **options: Any) -> BatchClient:
        """Return a client that does not sleep."""
        endpoint = BatchEndpoint(
            uri=f"{self.uri}/jobs", timeout_s=timeout_s, max_attempts=max_attempts
        )
        given = {"sleep": lambda _: None, "credential": lambda: "token-of-a-test", **options}
        return BatchClient(endpoint, **given)

    def submit(self, body: dict[str, Any], headers: dict[str, str]) -> tuple[int, Any] | None:
        """Make a job, or trouble."""
        with self._lock:
            trouble = self.trouble(len(self.bodies))
            self.bodies.append(body)
            self.headers.append(headers)
            if trouble in BEFORE:
                return {"drop": None, "429": (429, {})}.get(trouble, (500, {}))
            name = body["properties"]["name"]
            if self.keeps_names and name in self.jobs:
                return 409, {"error": {"message": "a job of that name exists"}}
            self.made[name] += 1
            given = name if self.keeps_names else f"job-{len(self.jobs)}"
            properties = {**body["properties"], "status": "NotStarted"}
            job = {"id": f"/subscriptions/s/jobs/{given}", "name": given, "properties": properties}
            self.jobs[given] = job
        if trouble == "hang":
            self._closing.wait(20)
        elif trouble in ("500", "503"):
            return int(trouble), {"error": "after the job was made"}
        return {
            "": (201, job),
            "garbage": (200, b"<html>login</html>"),
            "nameless": (200, {"properties": {}}),
        }.get(trouble)

    def look(self, path: str) -> tuple[int, Any]:
        """Tell of one job, or of all."""
        parts = urlsplit(path)
        name = parts.path.removeprefix("/jobs").lstrip("/")
        with self._lock:
            self.looks += 1
            if self.failing_looks > 0:
                self.failing_looks -= 1
                return 503, {}
            if not name:
                return self._page(int(parse_qs(parts.query).get("from", ["0"])[0]))
            if name not in self.jobs or self.hidden_looks > 0:
                self.hidden_looks -= 1
                return 404, {"error": {"message": "no such job"}}
            job = self.jobs[name]
            state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
            job["properties"]["status"] = state
            return 200, job

    def _page(self, start: int) -> tuple[int, Any]:
        if not self.lists:
            return 405, {}
        found = [] if self.hidden_looks > 0 else [*self.jobs.values()]
        page: dict[str, Any] = {"value": found[start : start + _PAGE]}
        if start + _PAGE < len(found):
            page["nextLink"] = self.next_link or f"{self.uri}/jobs?from={start + _PAGE}"
        return 200, page

    def tags(self) -> list[str]:
        """Return the tags of all jobs."""
        return [job["properties"]["tags"][TAG] for job in self.jobs.values()]

    def __enter__(self) -> JobServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
