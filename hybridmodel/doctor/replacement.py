"""The `TritonEndpoint` that replaces a node of a graph, from the node's attributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from hybridmodel.doctor.dead_names import TRITON_OPERATOR
from hybridmodel.doctor.findings import shown
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.remote.endpoint import DEFAULT_KEY_ENV, TritonEndpoint

UNKNOWN: Final = ...
"""An attribute that is set, to what the code does not say."""

_DEFAULT_TIMEOUT_S = 15.0
_INTRODUCTION = "keep the rest of the graph as a model of its own, and give that the endpoint:"


@dataclass(frozen=True)
class Replacement:
    """What to write instead of a node.

    Attributes
    ----------
    change : str
        For people, in several lines.
    endpoint : dict or None
        Arguments of `TritonEndpoint`; None when the node does not say enough for one.
    """

    change: str
    endpoint: Mapping[str, Any] | None = None


def replacement(operator: str, attributes: Mapping[str, Any]) -> Replacement:
    """Say what replaces a node.

    Parameters
    ----------
    operator : str
        One of the dead operators.
    attributes : mapping
        Of the node: texts and numbers, or `UNKNOWN`.
    """
    if operator != TRITON_OPERATOR:
        return Replacement(_other_service(operator, attributes.get("model_uri")))
    arguments, notes = _arguments(attributes)
    if UNKNOWN in arguments.values():
        return Replacement(_code(arguments, notes))
    try:
        endpoint = _endpoint(arguments)
    except ConfigurationError as error:
        return Replacement(
            "take the node out of the graph, and describe where it asked with a TritonEndpoint; "
            f"the node's own attributes make none: {shown(str(error))}"
        )
    arguments["uri"] = endpoint.uri
    if endpoint.allow_http:
        arguments["allow_http"] = True
        notes["allow_http"] = "the node asked without encryption; better use https"
    return Replacement(_code(arguments, notes), arguments)


def _endpoint(arguments: Mapping[str, Any]) -> TritonEndpoint:
    # As one that somebody else describes: to try it on is not to pair a key with the place.
    try:
        return TritonEndpoint.from_dict(arguments)
    except ConfigurationError:
        return TritonEndpoint.from_dict({**arguments, "allow_http": True})


def _arguments(attributes: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the endpoint's arguments, and a note on each that needs one."""
    version, version_note = _version(attributes.get("model_version"))
    timeout_s, timeout_note = _timeout_s(attributes.get("timeout_seconds"))
    arguments = {
        "uri": _uri(attributes.get("model_uri", "")),
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


def _uri(uri: Any) -> Any:
    # The operator handed it to curl, for which an address without a scheme is http.
    return f"http://{uri}" if isinstance(uri, str) and uri and "://" not in uri else uri


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
    note = f"{whose} timeout_seconds, to which it never kept; here it ends the whole call"
    return (given_s if is_usable else _DEFAULT_TIMEOUT_S), note


def _code(arguments: Mapping[str, Any], notes: Mapping[str, str]) -> str:
    lines = [_INTRODUCTION, "HybridOnnxModel(file, endpoint=TritonEndpoint("]
    for name, value in arguments.items():
        lines.append(f"    {name}={'...' if value is UNKNOWN else shown(repr(value), 4096)},")
    lines.append("))")
    return "\n".join([*lines, *(f"{name}: {note}" for name, note in notes.items() if note)])


def _other_service(operator: str, uri: Any) -> str:
    asked = _without_secrets(uri) if isinstance(uri, str) else ""
    return (
        f"take the node out of the graph, and call the service from the program, with its own "
        f"client such as the openai package: {operator} asked {asked or 'it'} over HTTP, and no "
        "Triton server that a TritonEndpoint could describe"
    )


def _without_secrets(uri: str) -> str:
    try:
        parts = urlsplit(uri)
        host = parts.hostname
    except ValueError:
        return ""
    return shown(f"{parts.scheme}://{host}{parts.path}") if host else ""
