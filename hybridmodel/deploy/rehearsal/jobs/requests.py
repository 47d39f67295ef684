"""Requests below ``/jobs``: what a submission asks for, checked, and what is told of jobs.

============================  =====================================================
request                       answer
============================  =====================================================
``POST /jobs``                201 and the job; 409 if there is one of the name
``GET /jobs``                 a page of jobs, the newest first
``GET /jobs/NAME``            the job, or 404
============================  =====================================================
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from hybridmodel.deploy.rehearsal.behaviours import Switches
from hybridmodel.deploy.rehearsal.jobs.live import LiveJob, Wish
from hybridmodel.deploy.rehearsal.jobs.queue import MOST_WAITING, Jobs
from hybridmodel.deploy.rehearsal.jobs.settings import BatchDeployment
from hybridmodel.deploy.rehearsal.messages import Answer
from hybridmodel.exceptions import ConfigurationError, ProtocolError
from hybridmodel.remote.batch_endpoint.addresses import FILE, path_of
from hybridmodel.remote.batch_endpoint.bodies import Told, checked_name, read_job
from hybridmodel.remote.wire.json_text import ERROR_LIMIT, decode_object

PATH = "/jobs"
MOST_BYTES = 1 << 16
"""Of a submission."""

_PAGE = 50
_MOST_FILES = 100_000


class _Refused(Exception):
    """Raise where a request gets no job."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class JobRequests:
    """Answers requests; `uri` of the endpoint is known once it listens."""

    def __init__(self, jobs: Jobs, switches: Switches) -> None:
        self._jobs, self._switches = jobs, switches

    @staticmethod
    def are_for(target: bytes) -> bool:
        """Tell whether a request's target is one of these."""
        path = target.partition(b"?")[0].decode("latin-1")
        return path == PATH or path.startswith(f"{PATH}/")

    def answer(
        self, method: bytes, target: bytes, body: bytes, *, pin: str | None, uri: str
    ) -> Answer:
        """Answer a request; `pin` is the deployment that it names."""
        parts = urlsplit(target.decode("latin-1"))
        name = parts.path.removeprefix(PATH).strip("/")
        try:
            if method == b"POST" and not name:
                return _json(201, self._submit(body, pin).described())
            if method == b"GET" and not name:
                return _json(200, self._page(parts.query, uri))
            if method == b"GET":
                return _json(200, self._find(name).described())
        except _Refused as refused:
            said = {"error": {"code": "UserError", "message": str(refused)}}
            return _json(refused.status, said)
        return _json(405, {"error": {"message": "POST and GET are possible here"}})

    def _submit(self, body: bytes, pin: str | None) -> LiveJob:
        deployment = self._deployment(pin)
        asked = self._asked(body)
        name = asked.name
        if name in self._jobs:
            raise _Refused(409, f"there is a job {name} already")
        if self._jobs.is_full:
            raise _Refused(429, f"{MOST_WAITING} jobs are waiting already")
        if asked.input_uri is None:
            raise _Refused(400, "the submission has no input: InputData with one Uri, or dataset")
        output_uri = asked.output_uri or (self._jobs.home / name / "score").as_uri()
        output = self._inside(output_uri, "output", self._jobs.home)
        wish = Wish(
            name=name,
            deployment=deployment,
            files=self._files(asked.input_uri),
            output=output,
            input_uri=asked.input_uri,
            output_uri=output_uri,
            tag=asked.tag,
        )
        return self._jobs.add(wish)

    def _asked(self, body: bytes) -> Told:
        made = secrets.token_hex(8)
        try:
            said = decode_object(body, ERROR_LIMIT)
            inside = said.get("properties")
            wanted = inside.get("name") if isinstance(inside, dict) else None
            keeps = wanted is not None and "job-names" in self._switches
            return read_job({**said, "name": checked_name(wanted) if keeps else f"job-{made}"})
        except (ProtocolError, ConfigurationError) as error:
            raise _Refused(400, str(error)) from None

    def _deployment(self, pin: str | None) -> BatchDeployment:
        batch = self._jobs.batch
        found = batch.deployment(batch.default if pin is None else pin)
        if found is None:
            raise _Refused(404, f"there is no deployment {(pin or '')[:64]!r}")
        return found

    def _inside(self, address: str, what: str, *more: Path) -> Path:
        """Return a path of this machine below the folder of the data."""
        if not address.startswith(f"{FILE}://"):
            raise _Refused(
                400, f"{what}: a rehearsal reads and writes file:// addresses, not {address[:80]!r}"
            )
        path = Path(os.path.realpath(path_of(address)))
        roots = [Path(os.path.realpath(root)) for root in (self._jobs.data, *more)]
        if not any(path.is_relative_to(root) for root in roots):
            raise _Refused(
                400,
                f"{what}: {str(path)[:200]} is not below {roots[0]}, and jobs of this rehearsal "
                "read and write nowhere else; --data names another folder",
            )
        return path

    def _files(self, address: str) -> tuple[Path, ...]:
        """Return all files of an input, which need not be there yet."""
        path = self._inside(address, "input")
        if not path.is_dir():
            return (path,)
        found: list[Path] = []
        for folder, _, names in os.walk(path):
            found += (Path(folder, name) for name in names)
            if len(found) > _MOST_FILES:
                raise _Refused(400, f"the input has more than {_MOST_FILES} files")
        if not found:
            raise _Refused(400, f"the input {str(path)[:200]} has no files")
        return tuple(sorted(found))

    def _find(self, name: str) -> LiveJob:
        if name not in self._jobs:
            raise _Refused(404, "there is no such job")
        return self._jobs.find(name)

    def _page(self, query: str, uri: str) -> dict[str, Any]:
        if "job-list" not in self._switches:
            raise _Refused(405, "jobs are not listed")
        text = parse_qs(query).get("from", ["0"])[0]
        start = int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 0
        jobs = self._jobs.all()
        page: dict[str, Any] = {"value": [job.described() for job in jobs[start : start + _PAGE]]}
        if start + _PAGE < len(jobs):
            page["nextLink"] = f"{uri}{PATH}?from={start + _PAGE}"
        return page


def _json(status: int, said: dict[str, Any]) -> Answer:
    return Answer(status, [(b"content-type", b"application/json")], json.dumps(said).encode())
