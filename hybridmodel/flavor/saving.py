"""Saving a model as a folder with three flavors, without a network call or another process."""

from __future__ import annotations

import inspect
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hybridmodel.checks import needed_for
from hybridmodel.flavor import artifact, signatures
from hybridmodel.flavor.artifact import DATA_FOLDER, FLAVOR_NAME
from hybridmodel.flavor.record import MODEL_FILE, schema_version_of
from hybridmodel.flavor.requirements import package_version, requirements_with
from hybridmodel.local.session_settings import provider_name
from hybridmodel.model import HybridOnnxModel

if TYPE_CHECKING:
    from mlflow.models import Model, ModelSignature
    from mlflow.models.resources import Resource

    from hybridmodel.call_types import Data


def save_model(
    model: HybridOnnxModel,
    path: str | os.PathLike[str],
    *,
    mlflow_model: Model | None = None,
    signature: ModelSignature | Literal["params"] | None = None,
    input_example: Data | None = None,
    pip_requirements: str | list[str] | None = None,
    extra_pip_requirements: str | list[str] | None = None,
    conda_env: str | dict[str, Any] | None = None,
    code_paths: list[str] | None = None,
    metadata: dict[str, Any] | None = None,
    resources: str | list[Resource] | None = None,
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
        pip_requirements = requirements_with(code_paths, extra_pip_requirements)
        extra_pip_requirements = None
    mlflow_model = mlflow_model or Model()
    mlflow_model.signature = signature
    _add_flavors(mlflow_model, model)
    with tempfile.TemporaryDirectory() as staging:
        staged = Path(staging) / FLAVOR_NAME
        artifact.write(model, staged, feature_names)
        mlflow.pyfunc.save_model(
            path,
            loader_module=__package__,
            data_path=str(staged),
            mlflow_model=mlflow_model,
            # MLflow checks an example against the signature, and warns where there is no example.
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


def _try_example(
    model: HybridOnnxModel, data: Any, feature_names: list[str] | None, output: str | None
) -> None:
    """Run the local model on the example, whose columns become its feature names."""
    names = model.feature_names or feature_names
    HybridOnnxModel(model.local, feature_names=names, output=model.output).predict(
        data, use_azure=False, output=output
    )


def _add_flavors(mlflow_model: Model, model: HybridOnnxModel) -> None:
    mlflow_model.add_flavor(
        FLAVOR_NAME,
        schema_version=schema_version_of(model),
        hybridmodel_version=package_version(),
        data=DATA_FOLDER,
    )
    mlflow_model.add_flavor(
        "onnx",
        onnx_version=package_version("onnx", unknown="unknown"),
        data=f"{DATA_FOLDER}/{MODEL_FILE}",
        providers=list(map(provider_name, model.local.providers)),
        onnx_session_options=None,
        code=None,
    )


def _no_uv_project(folder: str) -> dict[str, Any]:
    """Name a folder without a project: MLflow would copy that of the current folder."""
    import mlflow.pyfunc

    known = inspect.signature(mlflow.pyfunc.save_model).parameters
    return {"uv_project_path": folder} if "uv_project_path" in known else {}
