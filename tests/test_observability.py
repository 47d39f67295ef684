"""What an operator sees: counters, log lines, and OpenTelemetry spans with the real SDK."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util._once import Once

from hybridmodel import EndpointRefused, EndpointUnavailable, HybridOnnxModel
from hybridmodel.process.tracing import active_tracer
from tests.support import models
from tests.support.callers import Callers, Held, client
from tests.support.counting_server import CountingServer
from tests.support.faulty import FaultyEndpoint, error, http
from tests.support.linear_answers import GOOD, X


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Set up OpenTelemetry as an application does, and take it back."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    trace.set_tracer_provider(provider)
    yield exporter
    provider.shutdown()


def linear(faulty: FaultyEndpoint, **options: Any) -> HybridOnnxModel:
    """Return a model (n, 4) -> (n, 2) with an endpoint."""
    return HybridOnnxModel(models.linear(), endpoint=faulty.endpoint(**options))


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """Return the attributes of a span, without the id, which is random."""
    given = dict(span.attributes or {})
    given.pop("hybridmodel.request_id", None)
    return given


def test_a_model_counts_what_it_did() -> None:
    """Calls and rows by route; requests, retries and failures by kind."""
    with FaultyEndpoint(http(503), GOOD, GOOD, error(400, "no")) as faulty:
        model = linear(faulty, max_attempts=2)
        model.client._retrier.sleep = lambda _: None
        model.predict(X)
        model.predict(X[:1])
        model.predict(X, use_azure=True)
        model.predict(X, use_azure=True)
        model.predict(X[:0], use_azure=True)
        with pytest.raises(EndpointRefused):
            model.predict(X, use_azure=True)
    assert model.stats() == {
        "local.calls": 2,
        "local.rows": 4,
        "azure.calls": 2,
        "azure.rows": 6,
        "azure.requests": 4,
        "azure.retries": 1,
        "azure.failed.EndpointRefused": 1,
        "azure.failed.EndpointUnavailable": 1,
        "azure.circuit_open": 0,
        "azure.in_flight": 0,
        "azure.in_flight_limit": 16,
        "azure.retries_left": 5,
    }


def test_a_copy_and_a_fork_count_for_themselves() -> None:
    """Each process and each pickle begins at zero."""
    model = HybridOnnxModel(models.linear())
    model.predict(X)
    assert pickle.loads(pickle.dumps(model)).stats() == {}
    if hasattr(os, "fork"):
        child = os.fork()
        if child == 0:
            os._exit(len(model.stats()))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert model.stats() == {"local.calls": 1, "local.rows": 3}


def test_attempts_are_logged_for_debugging(caplog: pytest.LogCaptureFixture) -> None:
    """Route, attempt, address, status and duration; a pause is news, the rest is detail."""
    caplog.set_level(logging.DEBUG, "hybridmodel")
    with FaultyEndpoint(http(503), GOOD) as faulty:
        model = linear(faulty, max_attempts=2)
        model.client._retrier.sleep = lambda _: None
        model.predict(X, use_azure=True)
    first, pause, second, last = caplog.records
    assert first.levelno == second.levelno == logging.DEBUG
    assert "route azure, attempt 1" in first.message
    assert "EndpointUnavailable, status 503 after" in first.message
    assert pause.levelno == logging.INFO
    assert "attempt 2" in second.message
    assert "answered after" in second.message
    assert last.message.startswith("version 7 answered request")


def test_a_remote_call_is_a_span_of_the_application(spans: InMemorySpanExporter) -> None:
    """With route, rows, attempts, status and server, and the server can continue the trace."""
    with FaultyEndpoint(http(503), GOOD) as faulty:
        model = linear(faulty, max_attempts=2)
        model.client._retrier.sleep = lambda _: None
        with trace.get_tracer("application").start_as_current_span("request"):
            model.predict(X, use_azure=True)
    predict, request = spans.get_finished_spans()
    assert predict.parent is not None
    assert predict.parent.span_id == request.context.span_id
    assert (predict.name, predict.kind) == ("hybridmodel.predict", trace.SpanKind.CLIENT)
    assert attributes(predict) == {
        "hybridmodel.mode": "azure",
        "hybridmodel.route": "azure",
        "hybridmodel.rows": 3,
        "hybridmodel.attempts": 2,
        "hybridmodel.model_name": "m",
        "hybridmodel.model_version": "7",
        "http.request.method": "POST",
        "http.request.resend_count": 1,
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": faulty.port,
    }
    continued = f"traceparent: 00-{predict.context.trace_id:032x}-{predict.context.span_id:016x}-"
    assert all(continued.encode() in sent for sent in faulty.requests)


def test_a_span_names_the_endpoint_that_answered(spans: InMemorySpanExporter) -> None:
    """Of several endpoints it is the one that did, not the first of the list."""
    with FaultyEndpoint(http(503)) as west, FaultyEndpoint(GOOD) as north:
        endpoints = [west.endpoint(), north.endpoint()]
        HybridOnnxModel(models.linear(), endpoint=endpoints).predict(X, use_azure=True)
    (span,) = [item for item in spans.get_finished_spans() if item.name == "hybridmodel.predict"]
    found = attributes(span)
    assert (found["server.port"], found["hybridmodel.attempts"]) == (north.port, 2)


def test_a_failed_call_is_a_failed_span(spans: InMemorySpanExporter) -> None:
    """It tells the error, its status and the attempts."""
    with FaultyEndpoint(http(503)) as faulty, pytest.raises(EndpointUnavailable):
        linear(faulty).predict(X, use_azure=True)
    (span,) = spans.get_finished_spans()
    assert span.status.status_code is trace.StatusCode.ERROR
    found = attributes(span)
    assert found["error.type"] == "EndpointUnavailable"
    assert found["http.response.status_code"] == 503
    assert found["hybridmodel.attempts"] == 1


def test_a_local_call_is_a_span_inside_the_process(spans: InMemorySpanExporter) -> None:
    """It names no server."""
    HybridOnnxModel(models.linear()).predict(X)
    (span,) = spans.get_finished_spans()
    assert span.kind is trace.SpanKind.INTERNAL
    assert attributes(span) == {
        "hybridmodel.mode": "local",
        "hybridmodel.route": "local",
        "hybridmodel.rows": 3,
    }


class _Broken:
    """A part of a tracer of which only what is given works."""

    def __init__(self, **working: Any) -> None:
        vars(self).update(working)

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


@contextmanager
def _broken_span() -> Iterator[_Broken]:
    yield _Broken()
    raise RuntimeError("the end of a span")


BROKEN = {
    "no tracer": _Broken(),
    "no span": _Broken(get_tracer=lambda _: _Broken()),
    "no attribute": _Broken(
        get_tracer=lambda _: _Broken(start_as_current_span=lambda *_, **__: _broken_span())
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_tracer_that_raises_costs_no_answer(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the application's tracer raises changes neither an answer nor an error."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", BROKEN[name])
    with FaultyEndpoint(GOOD, error(400, "no")) as faulty, linear(faulty) as model:
        assert model.predict(X).shape == (3, 2)
        assert model.predict(X, use_azure=True).shape == (3, 2)
        with pytest.raises(EndpointRefused):
            model.predict(X, use_azure=True)


def test_without_a_provider_there_is_no_span_and_no_header() -> None:
    """The API's own provider counts as none."""
    assert active_tracer() is None
    with FaultyEndpoint(GOOD) as faulty:
        linear(faulty).predict(X, use_azure=True)
    assert b"traceparent" not in faulty.requests[0]


