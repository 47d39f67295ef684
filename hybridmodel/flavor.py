"""The MLflow flavor: save, log and load a `HybridOnnxModel` like any other model.

A saved model has three flavors in one directory: ``hybrid_onnx`` (this module's `load_model`),
``python_function`` (``mlflow.pyfunc.load_model``) and ``onnx`` (``mlflow.onnx.load_model``).
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hybridmodel import artifact, signatures
from hybridmodel.exceptions import (
    AuthenticationFailed,
    ConfigurationError,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
    HybridModelError,
    InputMismatch,
    RateLimited,
)
from hybridmodel.model import HybridOnnxModel

if TYPE_CHECKING:
    from mlflow.models import Model
    from mlflow.models.model import ModelInfo

FLAVOR_NAME = "hybrid_onnx"
DATA_FOLDER = f"data/{FLAVOR_NAME}"

_UV_SWITCH = "MLFLOW_UV_AUTO_DETECT"
_saving: ContextVar[bool] = ContextVar("hybridmodel_saving", default=False)


def get_default_pip_requirements() -> list[str]:
    """Return what an environment needs to load and run a saved model.

    A released hybridmodel is pinned; one installed from a checkout cannot be had by version, so
    give ``code_paths`` or ``pip_requirements`` with it.
    """
    from importlib.metadata import version

    own = artifact.package_version().partition("+")[0]
    others = ("mlflow", "onnxruntime", "numpy", "pandas", "requests")
    return [f"hybridmodel=={own}", *(f"{name}=={version(name)}" for name in others)]


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
        As `hybridmodel.signatures.signature_of` takes it.
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
    """
    import mlflow.pyfunc
    from mlflow.models import Model

    data, params = signatures.split_example(input_example)
    feature_names = signatures.feature_names_of(model, data)
    model_signature = signatures.signature_of(model, signature, data)
    if data is not None:
        model.predict(data, use_azure=False, output=params.get("output"))
    if conda_env is None and pip_requirements is None:
        pip_requirements = [*get_default_pip_requirements(), *_as_list(extra_pip_requirements)]
        extra_pip_requirements = None
    mlflow_model = mlflow_model or Model()
    mlflow_model.signature = model_signature
    _add_flavors(mlflow_model, model)
    with tempfile.TemporaryDirectory() as staging, _only_here():
        staged = Path(staging) / FLAVOR_NAME
        artifact.write(model, staged, feature_names)
        mlflow.pyfunc.save_model(
            path,
            loader_module=__name__,
            data_path=str(staged),
            mlflow_model=mlflow_model,
            input_example=input_example,
            pip_requirements=pip_requirements,
            extra_pip_requirements=extra_pip_requirements,
            conda_env=conda_env,
            code_paths=code_paths,
            metadata=metadata,
            model_config=artifact.config_of(model),
            resources=resources,
        )


def log_model(
    model: HybridOnnxModel,
    name: str | None = None,
    *,
    registered_model_name: str | None = None,
    **options: Any,
) -> ModelInfo:
    """Log a model to the active run, or to a new one, and register it if asked.

    Parameters
    ----------
    model : HybridOnnxModel
        What to log.
    name : str, optional
        Name of the logged model, ``"model"`` where the server needs one.
    registered_model_name : str, optional
        Registers a version under this name.
    **options
        What `save_model` takes, and what ``mlflow.models.Model.log`` does: ``params``, ``tags``,
        ``model_type``, ``step``, ``model_id``, ``run_id``, ``await_registration_for``.

    Returns
    -------
    mlflow.models.model.ModelInfo
        Load the model by its ``model_uri``.

    Notes
    -----
    A server without MLflow 3's logged models, such as Azure Machine Learning, gets the model as
    artifacts of the run.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model

    try:
        with _only_here():
            return Model.log(
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
    return _log_as_artifacts(model, name or "model", registered_model_name, options)


def load_model(
    model_uri: str | os.PathLike[str],
    dst_path: str | None = None,
    *,
    credential: Any = None,
    model_config: Mapping[str, Any] | None = None,
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
        Values for some of `hybridmodel.artifact.CONFIG_KEYS`.

    Raises
    ------
    ConfigurationError
        If there is no hybrid model, it is damaged, or `model_config` has an unknown key.
    """
    folder = Path(model_uri) if not isinstance(model_uri, str) or "://" not in model_uri else None
    if folder is None or not folder.is_dir():
        from mlflow.artifacts import download_artifacts

        folder = Path(download_artifacts(artifact_uri=str(model_uri), dst_path=dst_path))
    return artifact.read(folder / DATA_FOLDER, credential=credential, config=model_config)


