"""What a model counts, for those who watch it: OpenTelemetry's metrics, and Prometheus' text.

`HybridOnnxModel.stats` is where all numbers come from; this gives them the names, the kinds and the
labels that tools want. The duration of each request is measured by itself, where an application has
a meter provider: see `hybridmodel.process.metering`.
"""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from hybridmodel.checks import shown
from hybridmodel.exceptions import ConfigurationError, MissingDependency
from hybridmodel.process.metering import is_stand_in
from hybridmodel.process.per_process import reset_in_child

if TYPE_CHECKING:
    from opentelemetry.metrics import Observation

    from hybridmodel.model import HybridOnnxModel

_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_ENDPOINT = r"azure\.(?:(?P<endpoint>[0-9]+)\.)?"


@dataclass(frozen=True)
class Metric:
    """One metric, and the names in `stats` that it is made from.

    Groups of the pattern `key` are labels. A ``counter`` only grows, a ``gauge`` goes up and down.
    """

    key: str
    name: str
    kind: Literal["counter", "gauge"]
    unit: str
    help: str


METRICS = (
    Metric(
        r"(?P<route>local|azure)\.(?:(?P<endpoint>[0-9]+)\.)?calls",
        "calls",
        "counter",
        "{call}",
        "Calls by who answered",
    ),
    Metric(r"(?P<route>local|azure)\.rows", "rows", "counter", "{row}", "Rows by who answered"),
    Metric(_ENDPOINT + "requests", "requests", "counter", "{request}", "Requests sent"),
    Metric(_ENDPOINT + "retries", "retries", "counter", "{request}", "Requests after a pause"),
    Metric(
        _ENDPOINT + r"failed\.(?P<error_type>\w+)",
        "failures",
        "counter",
        "{attempt}",
        "Attempts without a good answer, by the error",
    ),
    Metric(
        _ENDPOINT + r"gathered\.(?P<what>calls|requests|sorted_out|left)",
        "gathered",
        "counter",
        "{call}",
        "Calls that shared requests, these requests, and what became of them",
    ),
    Metric(
        _ENDPOINT + "(?P<of>prompt|total)_tokens",
        "tokens",
        "counter",
        "{token}",
        "Tokens that an embeddings endpoint has counted",
    ),
    Metric(r"azure\.passed_over", "passed_over", "counter", "{call}", "Times the next was asked"),
    Metric(_ENDPOINT + "circuit_open", "circuit_open", "gauge", "1", "1 while it is left alone"),
    Metric(_ENDPOINT + "in_flight", "in_flight", "gauge", "{request}", "Requests under way"),
    Metric(
        _ENDPOINT + "in_flight_limit", "in_flight_limit", "gauge", "{request}", "The most of it"
    ),
    Metric(_ENDPOINT + "retries_left", "retries_left", "gauge", "{request}", "The retry budget"),
    Metric(r"fallback\.calls", "fallbacks", "counter", "{call}", "Calls that the other side took"),
    Metric(
        r"hedge\.(?P<outcome>calls|full)",
        "hedges",
        "counter",
        "{call}",
        "Calls that the local model answered before the endpoint",
    ),
    Metric(
        r"cascade\.(?P<outcome>rows|escalated|over_limit|kept_unavailable|audited|labelled)",
        "cascade_rows",
        "counter",
        "{row}",
        "Rows of cascades and budgets, and what became of them",
    ),
    Metric("escalated_share", "escalated_share", "gauge", "1", "Share of such rows that went on"),
    Metric("rows_saved", "rows_saved", "counter", "{row}", "Such rows that nobody had to send"),
    Metric(
        r"cascade\.live_(?P<of>risk|loss)(?:_(?P<bound>low|high))?",
        "audited",
        "gauge",
        "1",
        "Estimated share of all rows kept although the models differ, or at a loss; its interval",
    ),
    Metric(
        r"cascade\.(?P<what>promise_holds|suspicion)",
        "audit",
        "gauge",
        "1",
        "1, or 0 after an alarm; and how near one is",
    ),
)
"""All metrics; each name begins with ``hybridmodel``."""


@dataclass(frozen=True)
class Sample:
    """The value of a metric, with its labels."""

    metric: Metric
    value: float
    labels: Mapping[str, str]


def samples(stats: Mapping[str, float], metrics: Sequence[Metric] = METRICS) -> Iterator[Sample]:
    """Yield what `HybridOnnxModel.stats` gives as samples of metrics, in their order."""
    found = {**stats, **_derived(stats)}
    several = {name.split(".")[2] for name in stats if re.match(r"azure\.[0-9]+\.", name)}
    for metric in metrics:
        for key, value in found.items():
            match = re.fullmatch(metric.key, key)
            # Of several endpoints each stands for itself, and their sum would count all twice.
            if match is not None and not _is_sum(match, several):
                labels = {name: said for name, said in match.groupdict().items() if said}
                yield Sample(metric, value, labels)


