"""The answers of the endpoint to packed requests; each is written to disk as soon as it arrives.

The manifest gets one line before a request is sent, and another when its answer is on the disk. A
request that a killed run sent without an answer is therefore known, and counted when it is resent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hybridmodel.batch.durable import Written
from hybridmodel.batch.manifest import Entry, Manifest
from hybridmodel.batch.packing import Request
from hybridmodel.batch.store import Store
from hybridmodel.batch.summary import Counts
from hybridmodel.exceptions import ConfigurationError, SpecMismatch

PLAN, SENT, ANSWERED = "plan", "sent", "answered"
"""Kinds of lines in the manifest of a job; they come after those of its parts."""

_FEWEST_ROWS = 256
"""The fewest rows in a file of answers: by default, Triton takes only 4 rows in a request."""

Ask = Callable[[Request], tuple[Any, int]]
"""Returns a record batch of predictions, and how many rows were sent again to get it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How many rows are sent; `size` of them, several requests, share a file of answers."""

    rows: int
    size: int
    request_rows: int

    @classmethod
    def of(cls, rows: int, request_rows: int) -> Plan:
        """Keep the answers of several small requests together."""
        several = -(-_FEWEST_ROWS // request_rows)
        return cls(rows=rows, size=several * request_rows, request_rows=request_rows)

    @property
    def requests(self) -> int:
        """The number of files of answers."""
        return -(-self.rows // self.size)

    def rows_of(self, request: int) -> int:
        """Return the number of rows of which a file has the answers."""
        return min(self.size, self.rows - request * self.size)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Plan:
        """Read what `to_dict` returned; raises `ConfigurationError` for anything else."""
        match stored:
            case {"rows": int(rows), "size": int(size), "request_rows": int(request_rows)} if (
                rows >= 0 and size > 0 and request_rows > 0
            ):
                return cls(rows=rows, size=size, request_rows=request_rows)
        raise ConfigurationError("not the plan of a job")

    def to_dict(self) -> dict[str, int]:
        """Return it in JSON's types."""
        return asdict(self)


class Answers:
    """The answers on disk, and those that are still missing; safe to share between threads.

    Raises `ConfigurationError` if the lines of earlier runs contradict each other.
    """

    def __init__(self, store: Store, manifest: Manifest, earlier: Iterable[Entry] = ()) -> None:
        self._store = store
        self._manifest = manifest
        self._lock = threading.Lock()
        self._sent: dict[int, int] = {}
        self._answered: dict[int, Written] = {}
        self._resent = 0
        self.plan: Plan | None = None
        for entry in earlier:
            self._take(entry)

    def begin(self, plan: Plan) -> Plan:
        """Write a plan to the manifest and return it, or return the plan of an earlier run.

        Raises `ConfigurationError` if the earlier plan has another number of rows; `OSError` if it
        cannot be written.
        """
        if self.plan is None:
            self._note(PLAN, plan.to_dict())
            self.plan = plan
        elif self.plan.rows != plan.rows:
            raise ConfigurationError(
                f"{self._store.name}: {self.plan.rows} rows were to be sent, now {plan.rows}; "
                "begin anew with --overwrite"
            )
        return self.plan

    @property
    def counts(self) -> Counts:
        """The rows that were sent; `resent` counts the rows that any run sent again."""
        rows = 0 if self.plan is None else self.plan.rows
        return Counts(rows=rows, remote=rows, resent=self._resent)

    @property
    def first_missing(self) -> int:
        """The first request without an answer."""
        number = 0
        while number in self._answered:
            number += 1
        return number

    def get(self, request: Request, ask: Ask) -> None:
        """Ask for an answer that is missing, and keep it.

        Raises `EndpointError` or `SpecMismatch` as `ask` raises them; `OSError` if the answer
        cannot be kept.
        """
        if request.number in self._answered:
            return
        with self._lock:
            self._note(SENT, {"request": request.number})
            again = request.rows * (request.number in self._sent)
            self._sent[request.number] = self._sent.get(request.number, 0) + 1
        batch, resent = ask(request)
        if batch.num_rows != request.rows:
            raise SpecMismatch(f"{batch.num_rows} rows came for {request.rows} rows that were sent")
        written = self._written(request.number, batch)
        with self._lock:
            facts = {"request": request.number, "resent": resent, "written": written.to_dict()}
            self._note(ANSWERED, facts)
            self._answered[request.number] = written
            self._resent += again + resent

    def read(self, request: int) -> Any:
        """Return the record batch with the answer to a request.

        Raises `ConfigurationError` if it is not there.
        """
        import pyarrow as pa

        name = _name(request)
        if request not in self._answered:
            raise ConfigurationError(f"{self._store.name}: {name} is not there")
        with self._store.open(name) as file, pa.ipc.open_file(file) as reader:
            return reader.get_batch(0)

    def rows(self) -> Iterator[Any]:
        """Yield the answers in the order of the rows that were sent."""
        if self.plan is not None:
            for request in range(self.plan.requests):
                yield self.read(request)

    def _written(self, request: int, batch: Any) -> Written:
        import pyarrow as pa

        with self._store.create(_name(request)) as sink:
            with pa.ipc.new_file(sink, batch.schema) as writer:
                writer.write_batch(batch)
            return sink.written

    def _note(self, kind: str, facts: Mapping[str, Any]) -> None:
        self._manifest.append(Entry(kind, facts))

    def _take(self, entry: Entry) -> None:
        """Learn from a line of an earlier run."""
        facts = entry.facts
        match entry.kind, facts:
            case "plan", _:
                self.plan = Plan.from_dict(facts)
            case "sent", {"request": int(number)}:
                if number in self._sent:
                    self._resent += self._planned(number)
                self._sent[number] = self._sent.get(number, 0) + 1
            case "answered", {"request": int(number), "resent": int(resent), "written": written}:
                self._planned(number)
                self._resent += resent
                self._answered.pop(number, None)
                if self._store.holds(_name(number), found := Written.from_dict(written)):
                    self._answered[number] = found
            case _:
                raise ConfigurationError(
                    f"{self._store.name}: the manifest's {entry.kind:.20} is not expected"
                )

    def _planned(self, number: int) -> int:
        """Return the rows of a request that must be one of the plan."""
        if self.plan is None or not 0 <= number < self.plan.requests:
            raise ConfigurationError(f"{self._store.name}: request {number} is not planned")
        return self.plan.rows_of(number)


def _name(request: int) -> str:
    return f"answer-{request:08d}.arrow"
