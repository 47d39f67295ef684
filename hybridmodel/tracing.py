"""OpenTelemetry spans, for applications that have set it up; without one they cost next to nothing.

Only the API is used, and only after somebody else has imported it. Names of attributes are those of
the semantic conventions where these have one (https://opentelemetry.io/docs/specs/semconv/).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hybridmodel.exceptions import EndpointError

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

    from hybridmodel.remote.answers import RemoteAnswer
    from hybridmodel.remote.endpoint import TritonEndpoint

_API = "opentelemetry.trace"


def active_tracer() -> Tracer | None:
    """Return the application's tracer, None where it has no tracer provider."""
    api = sys.modules.get(_API)
    if api is None:
        return None
    provider: Any = api.get_tracer_provider()
    # The API's own providers do nothing; an SDK's come from elsewhere.
    if type(provider).__module__.startswith(_API):
        return None
    tracer: Tracer = provider.get_tracer("hybridmodel")
    return tracer


def trace_context() -> Mapping[str, str]:
    """Return the headers that continue the current trace at the server (W3C Trace Context)."""
    if active_tracer() is None:
        return {}
    from opentelemetry.propagate import inject

    headers: dict[str, str] = {}
    inject(headers)
    return headers


@contextmanager
def predicting(
    tracer: Tracer, route: str, rows: int, endpoint: TritonEndpoint | None
) -> Iterator[Callable[[RemoteAnswer | None], None]]:
    """Make the span of one call, and yield the function that takes in how it was answered.

    Parameters
    ----------
    tracer : Tracer
        From `active_tracer`.
    route : str
        Of the call.
    rows : int
        That it asks for.
    endpoint : TritonEndpoint or None
        That is asked; None for the local route.
    """
    from opentelemetry.trace import SpanKind

    attributes: dict[str, Any] = {"hybridmodel.route": route, "hybridmodel.rows": rows}
    if endpoint is not None:
        place = urlsplit(endpoint.uri)
        attributes["server.address"] = place.hostname
        attributes["server.port"] = place.port or (443 if place.scheme == "https" else 80)
        attributes["hybridmodel.model_name"] = endpoint.model_name
    kind = SpanKind.INTERNAL if endpoint is None else SpanKind.CLIENT
    with tracer.start_as_current_span(
        "hybridmodel.predict", kind=kind, attributes=attributes
    ) as it:
        try:
            yield lambda answer: _note(it, answer)
        except Exception as error:
            it.set_attribute("error.type", type(error).__name__)
            if isinstance(error, EndpointError):
                it.set_attribute("hybridmodel.attempts", error.attempts)
                if error.status is not None:
                    it.set_attribute("http.response.status_code", error.status)
            raise


def _note(span: Span, answer: RemoteAnswer | None) -> None:
    if answer is None:
        return
    span.set_attribute("hybridmodel.attempts", answer.attempts)
    span.set_attribute("http.response.status_code", 200)
    span.set_attribute("hybridmodel.request_id", answer.request_id)
    if answer.model_version is not None:
        span.set_attribute("hybridmodel.model_version", answer.model_version)