def text(model: HybridOnnxModel, /, **labels: str) -> str:
    r"""Return the counts of a model in this process as Prometheus reads them.

    Parameters
    ----------
    model : HybridOnnxModel
        Whose counts.
    **labels : str
        Labels of every sample, such as ``model="digits"``; other values are turned to texts.

    Returns
    -------
    str
        Lines of the text format, version 0.0.4, with ``# HELP`` and ``# TYPE``; empty for a model
        that has done nothing. For the answer of ``/metrics``, as ``text/plain; version=0.0.4``.

    Raises
    ------
    ConfigurationError
        If a label has a name that Prometheus does not read, or that a metric has itself.

    Examples
    --------
    >>> print(text(model, model="digits"))  # doctest: +SKIP
    # HELP hybridmodel_calls_total Calls by who answered
    # TYPE hybridmodel_calls_total counter
    hybridmodel_calls_total{model="digits",route="local"} 12
    """
    _check_labels(labels)
    lines: list[str] = []
    last: Metric | None = None
    for sample in samples(model.stats()):
        name = _prometheus_name(sample.metric)
        if sample.metric is not last:
            last = sample.metric
            lines += [f"# HELP {name} {last.help}", f"# TYPE {name} {last.kind}"]
        said = {**labels, **sample.labels}
        pairs = ",".join(f'{key}="{_escaped(str(value))}"' for key, value in said.items())
        lines.append(f"{name}{f'{{{pairs}}}' if pairs else ''} {_number(sample.value)}")
    return "".join(f"{line}\n" for line in lines)


def observe(model: HybridOnnxModel, /, **attributes: str) -> None:
    """Let the application's OpenTelemetry metrics show the counts of a model.

    Its meter provider asks for them whenever it exports, and calls pay nothing for it. A model
    that nobody else holds any more is forgotten.

    Parameters
    ----------
    model : HybridOnnxModel
        Whose counts.
    **attributes : str
        Attributes of every measurement, such as ``model="digits"``.

    Raises
    ------
    MissingDependency
        If OpenTelemetry's API is not installed.
    """
    with _watched.lock:
        _watched.ask(_provider())
        _watched.add(model, attributes)


@dataclass(frozen=True, eq=False)
class _Shown:
    """A model that is observed, and the attributes of its measurements."""

    model: weakref.ref[HybridOnnxModel]
    attributes: Mapping[str, str]


class _Watched:
    """The models that are observed, by instruments that are made once for all of them.

    OpenTelemetry takes a second instrument of a name for the first, and never asks it.
    """

    def __init__(self) -> None:
        self.shown: list[_Shown] = []
        self._provider: Any = None
        self.reset()
        reset_in_child(self)

    def reset(self) -> None:
        """Make a new lock."""
        self.lock = threading.Lock()

    def ask(self, provider: Any) -> None:
        """Let a provider ask for the counts, unless it does already."""
        # What the API's stand-in has been given goes to the provider that takes its place.
        is_asking = self._provider is provider or is_stand_in(self._provider)
        if self._provider is not None and is_asking:
            return
        self._provider = provider
        meter = provider.get_meter("hybridmodel")
        for metric in METRICS:
            is_counter = metric.kind == "counter"
            create = (
                meter.create_observable_counter if is_counter else meter.create_observable_gauge
            )
            create(
                f"hybridmodel.{metric.name}",
                callbacks=[partial(_observed, metric)],
                unit=metric.unit,
                description=metric.help,
            )

    def add(self, model: HybridOnnxModel, attributes: Mapping[str, str]) -> None:
        """Show a model, once with the same attributes."""
        if any(item.model() is model and item.attributes == attributes for item in self.shown):
            return
        self.shown.append(_Shown(weakref.ref(model), attributes))

    def models(self) -> Iterator[tuple[HybridOnnxModel, Mapping[str, str]]]:
        """Yield the models that somebody still holds, and forget the others."""
        for item in list(self.shown):
            model = item.model()
            if model is not None:
                yield model, item.attributes
            else:
                with suppress(ValueError):  # Another thread was faster.
                    self.shown.remove(item)


_watched = _Watched()


def _observed(metric: Metric, _options: Any = None) -> Iterator[Observation]:
    from opentelemetry.metrics import Observation

    for model, attributes in _watched.models():
        for sample in samples(model.stats(), (metric,)):
            labels = {f"hybridmodel.{name}": said for name, said in sample.labels.items()}
            yield Observation(sample.value, {**attributes, **labels})


def _provider() -> Any:
    try:
        from opentelemetry.metrics import get_meter_provider
    except ImportError as error:
        raise MissingDependency(
            "metrics need OpenTelemetry: pip install opentelemetry-sdk; "
            "`hybridmodel.metrics.text` needs nothing"
        ) from error
    return get_meter_provider()


def _check_labels(labels: Mapping[str, Any]) -> None:
    own = {name for metric in METRICS for name in re.compile(metric.key).groupindex}
    for name in labels:
        if _LABEL.fullmatch(name) is None or name in own:
            raise ConfigurationError(
                f"labels: {shown(name)} cannot be the name of one: letters, digits and _, no digit "
                f"first, and none of {', '.join(sorted(own))}, which metrics have themselves"
            )


def _is_sum(match: re.Match[str], several: set[str]) -> bool:
    groups = match.groupdict(default="")
    return groups.get("endpoint") == "" and match[0].split(".")[1] in several


def _derived(stats: Mapping[str, float]) -> dict[str, float]:
    rows = stats.get("cascade.rows")
    if not rows:
        return {}
    sent = stats.get("cascade.escalated", 0)
    return {"escalated_share": sent / rows, "rows_saved": rows - sent}


def _prometheus_name(metric: Metric) -> str:
    return f"hybridmodel_{metric.name}{'_total' if metric.kind == 'counter' else ''}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    """Write all digits of a number, since a count of billions grows by one as well."""
    number = float(value)
    return str(int(number)) if number.is_integer() else repr(number)
