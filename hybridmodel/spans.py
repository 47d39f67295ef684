"""The OpenTelemetry span of one call.

Attributes have the names of the semantic conventions where these define one
(https://opentelemetry.io/docs/specs/semconv/).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from hybridmodel.exceptions import EndpointError
from hybridmodel.process.tracing import harmless, opened
from hybridmodel.remote.address import UNIX, Place, read_address
from hybridmodel.switch import LOCAL

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

    from hybridmodel.data.answer import Answer
    from hybridmodel.remote.endpoint_base import Endpoint
    from hybridmodel.routing.routes import Request

T = TypeVar("T")


@contextmanager
def predicting(
    tracer: Tracer, policy: Any, request: Request, endpoint: Endpoint | None
) -> Iterator[Callable[[Answer], None]]:
    """Start the span of one call, and yield the function that records its answer."""
    from opentelemetry.trace import SpanKind

    mode = getattr(policy, "mode", "function")
    server = None if mode == LOCAL else endpoint
    kind = SpanKind.INTERNAL if server is None else SpanKind.CLIENT
    attributes = {
        "hybridmodel.mode": mode,
        "hybridmodel.rows": 1 if request.bound.rows is None else request.bound.rows,
        **_server(server),
    }

    def start() -> AbstractContextManager[Span]:
        return tracer.start_as_current_span("hybridmodel.predict", kind=kind, attributes=attributes)

    with opened(start) as span:
        try:
            yield partial(_record, _record_answer, span)
        except Exception as error:
            _record(_record_error, span, error)
            raise


def _record(write: Callable[[Span, T], None], span: Span | None, found: T) -> None:
    if span is not None:
        with harmless():
            write(span, found)


def _server(endpoint: Endpoint | None) -> dict[str, Any]:
    if endpoint is None:
        return {}
    return {**_server_of(endpoint.place), "hybridmodel.model_name": endpoint.served_name}


def _server_of(place: Place) -> dict[str, Any]:
    """Return where a server is; of several endpoints, it is known once one has answered."""
    # The conventions of OpenTelemetry: a socket has its path as address, and no port.
    port = {} if place.scheme == UNIX else {"server.port": place.port}
    return {"server.address": place.host, **port}


def _record_error(span: Span, error: Exception) -> None:
    span.set_attribute("error.type", type(error).__name__)
    if isinstance(error, EndpointError):
        _record_attempts(span, error.attempts)
        _record_shared(span, error.shared_request_id)
        if error.status is not None:
            span.set_attribute("http.response.status_code", error.status)


def _record_attempts(span: Span, attempts: int) -> None:
    """Record how many requests were sent; none is no HTTP, and the first is no resend."""
    span.set_attribute("hybridmodel.attempts", attempts)
    if attempts:
        span.set_attribute("http.request.method", "POST")
    if attempts > 1:
        span.set_attribute("http.request.resend_count", attempts - 1)


def _record_answer(span: Span, answer: Answer) -> None:
    span.set_attribute("hybridmodel.route", answer.route)
    if answer.remote_rows is not None:
        span.set_attribute("hybridmodel.rows_azure", int(answer.remote_rows.sum()))
    if answer.request_id is None:
        return
    _record_attempts(span, answer.attempts)
    span.set_attribute("http.response.status_code", 200)
    span.set_attribute("hybridmodel.request_id", answer.request_id)
    if answer.endpoint is not None:
        span.set_attributes(_server_of(read_address(answer.endpoint.partition("/v2/")[0]).place))
    _record_shared(span, answer.shared_request_id)
    if answer.model_version is not None:
        span.set_attribute("hybridmodel.model_version", answer.model_version)


def _record_shared(span: Span, request_id: str | None) -> None:
    """Name the request that went for several calls, as its own span does."""
    if request_id is not None:
        span.set_attribute("hybridmodel.shared_request_id", request_id)
