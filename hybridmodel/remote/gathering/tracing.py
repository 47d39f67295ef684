"""The span of a request that several calls share; linked with theirs, both ways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from hybridmodel.process.tracing import active_tracer, harmless, opened

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from hybridmodel.remote.exchange import Call
    from hybridmodel.remote.gathering.lanes import Member


@contextmanager
def requesting(members: Sequence[Member], call: Call) -> Iterator[None]:
    """Make the span of a shared request the current one, where the application has a tracer."""
    tracer = active_tracer()
    if tracer is None:
        yield
        return
    from opentelemetry.trace import Link, SpanKind, get_current_span

    callers = [item.context.run(get_current_span) for item in members if item.context is not None]
    attributes: dict[str, str | int] = {
        "hybridmodel.calls": len(members),
        "hybridmodel.rows": call.rows or 0,
        "hybridmodel.request_id": call.request_id or "",
    }

    def start() -> AbstractContextManager[Span]:
        return tracer.start_as_current_span(
            "hybridmodel.request",
            kind=SpanKind.CLIENT,
            links=[Link(span.get_span_context()) for span in callers],
            attributes=attributes,
        )

    with opened(start) as request:
        with harmless():
            for span in callers:
                if request is not None and span.is_recording():
                    span.add_link(request.get_span_context())
        yield
