"""The MLflow flavor: save, log and load a `HybridOnnxModel` like any other model.

A saved model has three flavors in one directory: ``hybrid_onnx`` (this module's `load_model`),
``python_function`` (``mlflow.pyfunc.load_model``) and ``onnx`` (``mlflow.onnx.load_model``).
"""

from __future__ import annotations

import inspect
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hybridmodel.checks import needed_for
from hybridmodel.flavor import artifact, signatures
from hybridmodel.flavor.calibration_log import log_calibration
from hybridmodel.flavor.pyfunc import (
    PyfuncModel,
    answering_here,
    as_mlflow_exception,
    is_answering_here,
    said_by_environment,
)
from hybridmodel.model import HybridOnnxModel
from hybridmodel.remote.trust.grants import checked_allow

if TYPE_CHECKING:
    from mlflow.models import Model
    from mlflow.models.model import ModelInfo

FLAVOR_NAME = "hybrid_onnx"
DATA_FOLDER = f"data/{FLAVOR_NAME}"

_PACKAGE = __name__.partition(".")[0]
_NEEDED = ("mlflow", "onnxruntime", "numpy", "pandas", "requests", "urllib3")
_OF_LOGGED_MODELS = ("auth_policy", "model_id", "model_type", "params", "prompts", "step")

_logger = logging.getLogger(__name__)


def get_default_pip_requirements() -> list[str]:
    """Return what an environment needs to load and run a saved model, each with its version.

    A hybridmodel that was installed from a folder or a repository cannot be had by its version,
    and whoever registered that name and version in an index would run code in every environment
    made from the model. It is left out then, and a warning logged: give ``code_paths``, or
    ``pip_requirements`` that say where to get it.
    """
    if artifact.is_release():
        return [f"{_PACKAGE}=={artifact.package_version()}", *map(_pinned, _NEEDED)]
    _logger.warning(
        "hybridmodel %s is no release, so the model's requirements do not name it, and an "
        "environment made from them cannot load the model: save with code_paths=[folder of the "
        "package], or with extra_pip_requirements=[where pip gets it]",
        artifact.package_version(),
    )
    return list(map(_pinned, _NEEDED))


def save_model(
    model: HybridOnnxModel,
    path: str | os.PathLike[str],
    *,
    mlflow_model: Model | None = None,
    signature: Any = None,
    input_example: Any = None,
    pip_requirements: Any = None,
    extra_pip_requirements: Any = None,
    conda_env: Any = None,
    code_paths: list[str] | None = None,
    metadata: dict[str, Any] | None = None,
    resources: Any = None,
) -> None:
    """Save a model to a directory, without a network call or another process.

    Parameters
    ----------
    model : HybridOnnxModel
        Its credential is not saved.
    path : path
        A directory that does not exist, or is empty.
    mlflow_model : mlflow.models.Model, optional
        To add the flavors to.
    signature : ModelSignature, "params" or None
        As `hybridmodel.flavor.signatures.signature_of` takes it.
    input_example : data or (data, params), optional
        Saved with the model and run locally. The columns of a DataFrame become the model's
        ``feature_names`` where it has none.
    pip_requirements, extra_pip_requirements, conda_env, code_paths, metadata, resources : optional
        As ``mlflow.pyfunc.save_model`` takes them.

    Raises
    ------
    ConfigurationError
        If the example's params are unknown or ask for the endpoint, or something cannot be saved.
    InputMismatch
        If the example does not fit the model.
    mlflow.exceptions.MlflowException
        If the directory is not empty, or the example does not fit the given signature.
    """
    with needed_for("saving a model"):
        import mlflow.pyfunc
        from mlflow.models import Model

    data, params = signatures.split_example(input_example)
    inferred = signature is None
    signature = signatures.signature_of(model, signature, data)
    feature_names = signatures.feature_names_of(model, data, signature)
    if data is not None:
        _try_example(model, data, feature_names, params.get("output"))
        data = signatures.as_columns(model, data) if inferred else data
    if conda_env is None and pip_requirements is None:
        pip_requirements = [*_requirements(code_paths), *_as_list(extra_pip_requirements)]
        extra_pip_requirements = None
    mlflow_model = mlflow_model or Model()
    mlflow_model.signature = signature
    _add_flavors(mlflow_model, model)
    with tempfile.TemporaryDirectory() as staging:
        staged = Path(staging) / FLAVOR_NAME
        artifact.write(model, staged, feature_names)
        mlflow.pyfunc.save_model(
            path,
            loader_module=__name__,
            data_path=str(staged),
            mlflow_model=mlflow_model,
            # MLflow checks the example against the signature, and nags when there is none.
            signature=None if data is None else signature,
            input_example=(data, params) if params else data,
            pip_requirements=pip_requirements,
            extra_pip_requirements=extra_pip_requirements,
            conda_env=conda_env,
            code_paths=code_paths,
            metadata=metadata,
            model_config=artifact.config_of(model),
            resources=resources,
            **_no_uv_project(staging),
        )


