"""The evaluator ``hybridmodel`` of ``mlflow.models.evaluate``, found by its entry point.

It asks both routes of a hybrid model for the rows of an evaluation. That sends them to the endpoint
and may cost money, so it takes part only where it is named; docs/mlflow.md.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mlflow.models.evaluation.base import EvaluationResult, ModelEvaluator

from hybridmodel.routing.policies import Cascade, Shadow, Split

if TYPE_CHECKING:
    from types import FrameType

    from hybridmodel.model import HybridOnnxModel
    from hybridmodel.report.findings import Findings

NAME = "hybridmodel"

_SUBJECT = ("answer", "score", "tolerance", "cosine", "timeout_s")
_OWN = (*_SUBJECT, "cost_per_row", "log_report")
_SHARED = ("metric_prefix",)

_REPORT = "hybridmodel_report"

_SHARES = {"local": 0.0, "local_first": 0.0, "azure": 1.0, "azure_first": 1.0, "hedge": 1.0}
"""The share of rows that the endpoint is asked for in each mode that leaves no choice."""


class HybridEvaluator(ModelEvaluator):  # type: ignore[misc]
    """Adds metrics of both routes, their agreement, and what the endpoint's answers cost."""

    @classmethod
    def can_evaluate(cls, *, evaluator_config: Mapping[str, Any] | None = None, **_: Any) -> bool:
        """Tell whether the caller of an evaluation names this evaluator.

        Named are those in ``evaluators``, and those with settings of their own. MLflow asks all
        evaluators before it begins, unless some are named; only those are asked by `_evaluate`.
        """
        return not {*_OWN}.isdisjoint(evaluator_config or ()) or _is_named(sys._getframe(1))

    def evaluate(
        self,
        *,
        dataset: Any,
        run_id: str,
        evaluator_config: Mapping[str, Any] | None,
        model: Any = None,
        model_id: str | None = None,
        **_: Any,
    ) -> Any:
        """Ask both routes for the rows of a data set, and log what they answered.

        Raises
        ------
        mlflow.exceptions.MlflowException
            If the model is no hybrid model with an endpoint, a setting is unknown, the rows do not
            fit, or the endpoint did not answer.
        """
        from hybridmodel.flavor.pyfunc import as_mlflow_exception

        config = dict(evaluator_config or {})
        try:
            _check(config)
            return _evaluated(_hybrid(model), dataset, run_id, config, model_id)
        except Exception as error:
            raise as_mlflow_exception(error) from error


def _evaluated(
    model: HybridOnnxModel, dataset: Any, run_id: str, config: dict[str, Any], model_id: str | None
) -> Any:
    from hybridmodel.report.making import findings_of
    from hybridmodel.report.page import render

    labels = dataset.labels_data if dataset.has_targets else None
    subject = {name: config[name] for name in _SUBJECT if name in config}
    title = dataset.name or "an evaluation"
    found = findings_of(model, _frame(dataset), labels, title=title, calls=50, **subject)
    prefix = f"{config.get('metric_prefix') or ''}{NAME}/"
    told = dict(_metrics(model, found, config.get("cost_per_row")))
    metrics = {f"{prefix}{name}": told[name] for name in told if math.isfinite(told[name])}
    if model_id is None:  # With one, MLflow itself logs what it gets back.
        _log_metrics(metrics, run_id, dataset)
    artifacts = _log_page(render(found), run_id) if config.get("log_report", True) else {}
    return EvaluationResult(metrics=metrics, artifacts=artifacts, run_id=run_id)


def _is_named(frame: FrameType) -> bool:
    """Tell whether MLflow asks after it has chosen the evaluators; by another name, it is not."""
    where = frame.f_globals.get("__name__"), frame.f_code.co_name
    return where == ("mlflow.models.evaluation.base", "_evaluate")


def _check(config: Mapping[str, Any]) -> None:
    from hybridmodel.checks import check_tolerance
    from hybridmodel.exceptions import ConfigurationError

    for name in config:
        if name not in (*_OWN, *_SHARED):
            raise ConfigurationError(
                f"the evaluator {NAME!r} has no setting {name!r}; it has "
                f"{', '.join((*_OWN, *_SHARED))}"
            )
    if config.get("cost_per_row") is not None:
        check_tolerance("cost_per_row", config["cost_per_row"])