def _load_pyfunc(data_path: str, model_config: Mapping[str, Any] | None = None) -> PyfuncModel:
    try:
        return PyfuncModel(artifact.read(Path(data_path), config=model_config))
    except HybridModelError as error:
        raise _as_mlflow_exception(error) from error


class PyfuncModel:
    """What ``mlflow.pyfunc.load_model`` wraps: `HybridOnnxModel` in MLflow's words.

    Parameters
    ----------
    model : HybridOnnxModel
        The model itself.
    """

    def __init__(self, model: HybridOnnxModel) -> None:
        self._model = model

    def get_raw_model(self) -> HybridOnnxModel:
        """Return the model itself."""
        return self._model

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        """Answer as `HybridOnnxModel.predict` does.

        Parameters
        ----------
        data : DataFrame, Series, ndarray, list, or dict of arrays
            As MLflow hands it over.
        params : dict, optional
            ``use_azure``, ``timeout`` and ``output``.

        Raises
        ------
        mlflow.exceptions.MlflowException
            For every error of hybridmodel, with the code that makes a scoring server answer with
            the right status.
        """
        params = params or {}
        try:
            return self._model.predict(
                data,
                use_azure=False if _saving.get() else params.get("use_azure"),
                output=params.get("output"),
                timeout=params.get("timeout"),
            )
        except HybridModelError as error:
            raise _as_mlflow_exception(error) from error


_ERROR_CODES: tuple[tuple[type[HybridModelError], str], ...] = (
    (RateLimited, "REQUEST_LIMIT_EXCEEDED"),
    (EndpointTimeout, "DEADLINE_EXCEEDED"),
    (EndpointUnavailable, "TEMPORARILY_UNAVAILABLE"),
    (EndpointRefused, "BAD_REQUEST"),
    (ConfigurationError, "INVALID_PARAMETER_VALUE"),
    (InputMismatch, "INVALID_PARAMETER_VALUE"),
)


def _as_mlflow_exception(error: HybridModelError) -> Exception:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import ErrorCode

    code = next((code for kind, code in _ERROR_CODES if isinstance(error, kind)), "INTERNAL_ERROR")
    if isinstance(error, AuthenticationFailed):
        code = "PERMISSION_DENIED" if error.status == 403 else "UNAUTHENTICATED"
    return MlflowException(
        f"{type(error).__name__}: {error}", error_code=ErrorCode.Value(code)
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

    run = mlflow.active_run() or mlflow.start_run()
    run_id = options.get("run_id") or run.info.run_id
    known = save_model.__kwdefaults__ or {}
    mlflow_model = Model(artifact_path=name, run_id=run_id)
    with tempfile.TemporaryDirectory() as staging:
        folder = Path(staging) / name
        saved = {key: value for key, value in options.items() if key in known}
        save_model(model, folder, mlflow_model=mlflow_model, **saved)
        mlflow.log_artifacts(str(folder), name, run_id=run_id)
    info = mlflow_model.get_model_info()
    if registered_model_name is not None:
        version = mlflow.register_model(f"runs:/{run_id}/{name}", registered_model_name)
        info.registered_model_version = version.version
    return info


@contextmanager
def _only_here() -> Iterator[None]:
    """Keep MLflow, while it saves, from the endpoint and from the files of the current project."""
    before = os.environ.get(_UV_SWITCH)
    token = _saving.set(True)
    os.environ[_UV_SWITCH] = "false"
    try:
        yield
    finally:
        _saving.reset(token)
        if before is None:
            os.environ.pop(_UV_SWITCH, None)
        else:
            os.environ[_UV_SWITCH] = before


def _as_list(requirements: Any) -> list[str]:
    if requirements is None:
        return []
    if isinstance(requirements, str):
        return Path(requirements).read_text(encoding="utf-8").splitlines()
    return list(requirements)
