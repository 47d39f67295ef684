"""What an endpoint knows of its jobs: one by its name, or all of them. Nothing here makes a job."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from hybridmodel.exceptions import EndpointError, EndpointRefused, ProtocolError
from hybridmodel.remote.attempts import Retrier
from hybridmodel.remote.batch_endpoint.bodies import Told, read_job, read_page
from hybridmodel.remote.batch_endpoint.state import JobStatus
from hybridmodel.remote.exchange import Call, Exchanger
from hybridmodel.remote.http.connection import Reply
from hybridmodel.remote.resilience import Deadline
from hybridmodel.remote.wire.json_text import JSON_BYTES, JsonLimit, decode_object

_JOBS = JsonLimit(JSON_BYTES, 50_000, 50_000)
_MOST_PAGES, _MOST_SHOWN = 100, 2000
_NO_LIST = (400, 404, 405, 501)
"""Statuses of an endpoint that does not list its jobs."""

T = TypeVar("T")


class Jobs:
    """The jobs of one endpoint, as far as it tells of them; safe to share between threads.

    `url` is where they are, and where others are submitted to. `keeps_names` says whether the
    endpoint is known to give jobs the names that clients ask for.
    """

    def __init__(self, exchanger: Exchanger, retrier: Retrier) -> None:
        self._exchanger = exchanger
        self._retrier = retrier
        self.url = exchanger.endpoint.model_url
        self.keeps_names = False

    def named(self, name: str, deadline: Deadline) -> Told | None:
        """Return the job of a name, None if the endpoint has none; raises `EndpointError`."""
        try:
            return self._get(f"{self.url}/{quote(name, safe='')}", deadline, read_job)
        except EndpointRefused as error:
            if error.status != 404:
                raise
            return None

    def submitted_as(
        self, name: str, deadline: Deadline, *, certainly: bool = False
    ) -> Told | None:
        """Return the job that was submitted under a name, None if there is none.

        An endpoint that is not known to keep names may have given it another one, so that all its
        jobs are looked through. Where it does not list them, that is a `ProtocolError` if there
        must `certainly` be no job for None.
        """
        found = self.named(name, deadline)
        if found is not None:
            return self.note(found, name, self._call(deadline))
        if self.keeps_names:
            return None
        listed = self._listed(deadline, certainly)
        found = next((job for job in listed if job.is_of(name)), None)
        return None if found is None else self.note(found, name, self._call(deadline))

    def note(self, told: Told, name: str, call: Call) -> Told:
        """Learn from a job that was submitted under a name whether the endpoint keeps names.

        Raises `ProtocolError` for a name that holds the token: names are shown.
        """
        if self._exchanger.redaction(call)(told.name) != told.name:
            raise ProtocolError("the answer names a job by a secret", endpoint=self.url)
        self.keeps_names = self.keeps_names or told.name == name
        return told

    def status(self, told: Told, deadline: Deadline) -> JobStatus:
        """Make what an endpoint said of a job fit to be shown."""
        redaction = self._exchanger.redaction(self._call(deadline))

        def fit(text: str | None) -> str | None:
            return None if text is None else redaction(text, _MOST_SHOWN)

        return JobStatus(
            name=redaction(told.name),
            state=redaction(told.state, 40),
            error=fit(told.error),
            output_uri=fit(told.output_uri),
            link=fit(told.link),
        )

    @property
    def is_near(self) -> bool:
        """Whether the endpoint is on this machine, and reads its files."""
        return self._exchanger.endpoint.place.is_loopback

    def missing(self, name: str) -> EndpointRefused:
        """Return the error for a job that the endpoint does not have."""
        return EndpointRefused(
            f"there is no job {name}; a name is that of an earlier submission",
            endpoint=self.url,
            status=404,
        )

    def read(self, call: Call, reply: Reply, reader: Callable[[dict[str, Any]], T]) -> T:
        """Read the body of a reply; raises `ProtocolError` where it is something else."""
        try:
            return reader(decode_object(reply.header, _JOBS))
        except ProtocolError as error:
            raise self._exchanger.with_context(call, error, reply) from None

    def _listed(self, deadline: Deadline, certainly: bool) -> Iterator[Told]:
        """Yield all jobs; raises `ProtocolError` where the endpoint does not show all of them."""
        url: str | None = self.url
        for _ in range(_MOST_PAGES):
            try:
                jobs, link = self._get(url or self.url, deadline, read_page)
            except EndpointRefused as error:
                if url != self.url or error.status not in _NO_LIST:
                    raise
                if certainly:
                    raise self._unlisted(
                        f"a list of them is answered with {error.status}"
                    ) from None
                return
            yield from jobs
            if link is None:
                return
            url = self._next(link)
        raise self._unlisted(f"it has more than {_MOST_PAGES} pages of them")

    def _next(self, link: str) -> str:
        """Return the address of a further page: a token goes to no place that a server names."""
        try:
            query = urlsplit(link).query
        except ValueError:
            query = ""
        base = link.partition("?")[0]
        if base not in ("", self.url) or not (query.isascii() and query.isprintable()):
            raise self._unlisted("the next page of them is elsewhere")
        return f"{self.url}?{query}"

    def _unlisted(self, reason: str) -> EndpointError:
        return ProtocolError(
            f"the endpoint did not show all of its jobs: {reason}", endpoint=self.url
        )

    def _get(self, url: str, deadline: Deadline, reader: Callable[[Mapping[str, Any]], T]) -> T:
        call = self._call(self.share_of(deadline))

        def send(call: Call) -> tuple[T, int]:
            reply = self._exchanger.exchange(call, url)
            return self.read(call, reply, reader), reply.attempts

        return self._retrier.run(call, send)[0]

    def _call(self, deadline: Deadline) -> Call:
        return self._exchanger.begin(None, deadline=deadline)

    def share_of(self, deadline: Deadline) -> Deadline:
        """Return the time of one request: half of what is left, and no more than the endpoint's."""
        left = deadline.check("waiting for the endpoint")
        return deadline.part(min(0.5, self._exchanger.endpoint.timeout_s / left))
