"""Loading a model: natively, which runs no code from its folder, and for pyfunc."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hybridmodel.checks import needed_for
from hybridmodel.flavor import artifact, pyfunc, signatures
from hybridmodel.flavor.artifact import DATA_FOLDER
from hybridmodel.model import HybridOnnxModel
from hybridmodel.remote.trust.grants import checked_allow

if TYPE_CHECKING:
    from hybridmodel.call_types import Credential, SessionOptions


def load_model(
    model_uri: str | os.PathLike[str],
    dst_path: str | None = None,
    *,
    credential: Credential | None = None,
    model_config: Mapping[str, Any] | None = None,
    session_options: SessionOptions | None = None,
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
        ``"VAR@host"`` for the key in a variable as well. docs/routes.md says when it is needed.

    Raises
    ------
    ConfigurationError
        If there is no hybrid model, it is damaged, `model_config` has an unknown key, the model
        has a session setting that only code may pass, or a route to where no data may be sent.
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
    """Find a model's files, and read them without pyfunc; takes the options of `artifact.read`."""
    return artifact.read(model_folder(model_uri, dst_path) / DATA_FOLDER, **options)


def model_folder(model_uri: str | os.PathLike[str], dst_path: str | None = None) -> Path:
    """Return the folder of a saved model, which is downloaded unless it is one already.

    With `dst_path`, it is downloaded in any case.
    """
    if dst_path is None and Path(model_uri).is_dir():
        return Path(model_uri)
    with needed_for("a model that is not a folder"):
        from mlflow.artifacts import download_artifacts

    return Path(download_artifacts(artifact_uri=os.fspath(model_uri), dst_path=dst_path))


def load_pyfunc(
    data_path: str, model_config: Mapping[str, Any] | None = None
) -> pyfunc.PyfuncModel:
    """Load what ``mlflow.pyfunc.load_model`` wraps."""
    try:
        # MLflow merges its caller's values into stored ones, so only the environment's are known.
        model = artifact.read(
            Path(data_path),
            config=model_config,
            given=pyfunc.set_by_environment(model_config),
            look_only=pyfunc.is_answering_locally(),
        )
        signatures.check_params(model, Path(data_path).parents[1] / "MLmodel", model_config)
        return pyfunc.PyfuncModel(model)
    except Exception as error:
        raise pyfunc.as_mlflow_exception(error) from error
