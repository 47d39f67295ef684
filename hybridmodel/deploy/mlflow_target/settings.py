"""The config of a deployment or endpoint: ``-C key=value``, with the names of export's options."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from hybridmodel.checks import as_float, shown
from hybridmodel.deploy.azure import Wanted
from hybridmodel.deploy.exporting import Exported
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.switch import parse_use_azure

OF_EXPORT = (
    *("model_name", "model_version", "max_batch_size", "cores", "instances", "queue_size"),
    *("queue_delay", "warm_up", "copy", "verify"),
)
"""Keys about the repository for Triton."""

OF_INSTANCES = ("instance_type", "instance_count", "request_timeout", "concurrency")
"""Keys about a deployment at Azure."""

OF_ENDPOINT = ("auth_mode", "compute", "compute_name")
"""Keys about a whole endpoint at Azure."""

HYBRID = ("azure_mlflow", "azure_script")
"""Keys that deploy the hybrid model itself, instead of a repository for Triton."""

OF_HYBRID = (*HYBRID, "key_secret")
OF_KSERVE = ("kserve", "storage_uri")

KEYS = (*OF_EXPORT, "azure", *OF_ENDPOINT, *OF_INSTANCES, *OF_HYBRID, *OF_KSERVE)
"""All keys of a deployment."""

Reader = Callable[[str, Any], Any]
"""Takes a key and its value, and returns the value in its type."""

_PYTHON_NAMES = {"queue_delay": "queue_delay_us", "request_timeout": "request_timeout_s"}
"""What the functions of Python call a key, where they add a unit."""


def read_config(config: Mapping[str, Any] | None, offered: Collection[str]) -> dict[str, Any]:
    """Return a config with its values as numbers and switches, where they are written as text.

    A dash counts as an underscore. Raises `ConfigurationError` for a key that is not `offered`, and
    for a value that cannot be read.
    """
    if config is not None and not isinstance(config, Mapping):
        raise ConfigurationError(f"config is a mapping of keys to values, not {shown(config)}")
    found: dict[str, Any] = {}
    for given, value in (config or {}).items():
        key = given.replace("-", "_") if isinstance(given, str) else given
        if key not in offered:
            raise ConfigurationError(
                f"config has no key {shown(given)} here; on offer: {', '.join(offered)}"
            )
        if key in found:
            raise ConfigurationError(f"config names {key} twice")
        if value is not None:
            reader: Reader = _READERS.get(key, _text)
            found[key] = reader(key, value)
    return found


def check_group(given: Mapping[str, Any]) -> None:
    """Refuse the config of a deployment whose keys do not go together, or would do nothing."""
    hybrid = [key for key in HYBRID if key in given]
    if len(hybrid) > 1 or (hybrid and "azure" in given):
        raise ConfigurationError("azure, azure_mlflow and azure_script are one endpoint each")
    if hybrid:
        _refuse(given, (*OF_EXPORT[1:], *OF_KSERVE), "is about a repository for Triton, not about")
    elif "key_secret" in given:
        raise ConfigurationError("key_secret needs azure_mlflow or azure_script")
    if ("kserve" in given) != ("storage_uri" in given):
        raise ConfigurationError("kserve and storage_uri go together")


def check_alone(given: Mapping[str, Any]) -> None:
    """Refuse, without an endpoint of Azure, what only describes one."""
    if not any(key in given for key in HYBRID):
        _refuse(given, (*OF_ENDPOINT, *OF_INSTANCES), "needs an endpoint: endpoint=NAME, or")


def export_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `hybridmodel.deploy.export` is called with."""
    options = {_PYTHON_NAMES.get(key, key): given[key] for key in OF_EXPORT if key in given}
    return {**options, "linked": not options.pop("copy", False)}


def wanted(endpoint: str, given: Mapping[str, Any]) -> Wanted:
    """Return the endpoint of Azure that a config describes."""
    keys = (*OF_ENDPOINT, *OF_INSTANCES, "key_secret")
    options = {_PYTHON_NAMES.get(key, key): given[key] for key in keys if key in given}
    return Wanted(endpoint=endpoint, **options)


def write_service(exported: Exported, given: Mapping[str, Any]) -> None:
    """Write the file for KServe, if the config names a service."""
    if "kserve" in given:
        from hybridmodel.deploy import kserve

        service = kserve.Service(name=given["kserve"], storage_uri=given["storage_uri"])
        kserve.write(exported, service)


def _refuse(given: Mapping[str, Any], keys: Collection[str], why: str) -> None:
    unused = [key for key in keys if key in given]
    if unused:
        raise ConfigurationError(f"{unused[0]} {why} azure=NAME, azure_mlflow=… or azure_script=…")


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"{key} is a text, not a {type(value).__name__}")
    return value


def _version(key: str, value: Any) -> str:
    return _text(key, str(value) if type(value) is int else value)


def _count(key: str, value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 19:
        return int(value)
    if type(value) is not int:
        raise ConfigurationError(f"{key} is a whole number, not {shown(value)}")
    return value


def _seconds(key: str, value: Any) -> float:
    try:
        number = float(value) if isinstance(value, str) else as_float(value)
    except ValueError:
        number = float("nan")
    if number != number:
        raise ConfigurationError(f"{key} is a number of seconds, not {shown(value)}")
    return number


def _anything(_key: str, value: Any) -> Any:
    return value


def _switch(key: str, value: Any) -> bool:
    return bool(parse_use_azure(value, key))


_READERS: Mapping[str, Reader] = {
    **dict.fromkeys(
        (
            *("max_batch_size", "cores", "instances", "queue_size", "queue_delay"),
            *("instance_count", "concurrency", "port"),
        ),
        _count,
    ),
    **dict.fromkeys(("warm_up", "copy", "verify"), _switch),
    "model_version": _version,
    "request_timeout": _seconds,
    # A text or a mapping, which `hybridmodel.deploy.mlflow_target.shares` reads.
    **dict.fromkeys(("traffic", "mirror"), _anything),
}