def _hybrid(model: Any) -> HybridOnnxModel:
    """Return the model behind what MLflow evaluates."""
    from hybridmodel.exceptions import ConfigurationError
    from hybridmodel.flavor.pyfunc import PyfuncModel

    wrapped = getattr(model, "_model_impl", None)
    if isinstance(wrapped, PyfuncModel):
        return wrapped.get_raw_model()
    raise ConfigurationError(
        f"the evaluator {NAME!r} asks both routes of a hybrid model, which runs in this process: "
        "pass a URI of one, or what mlflow.pyfunc.load_model returned, and no other env_manager; "
        f"got a {type(wrapped or model).__name__}"
    )


def _frame(dataset: Any) -> Any:
    import pandas as pd

    rows = dataset.features_data
    if isinstance(rows, pd.DataFrame):
        return rows
    return pd.DataFrame(rows, columns=dataset.feature_names)


def _metrics(
    model: HybridOnnxModel, found: Findings, cost_per_row: float | None
) -> Iterator[tuple[str, float]]:
    summary, durations = found.summary, found.durations
    yield "rows", summary.rows
    if summary.agreement is not None:
        yield "agreement", summary.agreement
        low, high = summary.agreement_interval()
        yield "agreement_low", low
        yield "agreement_high", high
    yield from _right(found)
    yield "local_rows_per_s", durations.local_rows_per_s
    yield "remote_rows_per_s", durations.remote_rows_per_s
    share = _remote_share(model, found)
    if share is not None:
        yield "remote_share", share
    if cost_per_row is not None:
        yield "cost_all_remote", summary.rows * cost_per_row
        if share is not None:
            yield "cost", summary.rows * cost_per_row * share


def _right(found: Findings) -> Iterator[tuple[str, float]]:
    """Yield how good both routes are, and the model's own mix of them."""
    if found.labelled is not None:
        yield "local_accuracy", found.labelled.local
        yield "remote_accuracy", found.labelled.remote
        yield "only_local_right", found.labelled.only_local
        yield "only_remote_right", found.labelled.only_remote
    for side in ("local", "remote") if found.numbers is not None else ():
        errors = getattr(found.numbers, f"{side}_errors")
        if errors is not None:
            yield f"{side}_mean_absolute_error", errors.mean_abs
            yield f"{side}_root_mean_squared_error", errors.root_mean_square
    chosen = None if found.escalation is None else found.escalation.chosen
    if chosen is not None:
        yield "cascade_risk", chosen.risk
        if chosen.accuracy is not None:
            yield "cascade_accuracy", chosen.accuracy.cascade


def _remote_share(model: HybridOnnxModel, found: Findings) -> float | None:
    """Return the share of the rows that the endpoint is asked for in the model's own mode.

    None where it depends on more than these rows.
    """
    policy = model.routing
    if isinstance(policy, Cascade):
        chosen = None if found.escalation is None else found.escalation.chosen
        most = 1.0 if policy.max_escalation is None else policy.max_escalation
        return None if chosen is None else min(chosen.escalation, most)
    if isinstance(policy, (Shadow, Split)):
        return policy.share
    return _SHARES.get(policy.mode)


def _log_metrics(metrics: Mapping[str, float], run_id: str, dataset: Any) -> None:
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from mlflow.utils.time import get_current_time_millis

    of_all = {
        "timestamp": get_current_time_millis(),
        "step": 0,
        "dataset_name": dataset.name,
        "dataset_digest": dataset.digest,
        "run_id": run_id,
    }
    logged = [Metric(key=name, value=value, **of_all) for name, value in metrics.items()]
    MlflowClient().log_batch(run_id, metrics=logged)


def _log_page(page: str, run_id: str) -> dict[str, Any]:
    """Log the report, and return it as MLflow hands out artifacts."""
    import mlflow
    from mlflow import MlflowClient
    from mlflow.models.evaluation.artifacts import TextEvaluationArtifact

    name = f"{_REPORT}.html"
    MlflowClient().log_text(run_id, page, name)
    uri = f"{mlflow.get_run(run_id).info.artifact_uri}/{name}"
    return {_REPORT: TextEvaluationArtifact(uri=uri, content=page)}
