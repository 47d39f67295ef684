"""OpenTelemetry for applications that have set it up; others pay almost nothing.

Uses only its API, and only if the application has imported it. What the application's tracer raises
changes neither an answer nor an error.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

_API = "opentelemetry.trace"

_log = logging.getLogger("hybridmodel")


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
    try:
        tracer: Tracer = provider.get_tracer("hybridmodel")
    except Exception as error:  # noqa: BLE001 - the application's own code.
        _tell(error)
        return None
    return tracer


@contextmanager
def harmless() -> Iterator[None]:
    """Log what the application's tracer raises, and go on."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - the application's own code.
        _tell(error)


def _tell(error: Exception) -> None:
    _log.debug("a trace is not complete: %s", type(error).__name__)


@contextmanager
def opened(start: Callable[[], AbstractContextManager[Span]]) -> Iterator[Span | None]:
    """Enter the span that `start` makes, and leave it; None where the tracer raises."""
    context, span = None, None
    with harmless():
        context = start()
        span = context.__enter__()
    try:
        yield span
    except BaseException as error:
        _leave(context, span, error)
        raise
    _leave(context, span, None)


def _leave(
    context: AbstractContextManager[Span] | None, span: Span | None, error: BaseException | None
) -> None:
    if context is not None and span is not None:
        with harmless():
            if error is None:
                context.__exit__(None, None, None)
            else:
                context.__exit__(type(error), error, error.__traceback__)


def trace_context() -> Mapping[str, str]:
    """Return the headers that continue the current trace at the server (W3C Trace Context)."""
    if active_tracer() is None:
        return {}
    from opentelemetry.propagate import inject

    headers: dict[str, str] = {}
    with harmless():
        inject(headers)
    return headers
