"""OpenTelemetry for applications that have set it up; others pay almost nothing.

Uses only its API, and only if the application has imported it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

_API = "opentelemetry.trace"


def active_tracer() -> Tracer | None:
    """Return the application's tracer, None where it has no tracer provider."""
    api = sys.modules.get(_API)
    # A private name of today's API, because `get_tracer_provider` reads the environment each time.
    if api is None or vars(api).get("_TRACER_PROVIDER", api) is None:
        return None
    provider: Any = api.get_tracer_provider()
    # The API's own providers do nothing; an SDK has its own.
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
