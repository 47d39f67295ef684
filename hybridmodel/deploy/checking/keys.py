"""The keys of endpoints and deployments with the types of their values.

Source: the command line's YAML references and the schemas of azure-ai-ml, with which a test
compares the tables.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from hybridmodel.checks import printable
from hybridmodel.deploy.checking.documents import Document
from hybridmodel.deploy.checking.findings import Finding, Place
from hybridmodel.deploy.checking.yaml_tree import Node

ANY, TEXT, NUMBER, DECIMAL, FLAG, MAP, LIST = "", "text", "int", "float", "bool", "map", "list"

_COMMON: Mapping[str, Any] = {
    "$schema": ANY, "name": TEXT, "id": TEXT, "description": TEXT, "tags": MAP, "properties": MAP,
    "provisioning_state": TEXT, "type": TEXT,
}  # fmt: skip
_ENDPOINT: Mapping[str, Any] = {
    **{key: value for key, value in _COMMON.items() if key != "type"},
    "auth_mode": TEXT, "location": TEXT, "openapi_uri": TEXT, "scoring_uri": TEXT,
    "identity": {
        "type": TEXT, "user_assigned_identities": LIST, "principal_id": TEXT, "tenant_id": TEXT,
    },
}  # fmt: skip
_ONLINE_ENDPOINT: Mapping[str, Any] = {**_ENDPOINT, "traffic": MAP, "mirror_traffic": MAP}
_PROBE: Mapping[str, Any] = dict.fromkeys(
    ("initial_delay", "period", "timeout", "success_threshold", "failure_threshold"), NUMBER
)
_RESOURCE: Mapping[str, Any] = {"cpu": ANY, "memory": ANY, "gpu": ANY}
_DEPLOYMENT: Mapping[str, Any] = {
    **_COMMON,
    "endpoint_name": TEXT, "model": ANY, "environment": ANY, "environment_variables": MAP,
    "code_configuration": {"code": TEXT, "scoring_script": TEXT},
}  # fmt: skip
_ONLINE: Mapping[str, Any] = {
    **_DEPLOYMENT,
    "app_insights_enabled": FLAG, "instance_count": NUMBER, "instance_type": TEXT,
    "model_mount_path": TEXT, "liveness_probe": _PROBE, "readiness_probe": _PROBE,
    "request_settings": {
        "request_timeout_ms": NUMBER, "max_concurrent_requests_per_instance": NUMBER,
        "max_queue_wait_ms": NUMBER,
    },
    "scale_settings": {
        "type": TEXT, "min_instances": NUMBER, "max_instances": NUMBER, "polling_interval": NUMBER,
        "target_utilization_percentage": NUMBER,
    },
    "data_collector": {
        "collections": MAP, "rolling_rate": TEXT, "sampling_rate": DECIMAL,
        "request_logging": {"capture_headers": LIST},
    },
}  # fmt: skip
_RETRY: Mapping[str, Any] = {"max_retries": NUMBER, "timeout": NUMBER}
_BATCH_SETTINGS: Mapping[str, Any] = {
    "error_threshold": NUMBER, "logging_level": TEXT, "max_concurrency_per_instance": NUMBER,
    "mini_batch_size": NUMBER, "output_action": TEXT, "output_file_name": TEXT,
    "retry_settings": _RETRY,
}  # fmt: skip
_BATCH: Mapping[str, Any] = {
    **{key: value for key, value in _DEPLOYMENT.items() if key != "provisioning_state"},
    **_BATCH_SETTINGS, "component": ANY, "job_definition": ANY,
    "compute": TEXT,
    "resources": {
        "instance_count": NUMBER, "instance_type": TEXT, "max_instance_count": NUMBER,
        "docker_args": ANY, "locations": LIST, "properties": MAP, "shm_size": TEXT,
    },
    "settings": {**_BATCH_SETTINGS, "environment_variables": MAP, "instance_count": NUMBER},
}  # fmt: skip

KEYS: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("endpoint", "managed"): {**_ONLINE_ENDPOINT, "public_network_access": TEXT},
    ("endpoint", "kubernetes"): {**_ONLINE_ENDPOINT, "compute": TEXT},
    ("endpoint", "batch"): {**_ENDPOINT, "defaults": {"deployment_name": TEXT}},
    ("deployment", "managed"): {
        **_ONLINE, "egress_public_network_access": TEXT, "private_network_connection": ANY,
    },
    ("deployment", "kubernetes"): {
        **_ONLINE, "resources": {"requests": _RESOURCE, "limits": _RESOURCE},
    },
    ("deployment", "batch"): _BATCH,
}  # fmt: skip
"""For each kind of document its keys: with the type of the value, or the keys of a mapping."""

_REQUIRED: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("endpoint", "managed"): ("name",),
    ("endpoint", "kubernetes"): ("name", "compute"),
    ("endpoint", "batch"): ("name",),
    ("deployment", "managed"): ("name", "endpoint_name", "instance_type"),
    ("deployment", "kubernetes"): ("name", "endpoint_name"),
    ("deployment", "batch"): ("name", "endpoint_name"),
}
_WORDS = {
    TEXT: "a text", NUMBER: "a whole number", DECIMAL: "a number", FLAG: "true or false",
    MAP: "a mapping", LIST: "a list",
}  # fmt: skip
_TYPES: Mapping[str, tuple[type, ...]] = {
    TEXT: (str,), NUMBER: (int,), DECIMAL: (int, float), FLAG: (bool,), MAP: (dict,),
    LIST: (tuple,),
}  # fmt: skip


def check(document: Document) -> Iterator[Finding]:
    """Yield what is wrong with a document's keys, and with the types of their values."""
    kind = (document.what, document.platform)
    for key in _REQUIRED[kind]:
        if key not in document.root.members:
            what = f"{document.what} without {key}"
            yield document.place.found("missing-key", document.root.line, what, f"write {key}:")
    if not document.pipeline:  # Its settings are another family's, and Azure reads them itself.
        yield from _check_keys(document.place, document.root, KEYS[kind], "")


def word(value: Any) -> str:
    """Name the type of a value; the value itself may be a secret."""
    if value is None:
        return "nothing"
    kinds = {str: TEXT, int: NUMBER, float: DECIMAL, bool: FLAG, dict: MAP, tuple: LIST}
    return _WORDS[kinds[type(value)]]


def _check_keys(place: Place, node: Node, known: Mapping[str, Any], way: str) -> Iterator[Finding]:
    for key, value in node.members.items():
        if key not in known:
            yield place.found(
                "unknown-key",
                value.line,
                f"{way}{printable(key, 60)} is no key that Azure knows",
                _did_you_mean(key, known),
            )
        elif isinstance(known[key], Mapping) and isinstance(value.value, dict):
            yield from _check_keys(place, value, known[key], f"{way}{key}.")
        else:
            yield from _check_type(place, value, known[key], f"{way}{key}")


def _check_type(place: Place, node: Node, known: Any, way: str) -> Iterator[Finding]:
    expected = MAP if isinstance(known, Mapping) else known
    if expected == ANY or node.value is None:
        return
    is_flag = isinstance(node.value, bool)
    if not isinstance(node.value, _TYPES[expected]) or (is_flag and expected != FLAG):
        yield place.found(
            "wrong-type",
            node.line,
            f"{way} is {word(node.value)}",
            f"write {_WORDS[expected]} for {way}",
        )


def _did_you_mean(key: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(key[:60], list(known), 1, 0.6)
    return f"write {near[0]}, or leave it out" if near else "leave it out"