def test_nothing_of_opentelemetry_is_imported_unless_somebody_else_did() -> None:
    """A process that does not trace does not pay for the import."""
    code = (
        "import sys, numpy, hybridmodel\n"
        "from tests.support import models\n"
        "hybridmodel.HybridOnnxModel(models.linear()).predict(numpy.ones((1, 4), 'f4'))\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("coalesce_rows", [0, 16])
def test_the_span_of_a_coroutine_belongs_to_its_task(
    coalesce_rows: int, spans: InMemorySpanExporter
) -> None:
    """Calls that wait at the same time have each the parent that is current in its own task."""
    tracer = trace.get_tracer("application")
    server = CountingServer(models.linear(), hold_s=0.02)

    async def handle(model: HybridOnnxModel, number: int) -> None:
        with tracer.start_as_current_span("handle", attributes={"number": number}) as outer:
            await model.apredict(X, use_azure=True)
            assert trace.get_current_span() is outer

    async def many(model: HybridOnnxModel) -> None:
        await asyncio.gather(*(handle(model, number) for number in range(12)))

    with HybridOnnxModel(
        models.linear(), endpoint=server.endpoint(coalesce_rows=coalesce_rows)
    ) as model:
        asyncio.run(many(model))
    server.close()
    found = spans.get_finished_spans()
    handlers = {span.context.span_id for span in found if span.name == "handle" and span.context}
    parents = [span.parent for span in found if span.name == "hybridmodel.predict"]
    assert len(handlers) == 12
    assert {parent.span_id for parent in parents if parent} == handlers
    shared = [span for span in found if span.name == "hybridmodel.request"]
    assert bool(shared) == bool(coalesce_rows)
    for span in shared:
        # It is nobody's own: callers are linked.
        assert span.parent is None
        assert len(span.links) > 1


def test_a_request_for_several_calls_is_linked_with_their_spans(
    spans: InMemorySpanExporter,
) -> None:
    """It is a span of its own; the span of each call knows it, and it knows them."""
    held, tracer = Held(), trace.get_tracer("application")
    asking = client(held)
    callers = Callers(asking)
    callers.occupy(held)
    outer = [tracer.start_span("predict"), tracer.start_span("predict")]
    for value, span in enumerate(outer, 3):
        with trace.use_span(span):
            callers.call(value)
    held.go()
    shared = {answer.shared_request_id for answer in callers.answers()[2:]}
    for span in outer:
        span.end()
    request, *calls = spans.get_finished_spans()
    assert request.name == "hybridmodel.request"
    assert request.kind is trace.SpanKind.CLIENT
    assert dict(request.attributes or {}) == {
        "hybridmodel.calls": 2,
        "hybridmodel.rows": 2,
        "hybridmodel.request_id": shared.pop(),
    }
    assert [link.context for link in request.links] == [span.context for span in calls]
    assert [link.context for span in calls for link in span.links] == [request.context] * 2
