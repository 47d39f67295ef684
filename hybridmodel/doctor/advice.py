"""What to write instead: another import, or the `TritonEndpoint` that replaces a node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hybridmodel.checks import printable
from hybridmodel.doctor.dead_names import TRITON_OPERATOR
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.remote.endpoint import TritonEndpoint
from hybridmodel.remote.endpoint_base import DEFAULT_KEY_ENV

KEY = (
    "remove the key from the file and revoke it, since the file's history keeps it; read the new "
    f"one from the environment, as os.environ[{DEFAULT_KEY_ENV!r}]"
)
THROUGH_MLFLOW = (
    "MLflow makes this session itself: save the model with hybridmodel.log_model, as "
    "HybridOnnxModel(file, endpoint=TritonEndpoint(...)), without these entries"
)
OTHER_SERVICE = (
    "call the service from the program with its own client, such as the openai package: the "
    "service is not a Triton server"
)
UNKNOWN: Final = ...
"""The value of an attribute that the code sets to something unknown."""

_NO_ENDPOINT = (
    "remove the node from the graph, and describe its endpoint with a TritonEndpoint; the node's "
    "own attributes do not make one"
)
_DEFAULT_TIMEOUT_S = 15.0
_INTRODUCTION = "keep the rest of the graph as a model of its own, and give that the endpoint:"


def of_operator(
    operator: str, attributes: Mapping[str, Any]
) -> tuple[str, Mapping[str, Any] | None]:
    """Say what replaces a node, and return the arguments for `TritonEndpoint` if they are known."""
    if operator != TRITON_OPERATOR:
        return f"remove the node from the graph, and {OTHER_SERVICE}", None
    arguments, notes = _arguments(attributes)
    if UNKNOWN in arguments.values():
        return _code(arguments, notes), None
    try:
        endpoint = _endpoint(arguments)
    except ConfigurationError as error:
        return f"{_NO_ENDPOINT}: {printable(str(error))}", None
    arguments["uri"] = endpoint.uri
    if endpoint.allow_http:
        arguments["allow_http"] = True
        notes["allow_http"] = "the node used no encryption; https is better"
    return _code(arguments, notes), arguments


def _endpoint(arguments: Mapping[str, Any]) -> TritonEndpoint:
    # Like a stored endpoint: trying the arguments must not grant a key to the address.
    try:
        return TritonEndpoint.from_dict(arguments)
    except ConfigurationError:
        return TritonEndpoint.from_dict({**arguments, "allow_http": True})


def _arguments(attributes: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the endpoint's arguments, and notes on some of them."""
    uri = attributes.get("model_uri", "")
    if isinstance(uri, str) and uri and "://" not in uri:
        uri = f"http://{uri}"  # The operator passed it to curl, which does the same.
    version, version_note = _version(attributes.get("model_version"))
    timeout_s, timeout_note = _timeout_s(attributes.get("timeout_seconds"))
    arguments = {
        "uri": uri,
        "model_name": attributes.get("model_name", ""),
        "model_version": version,
        "timeout_s": timeout_s,
        "auth_key_env": DEFAULT_KEY_ENV,
    }
    notes = {
        "model_version": version_note,
        "timeout_s": timeout_note,
        "auth_key_env": "the variable for the key, which the graph took as its input auth_token",
    }
    return arguments, notes


def _version(version: Any) -> tuple[Any, str]:
    if version is UNKNOWN:
        return UNKNOWN, ""
    if version is not None and str(version) != "0":
        return str(version), ""
    said = "names none, and the operator then" if version is None else "names version 0, and"
    return None, (
        f"the node {said} asks for /versions/0/infer, to which Triton answers 404 unless it has a "
        "version 0; None leaves the choice to the server"
    )


def _timeout_s(seconds: Any) -> tuple[Any, str]:
    if seconds is UNKNOWN:
        return UNKNOWN, ""
    try:
        given_s = float(seconds)
    except (TypeError, ValueError, OverflowError):
        given_s = 0.0
    is_usable = 0 < given_s < float("inf")
    whose = "the node's" if is_usable else "the operator's default"
    note = f"{whose} timeout_seconds, which it never kept; TritonEndpoint limits the whole call"
    return (given_s if is_usable else _DEFAULT_TIMEOUT_S), note


def _code(arguments: Mapping[str, Any], notes: Mapping[str, str]) -> str:
    lines = [_INTRODUCTION, "HybridOnnxModel(file, endpoint=TritonEndpoint("]
    for name, value in arguments.items():
        lines.append(f"    {name}={'...' if value is UNKNOWN else printable(repr(value), 4096)},")
    lines.append("))")
    return "\n".join([*lines, *(f"{name}: {note}" for name, note in notes.items() if note)])
