"""The OpenTelemetry span of one call.

Names of attributes are those of the semantic conventions where these have one
(https://opentelemetry.io/docs/specs/semconv/).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hybridmodel.exceptions import EndpointError
from hybridmodel.switch import LOCAL

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

    from hybridmodel.remote.endpoint import TritonEndpoint
    from hybridmodel.routing.routed import Ask, Routed


@contextmanager
def predicting(
    tracer: Tracer, policy: Any, ask: Ask, endpoint: TritonEndpoint | None
) -> Iterator[Callable[[Routed], None]]:
    """Make the span of one call, and yield the function that takes in how it was answered.

    Parameters
    ----------
    tracer : Tracer
        From `hybridmodel.process.tracing.active_tracer`.
    policy : Policy or callable
        Who is to answer.
    ask : Ask
        The call.
    endpoint : TritonEndpoint or None
        Of the model.
    """
    from opentelemetry.trace import SpanKind

    mode = getattr(policy, "mode", "function")
    asked = None if mode == LOCAL else endpoint
    kind = SpanKind.INTERNAL if asked is None else SpanKind.CLIENT
    attributes = {
        "hybridmodel.mode": mode,
        "hybridmodel.rows": 1 if ask.bound.rows is None else ask.bound.rows,
        **_place(asked),
    }
    with tracer.start_as_current_span(
        "hybridmodel.predict", kind=kind, attributes=attributes
    ) as it:
        try:
            yield lambda routed: _note(it, routed)
        except Exception as error:
            _note_error(it, error)
            raise


def _place(endpoint: TritonEndpoint | None) -> dict[str, Any]:
    if endpoint is None:
        return {}
    place = urlsplit(endpoint.uri)
    return {
        "server.address": place.hostname,
        "server.port": place.port or (443 if place.scheme == "https" else 80),
        "hybridmodel.model_name": endpoint.model_name,
    }


def _note_error(span: Span, error: Exception) -> None:
    span.set_attribute("error.type", type(error).__name__)
    if isinstance(error, EndpointError):
        span.set_attribute("hybridmodel.attempts", error.attempts)
        if error.status is not None:
            span.set_attribute("http.response.status_code", error.status)


def _note(span: Span, routed: Routed) -> None:
    span.set_attribute("hybridmodel.route", routed.route)
    if routed.from_azure is not None:
        span.set_attribute("hybridmodel.rows_azure", int(routed.from_azure.sum()))
    if routed.there is None:
        return
    span.set_attribute("hybridmodel.attempts", routed.there.attempts)
    span.set_attribute("http.response.status_code", 200)
    span.set_attribute("hybridmodel.request_id", routed.there.request_id)
    if routed.there.model_version is not None:
        span.set_attribute("hybridmodel.model_version", routed.there.model_version)
