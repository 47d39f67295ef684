"""Several endpoints in order: the first that is available answers, within the time of a call."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from hybridmodel.data.answer import Answer
from hybridmodel.data.tensors import Array, ModelSpec
from hybridmodel.exceptions import (
    CircuitOpen,
    ConfigurationError,
    EndpointError,
    EndpointUnavailable,
    SpecMismatch,
)
from hybridmodel.process.bounded import Crew
from hybridmodel.process.counters import Counters
from hybridmodel.remote.client import EndpointClient, stand_ins
from hybridmodel.remote.clients import client_of
from hybridmodel.remote.faults import fault_of
from hybridmodel.remote.redaction import escaped
from hybridmodel.remote.resilience import Deadline

if TYPE_CHECKING:
    from hybridmodel.remote.endpoint_base import Endpoint

_SHARE = 0.5
"""Of the time left, for an endpoint after which another one may be asked."""

_LONGEST_SHOWN = 2000

_log = logging.getLogger("hybridmodel")

T = TypeVar("T")
_Failures = dict[EndpointClient, EndpointUnavailable]


class RegionsClient:
    """Asks several endpoints for one model, as `EndpointClient` asks one; as safe to share.

    An endpoint that is unavailable, as `AzureFirst` understands it, is passed over at once and
    without a pause; each has its own circuit breaker, key and permission. It is asked again in a
    second round, after the usual pause, only if no endpoint has answered. Where a call takes
    several requests, each is tried again before the endpoint is passed over, since the answers to
    the others would be lost. Any other error is the answer: it would stay unnoticed otherwise.
    """

    def __init__(self, clients: Sequence[EndpointClient]) -> None:
        self.clients = tuple(clients)
        self.hedging = Crew(self.endpoint.max_in_flight)
        self._counters = Counters()
        self._is_passing_over = False

    @property
    def endpoint(self) -> Endpoint:
        """The first endpoint, which says how long a call may take."""
        return self.clients[0].endpoint

    @property
    def vectors(self) -> tuple[str, ...]:
        """Outputs whose rows are embeddings, of which such endpoints answer one at a time."""
        return self.clients[0].vectors

    @property
    def unanswered(self) -> tuple[str, ...]:
        """Outputs of the local model that such endpoints never have."""
        return self.clients[0].unanswered

    def deadline(self, timeout_s: float | None) -> Deadline:
        """Return the time of a call; default is the first endpoint's."""
        return self.clients[0].deadline(timeout_s)

    def infer(
        self,
        feeds: Mapping[str, Array],
        outputs: Sequence[str],
        *,
        rows: int | None = None,
        timeout_s: float | None = None,
        retry: bool = True,
        deadline: Deadline | None = None,
        request_rows: int | None = None,
    ) -> Answer:
        """Ask for the named outputs; see `EndpointClient.infer`.

        Raises the last endpoint's error where none of them is available.
        """

        def ask(client: EndpointClient, part: Deadline) -> Answer:
            answer = client.infer(
                feeds,
                outputs,
                rows=rows,
                retry=False,
                retry_parts=retry,
                deadline=part,
                request_rows=request_rows,
            )
            self._counters.add(f"{self.clients.index(client) + 1}.calls")
            return answer

        answer, attempts = self._first(ask, deadline or self.deadline(timeout_s), retry)
        return replace(answer, attempts=answer.attempts + attempts) if attempts else answer

    def request_rows(
        self, feeds: Mapping[str, Array], rows: int, timeout_s: float | None = None
    ) -> int:
        """Return how many rows like these one request takes, whichever endpoint gets it."""
        deadline = self.deadline(timeout_s)
        asked = (
            client.request_rows(feeds, rows, deadline.check("endpoints were asked"))
            for client in self.clients
        )
        return min(asked)

    def metadata(self, timeout_s: float | None = None) -> ModelSpec:
        """Ask the first endpoint that is available for the inputs and outputs of its model."""
        deadline = self.deadline(timeout_s)
        return self._first(lambda client, part: client.metadata(part.timeout_s), deadline)[0]

    def stats(self) -> dict[str, float]:
        """Count what happened in this process: in all, and for each endpoint by its number."""
        total: defaultdict[str, float] = defaultdict(int)
        each: dict[str, float] = {}
        for number, client in enumerate(self.clients, 1):
            said = client.stats()
            for name, count in said.items():
                total[name] += count
            each |= {f"{number}.{name}": count for name, count in said.items()}
        if requests := total.get("gathered.requests"):
            each["gathered.calls_per_request"] = total["gathered.calls"] / requests
        return {**total, **each, **self._counters.totals()}

    def close(self) -> None:
        """Close the connections of this process; the next call opens others."""
        for client in self.clients:
            client.close()

    def __repr__(self) -> str:
        return f"RegionsClient({', '.join(repr(client.endpoint) for client in self.clients)})"

    def _first(
        self, ask: Callable[[EndpointClient, Deadline], T], deadline: Deadline, retry: bool = False
    ) -> tuple[T, int]:
        """Return the first answer, and how many requests were sent in vain before it."""
        failed: _Failures = {}
        attempts, rounds, asked = 0, 0, self.clients
        try:
            while asked:
                rounds += 1
                for client, part in _in_turn(asked, deadline):
                    try:
                        answer = ask(client, part)
                    except EndpointUnavailable as error:
                        attempts += error.attempts
                        failed[client] = error
                        self._pass_over(client, error)
                    except EndpointError as error:
                        error.attempts += attempts
                        raise
                    else:
                        if client is self.clients[0]:
                            self._is_passing_over = False
                        return answer, attempts
                asked = _asked_again(failed, rounds, deadline) if retry else ()
            raise _together(failed, attempts)
        finally:
            failed.clear()  # Errors refer to this frame, and so to the data of the call.

    def _pass_over(self, client: EndpointClient, error: EndpointUnavailable) -> None:
        """Count that an endpoint was unavailable; warn of the first in a row."""
        self._counters.add("passed_over")
        level = logging.DEBUG if self._is_passing_over else logging.WARNING
        self._is_passing_over = True
        text = escaped(str(error))[:_LONGEST_SHOWN]
        _log.log(level, "%s is passed over: %s", client.endpoint.model_url, text)


