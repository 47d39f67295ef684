"""Fills the pages that MLflow shows of a run, a logged model, a registered model and its version.

The model is logged by then, so whatever a server refuses here is a warning, and no error.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.flavor.described import description_of, facts_of, general_description_of

if TYPE_CHECKING:
    from mlflow.models.model import ModelInfo

    from hybridmodel.model import HybridOnnxModel

REPORT_FILE = "report.html"
"""The artifact that a report becomes."""

_NOTE = "mlflow.note.content"
"""The tag that MLflow shows as the description of a logged model."""

_log = logging.getLogger("hybridmodel")


def with_facts(model: HybridOnnxModel, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a log with the model's facts as params and tags; given ones count."""
    facts = facts_of(model)
    told = {name: {**facts, **(options.get(name) or {})} for name in ("params", "tags")}
    return {**options, **told}


def fill(model: HybridOnnxModel, info: ModelInfo, name: str | None, options: Any) -> None:
    """Write facts and descriptions wherever a model was logged and registered.

    Parameters
    ----------
    model : HybridOnnxModel
        What was logged.
    info : mlflow.models.model.ModelInfo
        What the logging returned.
    name : str or None
        Of the registered model.
    options : mapping of str to Any
        As `with_facts` returned them.
    """
    from mlflow import MlflowClient

    client, model_id = MlflowClient(), getattr(info, "model_id", None)
    if info.run_id is not None:
        with _warned("tags of the run"):
            _fill_run(client, info.run_id, facts_of(model), with_params=model_id is None)
    if model_id is not None:
        with _warned("description of the logged model"):
            _fill_logged(client, model_id, description_of(model, info.model_uri), options)
    if name is not None:
        with _warned("description of the registered model"):
            _fill_registered(client, model, name, info.registered_model_version)


def page_of(report: str | os.PathLike[str]) -> str:
    """Return the page that `log_model` takes: HTML, or the path of a file with it.

    Raises
    ------
    ConfigurationError
        If it is neither.
    """
    expected = (
        "log_report is a page, as hybridmodel.report.report_of returns it, or the path of a file "
        "that the command report wrote"
    )
    is_page = isinstance(report, str) and "<html" in report[:1000].lower()
    if isinstance(report, str) and is_page:
        return report
    if not isinstance(report, (str, os.PathLike)):
        raise ConfigurationError(f"{expected}; got a {type(report).__name__}")
    try:
        return Path(report).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{expected}; it cannot be read: {str(error)[:300]}") from error


def log_report(page: str, info: ModelInfo) -> None:
    """Log a page as an artifact of the run, and without a run of the logged model.

    Raises
    ------
    mlflow.exceptions.MlflowException
        If the tracking server refuses it.
    """
    from mlflow import MlflowClient

    client = MlflowClient()
    if info.run_id is not None:
        client.log_text(info.run_id, page, REPORT_FILE)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, REPORT_FILE)
        path.write_text(page, encoding="utf-8")
        client.log_model_artifact(info.model_id, str(path))


def _fill_run(client: Any, run_id: str, facts: dict[str, str], *, with_params: bool) -> None:
    """Write tags, and params where no logged model has them.

    MLflow copies a run's params over those of each model that is logged to it, and never changes
    one; so a second model would be shown with the first one's.
    """
    from mlflow.entities import Param, RunTag

    known = client.get_run(run_id).data.params if with_params else facts
    params = [Param(key, value) for key, value in facts.items() if key not in known]
    tags = [RunTag(key, value) for key, value in facts.items()]
    client.log_batch(run_id, params=params, tags=tags)


def _fill_logged(client: Any, model_id: str, text: str, options: Mapping[str, Any]) -> None:
    """Describe a logged model; one that was made before it was logged has no facts yet."""
    logged = client.get_logged_model(model_id)
    if options.get("model_id") is not None:
        params = options["params"]
        client.log_model_params(
            model_id, {key: str(params[key]) for key in params if key not in logged.params}
        )
        client.set_logged_model_tags(model_id, options["tags"])
    if not logged.tags.get(_NOTE):
        client.set_logged_model_tags(model_id, {_NOTE: text})


def _fill_registered(client: Any, model: HybridOnnxModel, name: str, version: Any) -> None:
    if not client.get_registered_model(name).description:
        text = general_description_of(model, f"models:/{name}/{version}")
        client.update_registered_model(name, text)
    if version is not None and not client.get_model_version(name, str(version)).description:
        text = description_of(model, f"models:/{name}/{version}")
        client.update_model_version(name, str(version), text)


@contextmanager
def _warned(what: str) -> Iterator[None]:
    """Make a warning of what MLflow refuses."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        _log.warning("the model is logged, but not the %s: %s", what, str(error)[:500])
