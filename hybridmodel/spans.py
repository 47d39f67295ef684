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
from hybridmodel.routing.switch import LOCAL

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
        From `hybridmodel.tracing.active_tracer`.
    policy : Policy or callable
        Who is to answer.
    ask : Ask
        The call.
    endpoint : TritonEndpoint or None
        Of the model.
    """
    from opentelemetry.trace import SpanKind

    mode = getattr(policy, "mode", "function")
    attributes: dict[str, Any] = {
        "hybridmodel.mode": mode,
        "hybridmodel.rows": 1 if ask.bound.rows is None else ask.bound.rows,
    }
    local = mode == LOCAL or endpoint is None
    if endpoint is not None and not local:
        place = urlsplit(endpoint.uri)
        attributes["server.address"] = place.hostname
        attributes["server.port"] = place.port or (443 if place.scheme == "https" else 80)
        attributes["hybridmodel.model_name"] = endpoint.model_name
    kind = SpanKind.INTERNAL if local else SpanKind.CLIENT
    with tracer.start_as_current_span(
        "hybridmodel.predict", kind=kind, attributes=attributes
    ) as it:
        try:
            yield lambda routed: _note(it, routed)
        except Exception as error:
            it.set_attribute("error.type", type(error).__name__)
            if isinstance(error, EndpointError):
                it.set_attribute("hybridmodel.attempts", error.attempts)
                if error.status is not None:
                    it.set_attribute("http.response.status_code", error.status)
            raise


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
