"""A hybrid model as files: the ONNX model, byte for byte, and `hybrid.json` beside it.

Reading them runs no code from the folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from hybridmodel.data.json_records import loads
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.flavor.record import MODEL_FILE, HybridRecord
from hybridmodel.flavor.stored_settings import check_configured, from_stored
from hybridmodel.local.session import LocalSession
from hybridmodel.local.stored_files import read_bounded
from hybridmodel.model import HybridOnnxModel
from hybridmodel.remote.endpoint import TritonEndpoint
from hybridmodel.remote.endpoint_base import Endpoint
from hybridmodel.remote.endpoints import KINDS, kind_of
from hybridmodel.remote.trust.grants import Grant
from hybridmodel.remote.trust.permission import permission_of
from hybridmodel.remote.trust.redirection import redirected
from hybridmodel.routing import LOCAL, parse_use_azure

FLAVOR_NAME = "hybrid_onnx"
DATA_FOLDER = f"data/{FLAVOR_NAME}"
"""Where the files are in a saved model."""

METADATA_FILE = "hybrid.json"
MOST_METADATA_BYTES = 1 << 24
"""Size of the largest ``hybrid.json`` that is read; a usual one has some kilobytes."""

_DEFAULTS: dict[type[Endpoint], dict[str, Any]] = {
    kind: {
        item.name: None if item.default is MISSING else item.default
        for item in fields(kind)
        if item.name in kind.field_names()
    }
    for kind in KINDS.values()
}
ENDPOINT_DEFAULTS = _DEFAULTS[TritonEndpoint]
_ENDPOINT_KEYS = tuple(dict.fromkeys(name for kind in _DEFAULTS.values() for name in kind))
_NAMES = ("uri", "model_name", "model")
CONFIG_KEYS = ("use_azure", "mode", "output", "providers", *_ENDPOINT_KEYS)
"""What ``model_config`` may change when a model is loaded."""

_MALFORMED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def write(model: HybridOnnxModel, folder: Path, feature_names: list[str] | None = None) -> None:
    """Write a model into a folder, without its credential.

    `feature_names` are stored where the model itself has none. Raises for session options that are
    for code only, or cannot be written.
    """
    if METADATA_FILE in model.onnx.external_files:
        raise ConfigurationError(
            f"the model has tensors in a file {METADATA_FILE!r}, a name that hybridmodel needs; "
            "save it with another name for its external data"
        )
    model.onnx.copy_to(folder, MODEL_FILE)
    stored = HybridRecord.of(model, feature_names).to_dict()
    text = json.dumps(stored, indent=2, allow_nan=False) + "\n"
    if len(text) > MOST_METADATA_BYTES:
        raise ConfigurationError(
            f"{METADATA_FILE} of this model has {len(text)} bytes, and loading would refuse it: at "
            f"most {MOST_METADATA_BYTES} are allowed"
        )
    (folder / METADATA_FILE).write_text(text, encoding="utf-8")


def read(
    folder: Path,
    *,
    credential: Any = None,
    config: Mapping[str, Any] | None = None,
    given: Collection[str] = CONFIG_KEYS,
    session_options: Any = None,
    allow: tuple[Grant, ...] = (),
    look_only: bool = False,
) -> HybridOnnxModel:
    """Read a model that `write` wrote.

    `config` has values for some of `CONFIG_KEYS`, which replace stored ones; `given` are the keys
    of `config` that the program or the machine set, not the saved model. `session_options` replace
    all stored ones. `allow` is what the program allows the model's endpoint. With `look_only`, a
    stored route to where no data may be sent is refused at the first call, and not now.

    Raises `ConfigurationError` for a file that is missing, damaged or of a later major version, for
    an unknown key of `config`, for a stored setting that only code may pass, and for a stored route
    to where no data may be sent, unless another route is chosen.
    """
    path = folder / METADATA_FILE
    record = _read_record(path)
    config = _checked_config(config)
    if "providers" not in given:
        check_configured(config.get("providers"))
    try:
        session = from_stored(record.session, config.get("providers"), session_options)
        model = HybridOnnxModel(
            LocalSession(record.model.read(folder), spec=record.model.spec, **session),
            endpoint=_endpoints(record.endpoints, config, given, allow) or None,
            credential=credential,
            feature_names=record.feature_names,
            output=config.get("output", record.output),
            use_azure=record.use_azure,
            routing=record.routing,
        )
        model.policies.configure(config.get("use_azure"), config.get("mode"))
        _check_route(model, config, given, look_only)
    except ConfigurationError:
        raise
    except _MALFORMED as error:
        raise ConfigurationError(
            f"{path}: is not what hybridmodel writes: {repr(error)[:500]}"
        ) from error
    return model


def config_of(model: HybridOnnxModel) -> dict[str, Any]:
    """Return every key that may be changed when this model is loaded, with the model's value.

    ``use_azure`` and ``mode`` are None, not set, so that the environment can set them, and so are
    the keys of the endpoint where there are several, whose values differ.
    """
    endpoint: Mapping[str, Any] = ENDPOINT_DEFAULTS
    if model.endpoint is not None:
        several = len(model.endpoints) > 1
        own = model.endpoint.to_dict()
        endpoint = dict.fromkeys(own) if several else own
    return {"use_azure": None, "mode": None, "output": model.output, "providers": None, **endpoint}


def _check_route(
    model: HybridOnnxModel, config: Mapping[str, Any], given: Collection[str], look_only: bool
) -> None:
    """Refuse a stored route to where no data may be sent; a call may choose another."""
    policies = model.policies
    chosen = {key for key in ("use_azure", "mode") if config.get(key) is not None}
    configured = None if chosen <= set(given) else policies.configured
    unasked = configured or policies.saved
    if unasked.mode == LOCAL:
        return
    asked = (permission_of(redirected(endpoint)) for endpoint in model.endpoints)
    refused = [item for item in asked if item is not None and not item.allows(None)]
    if not refused:
        return
    refusal = (
        f"the model is saved with mode {unasked.mode!r}, which would send rows although no call "
        f"asks for it: {'; '.join(item.refusal(item.wanted()) for item in refused)}"
    )
    if configured is not None:
        raise ConfigurationError(refusal)
    policies.refused = refusal
    if not look_only:
        policies.for_call()


def _read_record(path: Path) -> HybridRecord:
    if not os.path.lexists(path):
        raise ConfigurationError(f"{path.parent}: has no {path.name}, so it is not a hybrid model")
    stored = loads(read_bounded(path, MOST_METADATA_BYTES), f"{path}: is damaged")
    try:
        return HybridRecord.from_dict(stored)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def _checked_config(config: Mapping[str, Any] | None) -> dict[str, Any]:
    checked = dict(config or {})
    for key in checked:
        if key not in CONFIG_KEYS:
            # The value is not shown, because it may be a key.
            raise ConfigurationError(
                f"model_config has no key {key!r}; it has {', '.join(CONFIG_KEYS)}"
            )
    checked["use_azure"] = parse_use_azure(checked.get("use_azure"), "model_config['use_azure']")
    return checked


def _endpoints(
    stored: tuple[Mapping[str, Any], ...],
    config: Mapping[str, Any],
    given: Collection[str],
    allow: tuple[Grant, ...],
) -> tuple[Endpoint, ...]:
    """Read the stored endpoints, each of them with the changes that `config` makes to all.

    A ``uri`` replaces a whole list: the endpoint there is the first one in all else.
    """
    kind = kind_of(stored[0]) if stored else _kind_with(config)
    _check_keys(kind, config)
    changes = {key: config[key] for key in kind.field_names() if key in config}
    if not stored:
        return _from_config(kind, changes, given, allow)
    if len(stored) > 1:
        changes = _said_of_a_list(changes, given)
        stored = stored[:1] if "uri" in changes else stored
    said = [key for key in changes if key in given]
    wanted = [_DEFAULTS[kind] | dict(item) | changes for item in stored]
    if len(wanted) == 1:
        return (kind.from_dict(wanted[0], given=said, allow=allow),)
    return tuple(_one_of_several(kind, wanted, place, said, allow) for place in range(len(wanted)))


def _from_config(
    kind: type[Endpoint],
    changes: dict[str, Any],
    given: Collection[str],
    allow: tuple[Grant, ...],
) -> tuple[Endpoint, ...]:
    """Make the endpoint that a configuration alone describes, where it describes one."""
    if all(changes.get(key) is None for key in _NAMES):
        return ()
    if given is CONFIG_KEYS:
        # Nothing is stored, so all other values are the program's defaults.
        return (kind(**_DEFAULTS[kind] | changes),)
    said = [key for key in changes if key in given]
    return (kind.from_dict(_DEFAULTS[kind] | changes, given=said, allow=allow),)


def _said_of_a_list(changes: Mapping[str, Any], given: Collection[str]) -> dict[str, Any]:
    """Leave out what MLflow passes because `config_of` stored it: None, which says nothing."""
    return {key: value for key, value in changes.items() if value is not None or key in given}


def _one_of_several(
    kind: type[Endpoint],
    wanted: Sequence[Mapping[str, Any]],
    place: int,
    said: Collection[str],
    allow: tuple[Grant, ...],
) -> Endpoint:
    """Read one endpoint of a list; an error says which one it is."""
    try:
        return kind.from_dict(wanted[place], given=said, allow=allow)
    except ConfigurationError as error:
        raise ConfigurationError(f"endpoint[{place}]: {error}") from error


def _kind_with(config: Mapping[str, Any]) -> type[Endpoint]:
    """Return the kind of endpoint that has all that a configuration says of one."""
    said = {key for key in _ENDPOINT_KEYS if config.get(key) is not None}
    return next((kind for kind in _DEFAULTS if said <= {*_DEFAULTS[kind]}), TritonEndpoint)


def _check_keys(kind: type[Endpoint], config: Mapping[str, Any]) -> None:
    """Refuse what a configuration says of another kind of endpoint."""
    known = _DEFAULTS[kind]
    for key in _ENDPOINT_KEYS:
        if config.get(key) is not None and key not in known:
            raise ConfigurationError(
                f"model_config: an endpoint of the kind {kind.kind!r} has no {key!r}; it has "
                f"{', '.join(known)}"
            )