AnyClient = EndpointClient | RegionsClient
"""What asks the endpoint of a model, or its endpoints."""


def connected(model: Any, credential: Any) -> AnyClient | None:
    """Make what asks the endpoints of a `HybridOnnxModel`; None if it has none."""
    make = stand_ins[-1] if stand_ins else None
    given = zip(model.endpoints, credentials_of(credential, model.endpoints), strict=True)
    clients = [
        (make and make(model, endpoint)) or client_of(endpoint, model.spec, own)
        for endpoint, own in given
    ]
    return RegionsClient(clients) if len(clients) > 1 else next(iter(clients), None)


def credentials_of(credential: Any, endpoints: Sequence[Endpoint]) -> tuple[Any, ...]:
    """Return the credential of each endpoint.

    What gives tokens of Entra ID gives them to all. A key is good for one endpoint, and no other
    gets it: several have a list of credentials, in which None stands for the endpoint's variable.
    """
    if len(endpoints) > 1 and isinstance(credential, (list, tuple)):
        if len(credential) != len(endpoints):
            raise ConfigurationError(
                f"credential has {len(credential)} items for {len(endpoints)} endpoints; give one "
                "for each, None for a key in the endpoint's variable"
            )
        return tuple(credential)
    if len(endpoints) > 1 and credential is not None and not hasattr(credential, "get_token"):
        raise ConfigurationError(
            "credential is a function, and the model has several endpoints, each with a key of its "
            "own: give a list with one credential for each, None for a key in the endpoint's "
            "variable"
        )
    return (credential,) * len(endpoints)


def check_served(
    client: AnyClient, spec: ModelSpec, scored: Collection[str], timeout_s: float | None
) -> ModelSpec:
    """Compare the description of each endpoint with the local model, and return the first one.

    An endpoint may lack the outputs that are `scored`.

    Raises `SpecMismatch` with the differences of all endpoints, and `EndpointError` where one of
    them gave no description.
    """
    deadline = client.deadline(timeout_s)
    described: list[ModelSpec] = []
    found: list[SpecMismatch] = []
    for one in client.clients:
        described.append(one.metadata(deadline.check("the endpoints were compared")))
        try:
            local_only = (*scored, *one.unanswered)
            spec.check_served(described[-1], one.endpoint.model_url, local_only)
        except SpecMismatch as error:
            found.append(error)
    if found:
        differences = tuple(item for error in found for item in error.differences)
        raise SpecMismatch("; ".join(map(str, found)), differences)
    return described[0]


def _in_turn(
    clients: Sequence[EndpointClient], deadline: Deadline
) -> Iterator[tuple[EndpointClient, Deadline]]:
    """Yield endpoints while there is time, each with all of it unless another may be asked then."""
    for place, client in enumerate(clients):
        if place and deadline.remaining_s() <= 0:
            return
        is_last = all(one.is_left_alone for one in clients[place + 1 :])
        yield client, deadline.part(1.0 if is_last else _SHARE)


def _asked_again(failed: _Failures, attempt: int, deadline: Deadline) -> tuple[EndpointClient, ...]:
    """Pause, and return the endpoints to ask in another round: none where nothing would change."""
    for client, error in sorted(failed.items(), key=lambda item: item[1].retry_after_s or 0.0):
        pause_s = client.rest(error, attempt, deadline)
        if pause_s is not None:
            return tuple(one for one in failed if _may_answer(failed[one], pause_s))
    return ()


def _may_answer(error: EndpointUnavailable, pause_s: float) -> bool:
    """Tell whether an endpoint may answer the same request after a pause."""
    if isinstance(error, CircuitOpen):
        return True  # To ask costs nothing while it is open.
    return fault_of(error).retry == "yes" and (error.retry_after_s or 0.0) <= pause_s


def _together(failed: _Failures, attempts: int) -> EndpointUnavailable:
    """Return the last error that says more than that nothing was sent, with the others in it."""
    said = [error for error in failed.values() if not isinstance(error, CircuitOpen)]
    last = (said or list(failed.values()))[-1]
    others = [f"{error.endpoint}: {type(error).__name__}" for error in failed.values()]
    del others[list(failed.values()).index(last)]
    pauses_s = [error.retry_after_s for error in failed.values() if error.retry_after_s is not None]
    last.retry_after_s = min(pauses_s, default=None)
    last.attempts = attempts
    last.hint = "; ".join(filter(None, (last.hint, f"unavailable as well: {', '.join(others)}")))
    return last
