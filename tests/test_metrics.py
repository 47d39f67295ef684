"""What a model counts, as OpenTelemetry's SDK collects it and as Prometheus reads it."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry.metrics import _internal as api
from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.util._once import Once
from prometheus_client.parser import text_string_to_metric_families

from hybridmodel import EndpointRefused, HybridOnnxModel, metrics
from hybridmodel.exceptions import ConfigurationError, MissingDependency
from hybridmodel.process.metering import BOUNDS_S, request_durations
from hybridmodel.routing import Cascade
from tests.support import models
from tests.support.faulty import FaultyEndpoint, error, http
from tests.support.linear_answers import GOOD, X
from tests.support.paths import ROOT


@pytest.fixture(autouse=True)
def nobody_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin without the models that other tests of this process have shown."""
    monkeypatch.setattr(metrics, "_watched", metrics._Watched())


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemoryMetricReader]:
    """Set up OpenTelemetry's metrics as an application does, and take it back."""
    reader = InMemoryMetricReader()
    monkeypatch.setattr(api, "_METER_PROVIDER", None)
    monkeypatch.setattr(api, "_METER_PROVIDER_SET_ONCE", Once())
    provider = MeterProvider([reader])
    set_meter_provider(provider)
    yield reader
    provider.shutdown()


def collected(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    """Return the data points by metric."""
    data = reader.get_metrics_data()
    if data is None:
        return {}
    return {
        metric.name: list(metric.data.data_points)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def asked(faulty: FaultyEndpoint) -> HybridOnnxModel:
    """Return a model that was answered after a retry, and refused once."""
    model = HybridOnnxModel(models.linear(), endpoint=faulty.endpoint(max_attempts=2))
    model.client._retrier.sleep = lambda _: None
    model.predict(X)
    model.predict(X, use_azure=True)
    with pytest.raises(EndpointRefused):
        model.predict(X, use_azure=True)
    return model


def test_each_request_is_measured_with_its_end(reader: InMemoryMetricReader) -> None:
    """Method, server, status, and the error's type where it failed, by HTTP's conventions."""
    with FaultyEndpoint(http(503), GOOD, error(400, "no")) as faulty:
        asked(faulty)
    points = collected(reader)["http.client.request.duration"]
    ends = {point.attributes["http.response.status_code"]: point for point in points}
    assert {status: point.count for status, point in ends.items()} == {503: 1, 200: 1, 400: 1}
    assert ends[200].explicit_bounds == BOUNDS_S
    assert ends[200].attributes == {
        "http.request.method": "POST",
        "server.address": "127.0.0.1",
        "server.port": faulty.port,
        "http.response.status_code": 200,
    }
    assert ends[503].attributes["error.type"] == "503"
    assert 0 < ends[200].sum < 10


def test_a_request_without_an_answer_is_measured_as_well(reader: InMemoryMetricReader) -> None:
    """It has the error's type and no status."""
    with FaultyEndpoint() as faulty:
        endpoint = faulty.endpoint()
    with HybridOnnxModel(models.linear(), endpoint=endpoint) as model:
        answered = model.predict(X, mode="azure_first")
    assert answered.shape == (3, 2)
    (point,) = collected(reader)["http.client.request.duration"]
    assert point.attributes["error.type"] == "EndpointUnavailable"
    assert "http.response.status_code" not in point.attributes


def test_without_a_meter_provider_nothing_is_measured() -> None:
    """The API's own provider counts as none."""
    assert request_durations() is None


def test_an_api_without_advised_buckets_is_enough(
    reader: InMemoryMetricReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older releases make the instrument with buckets of their own."""

    class Old:
        def create_histogram(self, name: str, unit: str, description: str) -> str:
            return f"{name} in {unit}: {description}"

    monkeypatch.setattr(MeterProvider, "get_meter", lambda *_: Old())
    assert str(request_durations()).startswith("http.client.request.duration in s")


def test_an_observed_model_is_collected_until_it_is_gone(reader: InMemoryMetricReader) -> None:
    """Counts have the route, or the error, and what the application adds."""
    with FaultyEndpoint(http(503), GOOD, error(400, "no")) as faulty:
        model = asked(faulty)
    metrics.observe(model, model="linear")
    found = collected(reader)
    rows = {point.attributes["hybridmodel.route"]: point for point in found["hybridmodel.rows"]}
    assert {route: point.value for route, point in rows.items()} == {"local": 3, "azure": 3}
    assert rows["azure"].attributes["model"] == "linear"
    (refused,) = [
        point
        for point in found["hybridmodel.failures"]
        if point.attributes["hybridmodel.error_type"] == "EndpointRefused"
    ]
    assert refused.value == 1
    assert [point.value for point in found["hybridmodel.retries_left"]] == [5]
    del model
    gc.collect()
    assert "hybridmodel.rows" not in collected(reader)


def test_each_observed_model_is_collected(reader: InMemoryMetricReader) -> None:
    """The second is shown beside the first, and once however often it is observed."""
    first, second = HybridOnnxModel(models.linear()), HybridOnnxModel(models.linear())
    for model, name in ((first, "a"), (second, "b"), (second, "b")):
        metrics.observe(model, model=name)
    first.predict(X)
    second.predict(X[:1])
    found = {
        (point.attributes["model"], point.value)
        for point in collected(reader)["hybridmodel.rows"]
        if point.attributes["model"] in "ab"
    }
    assert found == {("a", 3), ("b", 1)}
    del first
    gc.collect()
    points = collected(reader)["hybridmodel.rows"]
    assert [point.value for point in points if point.attributes["model"] in "ab"] == [1]


def test_a_model_that_is_observed_before_the_provider_is_set_up_is_collected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The API's stand-in hands on what it was given, and a later model joins it."""
    monkeypatch.setattr(api, "_METER_PROVIDER", None)
    monkeypatch.setattr(api, "_METER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(api, "_PROXY_METER_PROVIDER", api._ProxyMeterProvider())
    early, late = HybridOnnxModel(models.linear()), HybridOnnxModel(models.linear())
    metrics.observe(early, model="early")
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    set_meter_provider(provider)
    metrics.observe(late, model="late")
    early.predict(X)
    late.predict(X)
    names = [point.attributes["model"] for point in collected(reader)["hybridmodel.rows"]]
    assert names == ["early", "late"]
    provider.shutdown()


class _Raising:
    """A meter provider, a meter or an instrument of which nothing works."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


class _Half(_Raising):
    """A meter provider whose instruments are made, and do not work."""

    def get_meter(self, _name: str) -> _Half:
        return self

    def create_histogram(self, *_: str, **__: Any) -> _Raising:
        return _Raising()


@pytest.mark.parametrize("provider", [_Raising(), _Half()], ids=["no histogram", "no record"])
def test_metrics_that_raise_cost_no_answer(provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the application's provider raises changes neither an answer nor an error."""
    monkeypatch.setattr(api, "_METER_PROVIDER", provider)
    with FaultyEndpoint(GOOD, error(400, "no")) as faulty:
        model = HybridOnnxModel(models.linear(), endpoint=faulty.endpoint())
        assert model.predict(X, use_azure=True).shape == (3, 2)
        with pytest.raises(EndpointRefused):
            model.predict(X, use_azure=True)


LABELS = ["a b", "0x", "é", "__name__", 'x="1"} 5\nevil{a', "route", ""]


@pytest.mark.parametrize("name", LABELS, ids=map(repr, LABELS))
def test_names_of_labels_that_prometheus_does_not_read_are_refused(name: str) -> None:
    """So are the metrics' own, which would hide the caller's."""
    with pytest.raises(ConfigurationError, match=r"labels: .* cannot be the name of one"):
        metrics.text(HybridOnnxModel(models.linear()), **{name: "value"})


def test_every_digit_of_a_count_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A count beyond ten digits still grows by one; what is no text becomes one."""
    model = HybridOnnxModel(models.linear())
    stats = {"local.rows": 12345678901, "cascade.live_risk": 0.1, "azure.circuit_open": True}
    monkeypatch.setattr(HybridOnnxModel, "stats", lambda _: stats)
    lines = metrics.text(model, shard=3).splitlines()  # type: ignore[arg-type]
    assert 'hybridmodel_rows_total{shard="3",route="local"} 12345678901' in lines
    assert 'hybridmodel_audited{shard="3",of="risk"} 0.1' in lines
    assert 'hybridmodel_circuit_open{shard="3"} 1' in lines


def test_counts_are_read_while_they_grow() -> None:
    """A page that is asked for while other threads call has whole lines, and counts never fall."""
    model = HybridOnnxModel(models.linear())
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(model.predict, X) for _ in range(200)]
        pages = []
        while not all(call.done() for call in calls):
            pages.append(metrics.text(model))
    counts = [
        sample.value
        for page in [*pages, metrics.text(model)]
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if family.name == "hybridmodel_calls"
    ]
    assert counts == sorted(counts)
    assert counts[-1] == 200


def test_prometheus_reads_the_text() -> None:
    """Its own parser finds names, kinds, labels and values."""
    with FaultyEndpoint(http(503), GOOD, error(400, "no")) as faulty:
        text = metrics.text(asked(faulty), model='a "quoted"\\ name')
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["hybridmodel_rows"].type == "counter"
    assert families["hybridmodel_retries_left"].type == "gauge"
    samples = {sample.labels["route"]: sample for sample in families["hybridmodel_rows"].samples}
    assert {route: sample.value for route, sample in samples.items()} == {"local": 3, "azure": 3}
    assert samples["local"].labels["model"] == 'a "quoted"\\ name'
    assert [sample.value for sample in families["hybridmodel_requests"].samples] == [3]


def test_a_model_that_did_nothing_has_no_text() -> None:
    """Zeros that nobody counted are not shown."""
    assert metrics.text(HybridOnnxModel(models.linear())) == ""


def test_rows_of_a_cascade_are_shared_out() -> None:
    """How many went on, their share, and how many nobody had to send."""
    stats = {"cascade.rows": 10, "cascade.escalated": 2, "cascade.live_risk_low": 0.25}
    found = {
        (sample.metric.name, *sample.labels.values()): sample.value
        for sample in metrics.samples(stats)
    }
    assert found == {
        ("cascade_rows", "rows"): 10,
        ("cascade_rows", "escalated"): 2,
        ("escalated_share",): 0.2,
        ("rows_saved",): 8,
        ("audited", "risk", "low"): 0.25,
    }


def test_several_endpoints_are_not_counted_twice() -> None:
    """Where each endpoint has a number of its own, the sum of them is left out."""
    requests = {"azure.requests": 3, "azure.1.requests": 1, "azure.2.requests": 2}
    stats = {**requests, "azure.rows": 9, "azure.calls": 2, "azure.2.calls": 2}
    found = {
        (sample.metric.name, *sample.labels.values()): sample.value
        for sample in metrics.samples(stats)
    }
    assert found == {
        ("calls", "azure", "2"): 2,
        ("rows", "azure"): 9,
        ("requests", "1"): 1,
        ("requests", "2"): 2,
    }


def test_what_a_model_counts_has_a_metric() -> None:
    """Of a cascade's counts at an endpoint, each is the metric of one pattern."""
    with FaultyEndpoint(http(503), GOOD, error(400, "no")) as faulty:
        model = asked(faulty)
    model.infer(X, mode=Cascade(0.0, score=lambda outputs: outputs["y"][:, 0] ** 2))
    stats = model.stats()
    assert stats["cascade.rows"] == 3
    for name in stats:
        assert sum(re.fullmatch(metric.key, name) is not None for metric in metrics.METRICS) == 1, (
            name
        )


def test_the_page_names_every_metric() -> None:
    """docs/metrics.md has each metric with its kind and what it counts."""
    page = (ROOT / "docs" / "metrics.md").read_text()
    for metric in metrics.METRICS:
        assert f"| `hybridmodel.{metric.name}` | {metric.kind} | {metric.help} |" in page


def test_without_opentelemetry_observing_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The text needs nothing."""
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.metrics", None)
    model = HybridOnnxModel(models.linear())
    model.predict(X)
    with pytest.raises(MissingDependency, match="pip install opentelemetry-sdk"):
        metrics.observe(model)
    assert "hybridmodel_rows_total" in metrics.text(model)