def log_model(
    model: HybridOnnxModel,
    name: str | None = None,
    *,
    registered_model_name: str | None = None,
    **options: Any,
) -> ModelInfo:
    """Log a model, to the active run if there is one, and register it if asked.

    Parameters
    ----------
    model : HybridOnnxModel
        What to log.
    name : str, optional
        Name of the logged model.
    registered_model_name : str, optional
        Registers a version under this name.
    **options
        What `save_model` takes, and what ``mlflow.models.Model.log`` does: ``params``, ``tags``,
        ``model_type``, ``step``, ``model_id``, ``run_id``, ``await_registration_for``.

    Returns
    -------
    mlflow.models.model.ModelInfo
        Load the model by its ``model_uri``.

    Raises
    ------
    ConfigurationError, InputMismatch
        As `save_model`.
    mlflow.exceptions.MlflowException
        If the tracking server or registry cannot be reached, or refuses.

    Notes
    -----
    The calibration of a cascade is logged as well, where there is a run: as metrics
    ``calibration_*``, ``calibration.json`` and ``calibration.png``.

    A server without MLflow 3's logged models, such as Azure Machine Learning, gets the model as
    artifacts of a run, a new one if none is active. There, ``tags`` are those of the registered
    version, and what else describes a logged model is left out.
    """
    with needed_for("logging a model"):
        from mlflow.exceptions import MlflowException
        from mlflow.models import Model

    try:
        with answering_here():  # MLflow tries the example on the model that it has just saved.
            info = Model.log(
                artifact_path=None,
                name=name,
                flavor=sys.modules[__name__],
                registered_model_name=registered_model_name,
                model=model,
                **options,
            )
    except MlflowException as error:
        if error.error_code != "ENDPOINT_NOT_FOUND":
            raise
        info = _log_as_artifacts(model, name or "model", registered_model_name, options)
    calibration = getattr(model.routing, "calibration", None)
    if calibration is not None and info.run_id is not None:
        log_calibration(calibration, info.run_id, getattr(info, "model_id", None))
    return info


def load_model(
    model_uri: str | os.PathLike[str],
    dst_path: str | None = None,
    *,
    credential: Any = None,
    model_config: Mapping[str, Any] | None = None,
    session_options: Any = None,
    allow: Sequence[str] | None = None,
) -> HybridOnnxModel:
    """Load the model itself: the fast path, which runs no code from the model's directory.

    Parameters
    ----------
    model_uri : str or path
        A directory, or any URI that MLflow knows: ``models:/name/1``, ``models:/name@alias``,
        ``runs:/id/name``.
    dst_path : str, optional
        Directory to download to.
    credential : object with ``get_token`` or callable, optional
        As `HybridOnnxModel` takes it.
    model_config : mapping, optional
        Values for some of `hybridmodel.flavor.artifact.CONFIG_KEYS`; ``providers`` may have
        options.
    session_options : mapping or onnxruntime.SessionOptions, optional
        Instead of those that are stored, as `HybridOnnxModel` takes them: any of onnxruntime's,
        where a saved model may bring only those of `hybridmodel.flavor.stored_settings`.
    allow : sequence of str, optional
        What the model may send where, as in ``HYBRIDMODEL_ALLOW``: ``"host"`` for data,
        ``"VAR@host"`` for the key in a variable as well. docs/routes.md tells when it is needed.

    Raises
    ------
    ConfigurationError
        If there is no hybrid model, it is damaged, `model_config` has an unknown key, a setting of
        the session that only code may give is stored, or the model was saved with a route to where
        no data may be sent.
    """
    return read_model(
        model_uri,
        dst_path,
        credential=credential,
        config=model_config,
        session_options=session_options,
        allow=checked_allow(allow),
    )


