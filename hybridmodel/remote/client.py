"""The remote route: ask an endpoint for outputs, and believe only an answer that adds up.

Each step adds one thing: `infer` cuts what is too large, `_ask` encodes and checks,
`hybridmodel.remote.attempts` tries again, and `hybridmodel.remote.exchange` sends one request.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from itertools import chain
from typing import Any

from hybridmodel.data.answer import Answer
from hybridmodel.data.tensors import Array, ModelSpec, TensorSpec
from hybridmodel.exceptions import (
    EndpointError,
    EndpointRefused,
    EndpointUnavailable,
    ProtocolError,
    SpecMismatch,
)
from hybridmodel.process import loops
from hybridmodel.process.bounded import Crew
from hybridmodel.process.counters import Counters
from hybridmodel.process.parallel import map_unordered
from hybridmodel.remote import answers
from hybridmodel.remote.attempts import EndpointState, Retrier, RetryPolicy, state_of
from hybridmodel.remote.endpoint_base import Endpoint
from hybridmodel.remote.exchange import Call, Exchanger, new_request_id
from hybridmodel.remote.gathering.gatherer import Gatherer
from hybridmodel.remote.http.transport import PooledTransport, Transport
from hybridmodel.remote.resilience import Clock, Deadline
from hybridmodel.remote.shared_memory.sharing import sharing_with
from hybridmodel.remote.sizes import RequestSizes
from hybridmodel.remote.trust.redirection import redirected
from hybridmodel.remote.wire.layouts import decode_metadata
from hybridmodel.remote.wire.protocol import Message
from hybridmodel.remote.wire.tensor_data import not_in_json
from hybridmodel.remote.writing import written_request
from hybridmodel.switch import AZURE

_CHUNKS_AT_A_TIME = 4
"""For one call: more would wait at the same server, and their answers take memory."""

_MOST_VERSIONS, _MOST_DIFFERENCES, _MOST_TENSORS = 5, 100, 2000
"""At most so many of those that a server names are shown."""

_log = logging.getLogger("hybridmodel")


class EndpointClient:
    """Talks to one model at one endpoint; safe to share between threads.

    Making one sends nothing. The transport is made once in each process. Tests replace the
    transport, the clock, the pauses and the state that all clients of an endpoint otherwise share.
    """

    vectors: tuple[str, ...] = ()
    """Outputs whose rows are embeddings, of which such an endpoint answers one at a time."""

    unanswered: tuple[str, ...] = ()
    """Outputs of the local model that such an endpoint never has."""

    def __init__(
        self,
        endpoint: Endpoint,
        spec: ModelSpec,
        credential: Any = None,
        *,
        make_transport: Callable[[Any], Transport] = PooledTransport,
        policy: RetryPolicy | None = None,
        sleep: Callable[[float], None] = loops.sleep,
        clock: Clock = time.monotonic,
        state: EndpointState | None = None,
    ) -> None:
        self.endpoint = endpoint = redirected(endpoint)
        self._spec = spec
        self._exchanger = Exchanger(endpoint, credential, make_transport, clock)
        self._state = state or state_of(endpoint)
        self._counters = Counters()
        policy = policy or RetryPolicy(endpoint.max_attempts)
        self._retrier = Retrier(self._exchanger, self._state, self._counters, policy, sleep)
        self._sizes = RequestSizes(endpoint, self._exchanger.max_batch_size, clock)
        self._gatherer: Gatherer | None = None
        if endpoint.coalesce_rows:
            self._gatherer = Gatherer(spec, self._exchanger, self._state, self._sizes, clock)
        self._sharing = sharing_with(endpoint, spec, self._exchanger, clock)
        if self._sharing is not None:
            weakref.finalize(self, self._sharing.close_later).atexit = False
        self._model_url = endpoint.model_url
        self._infer_url = f"{self._model_url}/infer"
        self._expected = lru_cache(64)(partial(answers.expected, spec))
        self._can_cut = lru_cache(64)(partial(answers.can_cut, spec))

    def infer(
        self,
        feeds: Mapping[str, Array],
        outputs: Sequence[str],
        *,
        rows: int | None = None,
        timeout_s: float | None = None,
        retry: bool = True,
        retry_parts: bool = False,
        deadline: Deadline | None = None,
        request_rows: int | None = None,
    ) -> Answer:
        """Ask for the named outputs, in several requests where one would be too large.

        `feeds` has every input in its declared dtype, and at least one row. `rows` is what every
        batched output must have. A caller with another answer at hand passes ``retry=False``,
        and `retry_parts` where the answers of other requests would be lost with it; one who may end
        the call early passes a `deadline` instead of `timeout_s`. With `request_rows` so many rows
        are sent at a time, and never fewer; see `request_rows`.

        Raises an `EndpointError` where no good answer came, `SpecMismatch` where its names,
        datatypes or shapes are not those of the local model, and `InputMismatch` where the request
        cannot be sent.
        """
        names = tuple(outputs)
        call = self._exchanger.begin(
            timeout_s,
            new_request_id(),
            deadline,
            retry=retry,
            feeds=feeds,
            outputs=names,
            rows=rows,
        )
        if rows is None or rows == 1 or not self._can_cut(names):
            return self._ask(call)
        size = min(rows, request_rows or self._sizes.rows_for(call, rows))
        while True:
            try:
                if size >= rows:
                    return self._ask(call)
                parts = replace(call, retry=retry or retry_parts)
                answer = self._ask_in_chunks(parts, rows, size)
                self._sizes.answered()
                return answer
            except EndpointRefused as error:
                size = self._sizes.fewer_rows(call, error, rows, size)
                if request_rows is not None:
                    raise

    def request_rows(
        self, feeds: Mapping[str, Array], rows: int, timeout_s: float | None = None
    ) -> int:
        """Return how many rows like these one request takes; the server is asked if need be.

        Raises `EndpointError` where no request can be begun, such as without a key.
        """
        return self._sizes.request_rows(self._exchanger.begin(timeout_s, feeds=feeds), rows)

    @property
    def hedging(self) -> Crew:
        """Threads in which requests to this endpoint may be waited for by who does not have to."""
        return self._state.hedging

    @property
    def clients(self) -> tuple[EndpointClient, ...]:
        """The clients of all endpoints that may be asked: this one alone."""
        return (self,)

    def deadline(self, timeout_s: float | None) -> Deadline:
        """Return the time of a call, by the clock of this client; default is the endpoint's."""
        return self._exchanger.deadline(timeout_s)

    @property
    def is_left_alone(self) -> bool:
        """Whether a call would raise `CircuitOpen` now, without sending anything."""
        return self._state.breaker.is_shut

    def rest(self, error: EndpointError, attempt: int, deadline: Deadline) -> float | None:
        """Pause, for so many seconds, before this endpoint is asked again; None if it is not.

        `attempt` is the number of the last one, from 1, which ended with `error`.
        """
        return self._retrier.rest(error, attempt, deadline)

    def metadata(self, timeout_s: float | None = None) -> ModelSpec:
        """Ask the endpoint for the inputs and outputs of its model."""
        call = self._exchanger.begin(timeout_s)
        reply = self._exchanger.exchange(call, self.endpoint.model_url)
        try:
            spec = decode_metadata(reply.header, answers.description_limit(self._spec))
        except ProtocolError as error:
            raise self._exchanger.with_context(call, error, reply) from None
        redaction = self._exchanger.redaction(call)

        def fit(tensors: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
            shown = tensors[:_MOST_TENSORS]
            return tuple(replace(item, name=redaction(item.name)) for item in shown)

        return ModelSpec(fit(spec.inputs), fit(spec.outputs))

    def is_ready(self, timeout_s: float | None = None) -> bool:
        """Tell whether the endpoint says that it can answer for this model now.

        Raises `EndpointError` where it could not be asked, or not with this key.
        """
        url = f"{self.endpoint.model_url}/ready"
        try:
            self._exchanger.exchange(self._exchanger.begin(timeout_s), url)
        except (EndpointRefused, EndpointUnavailable) as error:
            # Servers say "not ready" with one status or another; only silence is an error.
            if error.status is None:
                raise
            return False
        return True

    def stats(self) -> dict[str, float]:
        """Count what happened in this process; names are explained in `HybridOnnxModel.stats`."""
        state = self._state
        return {
            **self._counters.totals(),
            **({} if self._gatherer is None else self._gatherer.stats()),
            "circuit_open": int(state.breaker.is_open),
            "in_flight": state.limiter.running,
            "in_flight_limit": state.limiter.limit,
            "retries_left": state.budget.spare,
        }

    def close(self) -> None:
        """Close the connections of this process; the next call opens others."""
        if self._sharing is not None:
            self._sharing.close()
        self._exchanger.close()
        self._state.senders.close()

    def __repr__(self) -> str:
        return f"EndpointClient({self.endpoint!r})"

    def _ask(self, call: Call) -> Answer:
        """Ask for all rows in one request, which other calls may share."""
        if self._gatherer is None:
            return self._ask_alone(call)
        return self._gatherer.ask(call, self._ask_alone)

    def _ask_alone(self, call: Call) -> Answer:
        """Ask for all rows in a request for them."""
        binary = self._exchanger.speaks_binary or self._speaks_binary(call)
        request_id = call.request_id or ""
        message = written_request(call, request_id, binary)
        expected = self._expected(call.outputs, call.rows, binary)
        json_bytes = expected.limit.size_bytes

        def exchange(
            call: Call, message: Message, written: answers.Written | None = None
        ) -> tuple[answers.OutputsRead, int]:
            reply = self._exchanger.exchange(call, self._infer_url, message, json_bytes)
            try:
                read = answers.read_answer(call, reply, self._spec, expected, written)
                return read, reply.attempts
            except ProtocolError as error:
                raise self._exchanger.with_context(call, error, reply) from None

        def send(call: Call) -> tuple[answers.OutputsRead, int]:
            if self._sharing is None or not binary:
                return exchange(call, message)
            return self._sharing.ask(call, message, exchange)

        try:
            (arrays, version, found), attempts = self._retrier.run(call, send)
        except EndpointRefused as error:
            self._exchanger.doubt_binary()
            if not binary:
                error.hint = "; ".join(filter(None, (error.hint, not_in_json(call.feeds))))
            raise
        if found:
            raise self._mismatch(call, found)
        version = self._exchanger.version(call, version)
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("version %s answered request %s", version, request_id)
        if tuple(arrays) != call.outputs:
            arrays = {name: arrays[name] for name in call.outputs}
        return Answer(
            arrays,
            AZURE,
            attempts,
            model_version=version,
            request_id=request_id,
            endpoint=self._model_url,
            row_count=call.rows or 1,
        )

    def _speaks_binary(self, call: Call) -> bool:
        known = self._exchanger.speaks_binary or self._exchanger.binary
        return self._retrier.run(call, self._exchanger.ask_binary)[0] if known is None else known

    def _ask_in_chunks(self, call: Call, rows: int, size: int) -> Answer:
        """Ask for some rows at a time, several at once; all are answered, or it is an error."""
        self._speaks_binary(call)
        answered: list[Answer] = []
        call = replace(call, deadline=call.deadline.part())

        def ask(chunk: tuple[slice, Mapping[str, Array]]) -> tuple[slice, Mapping[str, Array]]:
            part, feeds = chunk
            count = part.stop - part.start
            answer = self._ask(replace(call, feeds=feeds, rows=count, first_row=part.start))
            answered.append(answer)
            return part, answer.outputs

        most = min(_CHUNKS_AT_A_TIME, self.endpoint.max_in_flight, -(-rows // size))
        chunks, crew = answers.cut(call.feeds, rows, size), self._state.chunks
        try:
            # While the breaker is open the first is its probe, and no other is let through.
            first = [ask(next(chunks))] if self._state.breaker.is_open else []
            parts = map_unordered(ask, chunks, most, crew=crew, name="hybridmodel-chunk")
            joined = answers.join(chain(first, parts), rows, self._spec)
        except ProtocolError as error:
            raise error if error.endpoint else self._exchanger.with_context(call, error) from None
        finally:
            # Of an error, or of Ctrl-C, the requests that are still under way learn by their time.
            call.deadline.end()
        attempts = sum(answer.attempts for answer in answered)
        version = self._version_of(answered)
        return replace(
            answered[0], outputs=joined, attempts=attempts, model_version=version, row_count=rows
        )

    def _version_of(self, answered: Sequence[Answer]) -> str | None:
        """Return the version that answered the parts of a call; warn where there were several."""
        versions = sorted({answer.model_version or "" for answer in answered})
        shown = versions[:_MOST_VERSIONS]
        if len(versions) > 1:
            _log.warning(
                "%s: versions %s of the model answered for parts of one call; pin one by "
                "model_version or deployment",
                self.endpoint.model_url,
                " and ".join(shown),
            )
        return ", ".join(shown) or None

    def _mismatch(self, call: Call, found: tuple[str, ...]) -> SpecMismatch:
        redaction = self._exchanger.redaction(call)
        shown = tuple(map(redaction, found[:_MOST_DIFFERENCES]))
        if len(found) > len(shown):
            shown += (f"and {len(found) - len(shown)} more",)
        said = "the answer is not what the local model would give"
        return SpecMismatch(f"{self.endpoint.model_url}: {said}: {'; '.join(shown)}", shown)


stand_ins: list[Callable[[Any, Any], EndpointClient]] = []
"""The last one makes the client of each new model: `hybridmodel.testing` puts it there."""
