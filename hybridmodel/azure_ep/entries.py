"""The entries of the Azure (first: Cloud) execution provider, read from onnxruntime's own options.

Session entries name the endpoint. Run entries say whether to call it, and with which key. All have
the prefix ``azure`` or, as in the provider's first weeks, ``cloud``.

Source: documentation of the execution provider, onnxruntime 1.14 and 1.15.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

import onnxruntime

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.remote.endpoint import TritonEndpoint
from hybridmodel.remote.fields import read_field
from hybridmodel.remote.trust.key_sources import checked_key
from hybridmodel.switch import parse_use_azure

PREFIXES = ("azure", "cloud")

_MIXED = (
    "entries of both azure and cloud, two names of one execution provider: use one of them, in "
    "SessionOptions and RunOptions alike"
)
_REQUIRED = ("endpoint_type", "uri", "model_name")
_OURS = ("allow_http", "timeout_s", "max_attempts")
_NAMES = (*_REQUIRED, "model_version", "verbose", *_OURS)


@dataclass(frozen=True)
class SessionEntries:
    """The entries of a session: their prefix, fields of a `TritonEndpoint`, and ``verbose``."""

    prefix: str
    fields: Mapping[str, Any]
    verbose: bool

    @classmethod
    def read(cls, options: onnxruntime.SessionOptions) -> SessionEntries | None:
        """Read a session's entries; None if there are none."""
        get = options.get_session_config_entry
        given = {prefix: _given(get, prefix) for prefix in PREFIXES}
        prefixes = [prefix for prefix in PREFIXES if given[prefix]]
        if not prefixes:
            return None
        if len(prefixes) > 1:
            raise ConfigurationError(f"the session has {_MIXED}")
        prefix, texts = prefixes[0], given[prefixes[0]]
        _check_type(prefix, texts)
        where = f"session entry {prefix}"
        verbose = parse_use_azure(texts.pop("verbose", False), f"{where}.verbose")
        del texts["endpoint_type"]
        fields = {name: read_field(name, text, f"{where}.{name}") for name, text in texts.items()}
        return cls(prefix, fields, bool(verbose))

    def endpoint(self, **defaults: Any) -> TritonEndpoint:
        """Make the endpoint; `defaults` fill in what the entries leave out."""
        try:
            return TritonEndpoint(**{**defaults, **self.fields})
        except ConfigurationError as error:
            names = ", ".join(f"{self.prefix}.{name}" for name in _NAMES)
            raise ConfigurationError(
                f"session entries {self.prefix}.*: {error} (the possible entries are {names})"
            ) from error


@dataclass(frozen=True)
class Asked:
    """A run that calls the endpoint; the key is None for a server without keys."""

    auth_key: str | None = field(repr=False)


class RunReader:
    """Reads the run entries for one session."""

    def __init__(self, session: SessionEntries | None) -> None:
        self._session = session
        # onnxruntime takes 25 µs to report that an entry is missing.
        self._pure: WeakSet[onnxruntime.RunOptions] = WeakSet()

    def read(self, options: onnxruntime.RunOptions | None) -> Asked | None:
        """Read the entries of a run; None for a local run."""
        if options is None:
            return None
        get = options.get_run_config_entry
        if self._session is None:
            _check_local(get)
            return None
        prefix = self._session.prefix
        use = _switch(get, prefix)
        if options not in self._pure:
            _check_pure(get, prefix, auth_key=use)
        if not use:
            return None
        key = _entry(get, f"{prefix}.auth_key")
        if key is None:
            raise ConfigurationError(
                f"the run asks for the endpoint (use_{prefix}) without the run entry "
                f"{prefix}.auth_key; leave it empty for a server without keys"
            )
        self._pure.add(options)
        return Asked(checked_key(key, f"run entry {prefix}.auth_key") if key else None)


def _entry(get: Callable[[str], str], key: str) -> str | None:
    try:
        return get(key)
    except RuntimeError:  # onnxruntime has no other way to report a missing entry.
        return None


def _given(get: Callable[[str], str], prefix: str) -> dict[str, str]:
    texts = {name: _entry(get, f"{prefix}.{name}") for name in _NAMES}
    return {name: text for name, text in texts.items() if text is not None}


def _switch(get: Callable[[str], str], prefix: str) -> bool:
    return bool(parse_use_azure(_entry(get, f"use_{prefix}"), f"run entry use_{prefix}"))


def _check_pure(get: Callable[[str], str], prefix: str, *, auth_key: bool) -> None:
    (other,) = set(PREFIXES) - {prefix}
    names = [f"use_{other}", *([f"{other}.auth_key"] if auth_key else [])]
    if any(_entry(get, name) is not None for name in names):
        raise ConfigurationError(f"the run has {_MIXED}")


def _check_local(get: Callable[[str], str]) -> None:
    for prefix in PREFIXES:
        if _switch(get, prefix):
            names = ", ".join(f"{prefix}.{name}" for name in _REQUIRED)
            raise ConfigurationError(
                f"the run asks for the endpoint (use_{prefix}), but the session names none: add "
                f"the entries {names} to its SessionOptions"
            )


def _check_type(prefix: str, texts: Mapping[str, str]) -> None:
    missing = [f"{prefix}.{name}" for name in _REQUIRED if name not in texts]
    if missing:
        there = ", ".join(f"{prefix}.{name}" for name in texts)
        raise ConfigurationError(
            f"session entries {', '.join(missing)} are missing; the session has {there}"
        )
    if texts["endpoint_type"] != "triton":
        raise ConfigurationError(
            f"session entry {prefix}.endpoint_type is {texts['endpoint_type'][:20]!r}, but can "
            "only be 'triton': a Triton server, as Azure Machine Learning deploys it. The "
            "'openai' of onnxruntime 1.15 was a preview for speech; use the openai package for that"
        )