def read_model(
    model_uri: str | os.PathLike[str], dst_path: str | None = None, **options: Any
) -> HybridOnnxModel:
    """Find a model's files, and read them without pyfunc as `artifact.read` does."""
    if dst_path is not None or not Path(model_uri).is_dir():
        with needed_for("loading a model from anywhere but its folder"):
            from mlflow.artifacts import download_artifacts

        model_uri = download_artifacts(artifact_uri=os.fspath(model_uri), dst_path=dst_path)
    return artifact.read(Path(model_uri, DATA_FOLDER), **options)


def _load_pyfunc(data_path: str, model_config: Mapping[str, Any] | None = None) -> PyfuncModel:
    options: dict[str, Any] = {
        "given": said_by_environment(model_config),
        "look_only": is_answering_here(),
    }
    try:
        # MLflow merges what it is called with into what is stored: it proves nothing about who.
        model = artifact.read(Path(data_path), config=model_config, **options)
        signatures.check_params(model, Path(data_path).parents[1] / "MLmodel", model_config)
        return PyfuncModel(model)
    except Exception as error:
        raise as_mlflow_exception(error) from error


def _try_example(
    model: HybridOnnxModel, data: Any, feature_names: list[str] | None, output: str | None
) -> None:
    """Run the local model on the example, whose columns name the features of the saved model."""
    names = model.feature_names or feature_names
    HybridOnnxModel(model.local, feature_names=names, output=model.output).predict(
        data, use_azure=False, output=output
    )


def _add_flavors(mlflow_model: Model, model: HybridOnnxModel) -> None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        onnx_version = version("onnx")
    except PackageNotFoundError:
        onnx_version = "unknown"
    mlflow_model.add_flavor(
        FLAVOR_NAME,
        schema_version=artifact.SCHEMA_VERSION,
        hybridmodel_version=artifact.package_version(),
        data=DATA_FOLDER,
    )
    mlflow_model.add_flavor(
        "onnx",
        onnx_version=onnx_version,
        data=f"{DATA_FOLDER}/{artifact.MODEL_FILE}",
        providers=[p if isinstance(p, str) else p[0] for p in model.local.providers],
        onnx_session_options=None,
        code=None,
    )


def _log_as_artifacts(
    model: HybridOnnxModel, name: str, registered_model_name: str | None, options: dict[str, Any]
) -> ModelInfo:
    import mlflow
    from mlflow.models import Model

    saved = {key: value for key, value in options.items() if key not in _OF_LOGGED_MODELS}
    registration = {
        key: saved.pop(key) for key in ("await_registration_for", "tags") if key in saved
    }
    with _run(saved.pop("run_id", None)) as run_id, tempfile.TemporaryDirectory() as staging:
        mlflow_model = Model(artifact_path=name, run_id=run_id)
        folder = Path(staging, "model")
        save_model(model, folder, mlflow_model=mlflow_model, **saved)
        mlflow.log_artifacts(str(folder), name, run_id=run_id)
    info = mlflow_model.get_model_info()
    if registered_model_name is not None:
        version = mlflow.register_model(info.model_uri, registered_model_name, **registration)
        info.registered_model_version = version.version
    return info


@contextmanager
def _run(run_id: str | None) -> Iterator[str]:
    import mlflow

    active = mlflow.active_run()
    if run_id is not None or active is not None:
        yield run_id or active.info.run_id
        return
    with mlflow.start_run() as started:
        yield started.info.run_id


def _no_uv_project(folder: str) -> dict[str, Any]:
    """Keep MLflow from copying the current folder's project into the model: name one without."""
    import mlflow.pyfunc

    known = inspect.signature(mlflow.pyfunc.save_model).parameters
    return {"uv_project_path": folder} if "uv_project_path" in known else {}


def _requirements(code_paths: Sequence[str] | None) -> list[str]:
    if any(Path(path).name == _PACKAGE for path in code_paths or ()):
        return list(map(_pinned, _NEEDED))
    return get_default_pip_requirements()


def _pinned(module: str) -> str:
    from importlib.metadata import PackageNotFoundError, packages_distributions, version

    try:
        return f"{module}=={version(module)}"
    except PackageNotFoundError:
        # Such as onnxruntime, which comes from onnxruntime-gpu as well.
        name = packages_distributions()[module][0]
        return f"{name}=={version(name)}"


def _as_list(requirements: Any) -> list[str]:
    if requirements is None:
        return []
    if isinstance(requirements, str):
        return Path(requirements).read_text(encoding="utf-8").splitlines()
    return list(requirements)
