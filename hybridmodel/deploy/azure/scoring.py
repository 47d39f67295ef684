"""Answers the requests of Azure's inference server with a hybrid model.

The body is what ``mlflow models serve`` takes as JSON, or Azure's own form of it under
``input_data``. Errors keep the status that they have there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.checks import shown
from hybridmodel.exceptions import ConfigurationError, EndpointUnavailable, InputMismatch
from hybridmodel.flavor import load_model
from hybridmodel.flavor.pyfunc import as_mlflow_exception
from hybridmodel.flavor.signatures import PARAMS
from hybridmodel.routing import parse_use_azure

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel

_JSON = "application/json"
_PARAMS = tuple(name for name, _ in PARAMS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer to a request; `body` is JSON."""

    status: int
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)


class Scoring:
    """A model that answers bodies of requests."""

    def __init__(self, model: HybridOnnxModel) -> None:
        self._model = model
        # What is loaded here is not waited for by the first request, for which no probe waits.
        for name in ("mlflow.exceptions", "pandas"):
            import_module(name)
        _ = model.local.session

    @classmethod
    def below(cls, folder: str | Path) -> Scoring:
        """Load the saved model in a folder, or below it, where Azure has put it.

        Raises `ConfigurationError` if there is none.
        """
        described = next(Path(folder).rglob("MLmodel"), None)
        if described is None:
            raise ConfigurationError(
                f"{folder}: has no saved model, which is a folder with MLmodel"
            )
        return cls(load_model(described.parent))

    def reply(self, body: bytes, content_type: str | None) -> Reply:
        """Answer a request; every error is a reply with its status."""
        if (content_type or _JSON).partition(";")[0].strip().lower() != _JSON:
            return _refused(415, "BAD_REQUEST", f"expected {_JSON}, not {shown(content_type)}")
        try:
            data, params = read_request(body)
            answer = self._model.predict(data, **params)
            return Reply(status=200, body=_json({"predictions": plain(answer)}))
        except Exception as error:  # noqa: BLE001 - the server would make each a 500
            return _reply_to(error)

    def too_large(self, most_bytes: int) -> Reply:
        """Refuse a request whose body has more bytes."""
        return _refused(413, "BAD_REQUEST", f"the body has more than {most_bytes} bytes")


def read_request(body: bytes) -> tuple[Any, Mapping[str, Any]]:
    """Return the data of a request, as a frame, list or dict of arrays, and its params.

    Raises `InputMismatch` if the body is not JSON, or has not one of the known keys.
    """
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InputMismatch(f"the body is not JSON: {error}") from error
    named = [key for key in _READERS if key in given] if isinstance(given, dict) else []
    if len(named) != 1 or given.keys() - {*named, "params"}:
        raise InputMismatch(
            f"the body is an object with one of {', '.join(_READERS)}, and params if there are any"
        )
    params = given.get("params") or {}
    (key,) = named
    return _data(key, given[key]), _checked(params)


def plain(answer: Any) -> Any:
    """Return an answer in JSON's types: rows as objects, arrays as lists, NaN as null."""
    if isinstance(answer, Mapping):
        return {name: plain(value) for name, value in answer.items()}
    if hasattr(answer, "to_frame"):
        return _finite(answer.tolist())
    if hasattr(answer, "to_dict"):
        return _finite(answer.to_dict(orient="records"))
    return _finite(np.asarray(answer).tolist())


def _checked(params: Any) -> dict[str, Any]:
    """Return params as `HybridOnnxModel.predict` takes them."""
    if not isinstance(params, dict) or params.keys() - set(_PARAMS):
        raise InputMismatch(
            f"params is an object with some of {', '.join(_PARAMS)}, not {shown(params)}"
        )
    for name in ("mode", "output"):
        if not isinstance(params.get(name), (str, type(None))):
            raise InputMismatch(f"the param {name} is a name, not {shown(params[name])}")
    if "provenance" in params:
        return params | {"provenance": bool(parse_use_azure(params["provenance"], "provenance"))}
    return params


def _data(key: str, value: Any) -> Any:
    try:
        return _READERS[key](value)
    except (ValueError, TypeError, AttributeError) as error:
        raise InputMismatch(f"{key}: cannot be read as rows ({error})") from error


def _array(value: Any) -> Any:
    """Return rows as a list, or as a frame where each names its values."""
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        return _records(value)
    return value


def _split(value: Any) -> Any:
    import pandas as pd

    known = {name: value[name] for name in ("columns", "index", "data") if name in value}
    if value.keys() - known.keys():
        raise ValueError(f"it has {', '.join(sorted(value.keys() - known.keys()))}")
    if any(
        isinstance(label, (list, dict))
        for name in ("columns", "index")
        for label in known.get(name) or ()
    ):
        raise ValueError("columns and index are lists of names or numbers")
    rows = known.get("data", [])
    # Pandas fills short rows up with NaN.
    if not all(isinstance(row, list) for row in rows) or len(set(map(len, rows))) > 1:
        raise ValueError("data is a list of rows, lists of the same length")
    return pd.DataFrame(**known)


def _records(value: Any) -> Any:
    import pandas as pd

    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise TypeError("it is a list of rows, objects with a value for each column")
    if any(row.keys() != value[0].keys() for row in value):
        raise ValueError("not all rows have the same columns")
    return pd.DataFrame.from_records(value)


def _azure(value: Any) -> Any:
    """Return what Azure's own form holds: a table, or arrays."""
    is_table = isinstance(value, dict) and "data" in value
    return _split(value) if is_table else _array(value)


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "dataframe_split": _split,
    "dataframe_records": _records,
    "instances": _array,
    "inputs": _array,
    "input_data": _azure,
}


def _finite(value: Any) -> Any:
    """Replace what JSON has no form for: NaN and infinities become null."""
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=str)


def _reply_to(error: Exception) -> Reply:
    told = as_mlflow_exception(error)
    headers = {}
    if isinstance(error, EndpointUnavailable) and error.retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    return _refused(told.get_http_status_code(), told.error_code, told.message, headers)


def _refused(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> Reply:
    body = _json({"error_code": code, "message": message})
    return Reply(status=status, body=body, headers=headers or {})
