"""The remote route: ask an endpoint for outputs, and believe only an answer that adds up.

Each step adds one thing: `infer` cuts what is too large, `_ask` encodes and checks,
`hybridmodel.remote.retrier` tries again, and `hybridmodel.remote.exchange` sends one request.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np

from hybridmodel.data.answer import Answer
from hybridmodel.data.tensors import ModelSpec, TensorSpec
from hybridmodel.exceptions import (
    EndpointError,
    EndpointRefused,
    EndpointUnavailable,
    ProtocolError,
    SpecMismatch,
)
from hybridmodel.process.bounded import Crew
from hybridmodel.process.counters import Counters
from hybridmodel.process.parallel import map_unordered
from hybridmodel.remote.chunks import can_cut, cut, join, one_version
from hybridmodel.remote.endpoint import TritonEndpoint
from hybridmodel.remote.endpoint_state import EndpointState, state_of
from hybridmodel.remote.exchange import Call, Exchanger, new_request_id
from hybridmodel.remote.http.transport import PooledTransport, Transport
from hybridmodel.remote.reading import OutputsRead, read_answer
from hybridmodel.remote.redaction import Redaction
from hybridmodel.remote.resilience import Deadline, RetryPolicy
from hybridmodel.remote.retrier import Retrier
from hybridmodel.remote.sizes import RequestSizes
from hybridmodel.remote.wire.json_text import answer_limit, description_limit
from hybridmodel.remote.wire.metadata import decode_metadata
from hybridmodel.remote.wire.protocol import encode_request
from hybridmodel.remote.wire.tensor_data import not_in_json
from hybridmodel.switch import AZURE

Array = np.ndarray[Any, Any]

_CHUNKS_AT_A_TIME = 4
"""Of one call: more only queue at the same server, and hold the memory of their answers."""

_MOST_DIFFERENCES, _MOST_TENSORS = 100, 2000
"""That are named, of what a server says; more than any model has are no news."""

_log = logging.getLogger("hybridmodel")


class EndpointClient:
    """Talks to one model at one endpoint; safe to share between threads, makes no call when made.

    Parameters
    ----------
    endpoint : TritonEndpoint
        Where.
    spec : ModelSpec
        What the local model takes and gives, which the endpoint has to match.
    credential : object, optional
        As `hybridmodel.remote.trust.credentials.key_source` takes it.
    make_transport : callable, default=PooledTransport
        Makes the transport, once in each process.
    policy : RetryPolicy, optional
        How often, and after which pauses, an infer request is sent again; by default as often as
        the endpoint says.
    sleep : callable, default=time.sleep
        Waits for so many seconds.
    clock : callable, default=time.monotonic
        Tells the time in seconds, for deadlines, and for what was learned of the endpoint and may
        have changed.
    state : EndpointState, optional
        Instead of the one that all clients of the endpoint share.

    Raises
    ------
    ConfigurationError
        If the credential is of no known kind.
    """

    def __init__(
        self,
        endpoint: TritonEndpoint,
        spec: ModelSpec,
        credential: Any = None,
        *,
        make_transport: Callable[[TritonEndpoint], Transport] = PooledTransport,
        policy: RetryPolicy | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        state: EndpointState | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._spec = spec
        self._exchanger = Exchanger(endpoint, credential, make_transport, clock)
        self._state = state or state_of(endpoint)
        self._counters = Counters()
        policy = policy or RetryPolicy(endpoint.max_attempts)
        self._retrier = Retrier(self._exchanger, self._state, self._counters, policy, sleep)
        self._sizes = RequestSizes(endpoint, self._exchanger.max_batch_size, clock)
        self._infer_url = f"{endpoint.model_url}/infer"
        self._limit = lru_cache(64)(partial(answer_limit, spec))
        self._can_cut = lru_cache(64)(partial(can_cut, spec))

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
        """Ask for the named outputs, in several requests where one would be too large.

        Parameters
        ----------
        feeds : mapping of str to ndarray
            Every input by name, in its declared dtype; at least one row.
        outputs : sequence of str
            Names, in the order wanted.
        rows : int, optional
            Rows that every batched output must have.
        timeout_s : float, optional
            Total time; default is the endpoint's.
        retry : bool, default=True
            Whether to try again after a pause; False is for who has another answer at hand.
        deadline : Deadline, optional
            Instead of `timeout_s`, for who may end it sooner.
        request_rows : int, optional
            Send so many rows at a time, and never fewer; see `request_rows`.

        Raises
        ------
        EndpointError
            One of its kinds, when no good answer came.
        SpecMismatch
            When the answer has other names, datatypes or shapes than the local model.
        InputMismatch
            When the request is too large to be sent.
        """
        call = self._begin(timeout_s, new_request_id(), deadline)
        if not retry:
            call = replace(call, retry=False)
        if rows is None or rows == 1 or not self._can_cut(tuple(outputs)):
            return self._ask(call, feeds, outputs, rows)
        size = min(rows, request_rows or self._sizes.rows_for(call, feeds, rows))
        while True:
            try:
                if size >= rows:
                    return self._ask(call, feeds, outputs, rows)
                answer = self._ask_in_chunks(call, feeds, outputs, rows, size)
                self._sizes.answered()
                return answer
            except EndpointRefused as error:
                size = self._sizes.fewer_rows(call, error, feeds, rows, size)
                if request_rows is not None:
                    raise

    def request_rows(
        self, feeds: Mapping[str, Array], rows: int, timeout_s: float | None = None
    ) -> int:
        """Return how many rows like so many one request takes; the server is asked if need be.

        Raises
        ------
        EndpointError
            If no request can be begun, such as without a key.
        """
        return self._sizes.told_for(self._begin(timeout_s), feeds, rows)

    @property
    def hedging(self) -> Crew:
        """Threads in which requests to this endpoint may be waited for by who does not have to."""
        return self._state.hedging

    def metadata(self, timeout_s: float | None = None) -> ModelSpec:
        """Ask the endpoint for the inputs and outputs of its model.

        Raises
        ------
        EndpointError
            One of its kinds, when no good answer came.
        """
        call = self._begin(timeout_s)
        reply = self._exchanger.exchange(call, "GET", self.endpoint.model_url)
        try:
            spec = decode_metadata(reply.header, description_limit(self._spec))
        except ProtocolError as error:
            raise self._exchanger.with_context(call, error, reply) from None
        redaction = self._exchanger.redaction(call)
        return ModelSpec(*(_fit(tensors, redaction) for tensors in (spec.inputs, spec.outputs)))

    def is_ready(self, timeout_s: float | None = None) -> bool:
        """Tell whether the endpoint says that it can answer for this model now.

        Raises
        ------
        EndpointError
            When it could not be asked, or not with this key.
        """
        url = f"{self.endpoint.model_url}/ready"
        try:
            self._exchanger.exchange(self._begin(timeout_s), "GET", url)
        except (EndpointRefused, EndpointUnavailable) as error:
            # Servers say "not ready" with one status or another; only silence is no answer.
            if error.status is None:
                raise
            return False
        return True

    def stats(self) -> dict[str, int]:
        """Count what happened in this process; names are explained in `HybridOnnxModel.stats`."""
        state = self._state
        return {
            **self._counters.totals(),
            "circuit_open": int(state.breaker.is_open),
            "in_flight": state.limiter.running,
            "in_flight_limit": state.limiter.limit,
        }

    def close(self) -> None:
        """Close the connections of this process; the next call opens others."""
        self._exchanger.close()

    def __repr__(self) -> str:
        return f"EndpointClient({self.endpoint!r})"

    def _begin(
        self,
        timeout_s: float | None,
        request_id: str | None = None,
        deadline: Deadline | None = None,
    ) -> Call:
        try:
            return self._exchanger.begin(timeout_s, request_id, deadline)
        except EndpointError as error:
            error.endpoint, error.request_id = self.endpoint.model_url, request_id
            error.attempts = 0
            raise

    def _ask(
        self, call: Call, feeds: Mapping[str, Array], outputs: Sequence[str], rows: int | None
    ) -> Answer:
        binary = self._speaks_binary(call)
        message = encode_request(feeds, outputs, request_id=call.request_id or "", binary=binary)
        limit = self._limit(tuple(outputs), rows, binary)

        def send(call: Call) -> tuple[OutputsRead, int]:
            reply = self._exchanger.exchange(
                call, "POST", self._infer_url, message, limit.size_bytes
            )
            try:
                read = read_answer(call, reply, self._spec, outputs, rows, limit)
            except ProtocolError as error:
                raise self._exchanger.with_context(call, error, reply) from None
            return read, reply.attempts

        try:
            (arrays, version, found), attempts = self._retrier.run(call, send)
        except EndpointRefused as error:
            self._exchanger.doubt_binary()
            if not binary:
                error.hint = "; ".join(filter(None, (error.hint, not_in_json(feeds))))
            raise
        if found:
            raise self._mismatch(call, found)
        version = self._exchanger.version(call, version)
        _log.debug("version %s answered request %s", version, call.request_id)
        return Answer(
            {name: arrays[name] for name in outputs},
            AZURE,
            attempts,
            model_version=version,
            request_id=call.request_id or "",
            row_count=rows or 1,
        )

    def _speaks_binary(self, call: Call) -> bool:
        known = self._exchanger.binary
        return self._retrier.run(call, self._exchanger.ask_binary)[0] if known is None else known

    def _ask_in_chunks(
        self,
        call: Call,
        feeds: Mapping[str, Array],
        outputs: Sequence[str],
        rows: int,
        size: int,
    ) -> Answer:
        """Ask for some rows at a time, several at once; all are answered, or it is an error."""
        self._speaks_binary(call)
        answers: list[Answer] = []
        call = replace(call, deadline=call.deadline.part())

        def ask(chunk: tuple[slice, Mapping[str, Array]]) -> tuple[slice, Mapping[str, Array]]:
            part, chunk_feeds = chunk
            answer = self._ask(call, chunk_feeds, outputs, part.stop - part.start)
            answers.append(answer)
            return part, answer.outputs

        most = min(_CHUNKS_AT_A_TIME, self.endpoint.max_in_flight, -(-rows // size))
        try:
            chunks = cut(feeds, rows, size)
            parts = map_unordered(
                ask, chunks, most, crew=self._state.chunks, name="hybridmodel-chunk"
            )
            joined = join(parts, rows, self._spec)
        except ProtocolError as error:
            raise error if error.endpoint else self._exchanger.with_context(call, error) from None
        finally:
            # Of an error, or of Ctrl-C, the requests that are still under way learn by their time.
            call.deadline.end()
        attempts = sum(answer.attempts for answer in answers)
        version = one_version(answers, self.endpoint.model_url)
        return replace(
            answers[0], outputs=joined, attempts=attempts, model_version=version, row_count=rows
        )

    def _mismatch(self, call: Call, found: tuple[str, ...]) -> SpecMismatch:
        redaction = self._exchanger.redaction(call)
        shown = tuple(map(redaction, found[:_MOST_DIFFERENCES]))
        if len(found) > len(shown):
            shown += (f"and {len(found) - len(shown)} more",)
        return SpecMismatch(
            f"{self.endpoint.model_url}: the answer is not what the local model would give: "
            + "; ".join(shown),
            shown,
        )


stand_ins: list[Callable[[Any, TritonEndpoint], EndpointClient]] = []
"""The last one makes the client of each new model: `hybridmodel.testing` puts it there."""


def _fit(tensors: tuple[TensorSpec, ...], redaction: Redaction) -> tuple[TensorSpec, ...]:
    """Make the names that a server gives to its tensors fit to be shown."""
    return tuple(replace(item, name=redaction(item.name)) for item in tensors[:_MOST_TENSORS])
