"""The words of the Azure (first: Cloud) execution provider, read from onnxruntime's own options.

Session entries say which endpoint; run entries whether it is asked, and with which key. All have
the prefix ``azure`` or, as in the provider's first weeks, ``cloud``.

Source: documentation of the execution provider, onnxruntime 1.14 and 1.15.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.remote.endpoint import TritonEndpoint
from hybridmodel.remote.trust.key_sources import checked_key
from hybridmodel.routing import parse_use_azure

if TYPE_CHECKING:
    import onnxruntime

PREFIXES = ("azure", "cloud")

_MIXED = (
    "entries of both azure and cloud, two names of one execution provider: use one of them, in "
    "SessionOptions and RunOptions alike"
)
_REQUIRED = ("endpoint_type", "uri", "model_name")


@dataclass(frozen=True)
class SessionEntries:
    """What the entries of a session say.

    Attributes
    ----------
    prefix : str
        ``"azure"`` or ``"cloud"``.
    fields : dict
        Fields of a `TritonEndpoint` that were said.
    verbose : bool
        Whether calls are logged.
    """

    prefix: str
    fields: Mapping[str, Any]
    verbose: bool

    @classmethod
    def read(cls, options: onnxruntime.SessionOptions) -> SessionEntries | None:
        """Read a session's entries; None where there are none.

        Raises
        ------
        ConfigurationError
            If the prefixes are mixed, a required entry is missing, or a value cannot be read.
        """
        said = {
            prefix: {
                name: value
                for name in _READERS
                if (value := _entry(options.get_session_config_entry, f"{prefix}.{name}"))
                is not None
            }
            for prefix in PREFIXES
        }
        prefixes = [prefix for prefix in PREFIXES if said[prefix]]
        if not prefixes:
            return None
        if len(prefixes) > 1:
            raise ConfigurationError(f"the session has {_MIXED}")
        (prefix,) = prefixes
        _check_complete(prefix, said[prefix])
        values = {
            name: _READERS[name](value, f"session entry {prefix}.{name}")
            for name, value in said[prefix].items()
        }
        del values["endpoint_type"]
        verbose = values.pop("verbose", False)
        return cls(prefix, values, verbose)

    def endpoint(self, **defaults: Any) -> TritonEndpoint:
        """Make the endpoint; `defaults` count where the entries say nothing.

        Raises
        ------
        ConfigurationError
            If a value cannot work.
        """
        try:
            return TritonEndpoint(**{**defaults, **self.fields})
        except ConfigurationError as error:
            names = ", ".join(f"{self.prefix}.{name}" for name in _READERS)
            raise ConfigurationError(
                f"session entries {self.prefix}.*: {error} (the entries there are: {names})"
            ) from error


@dataclass(frozen=True)
class Asked:
    """A run that asks the endpoint.

    Attributes
    ----------
    auth_key : str or None
        None for a server without keys.
    """

    auth_key: str | None = field(repr=False)


class RunReader:
    """Reads what the runs of one session say.

    Parameters
    ----------
    session : SessionEntries or None
        What the session says.
    """

    def __init__(self, session: SessionEntries | None) -> None:
        self._session = session
        # onnxruntime takes 25 µs to say that an entry is not there.
        self._pure: WeakSet[onnxruntime.RunOptions] = WeakSet()

    def read(self, options: onnxruntime.RunOptions | None) -> Asked | None:
        """Read what a run says; None for a local one.

        Raises
        ------
        ConfigurationError
            If the prefixes are mixed, ``use_azure`` is not surely a yes or a no, the session names
            no endpoint, or there is no key that can be sent.
        """
        if options is None:
            return None
        get = options.get_run_config_entry
        if self._session is None:
            _check_local(get)
            return None
        prefix = self._session.prefix
        use = parse_use_azure(_entry(get, f"use_{prefix}"), f"run entry use_{prefix}")
        if options not in self._pure:
            _check_pure(get, prefix, auth_key=bool(use))
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
    except RuntimeError:  # onnxruntime has no other way to say that there is none.
        return None


def _check_pure(get: Callable[[str], str], prefix: str, *, auth_key: bool) -> None:
    (other,) = set(PREFIXES) - {prefix}
    names = [f"use_{other}", *([f"{other}.auth_key"] if auth_key else [])]
    if any(_entry(get, name) is not None for name in names):
        raise ConfigurationError(f"the run has {_MIXED}")


def _check_local(get: Callable[[str], str]) -> None:
    for prefix in PREFIXES:
        if parse_use_azure(_entry(get, f"use_{prefix}"), f"run entry use_{prefix}"):
            names = ", ".join(f"{prefix}.{name}" for name in _REQUIRED)
            raise ConfigurationError(
                f"the run asks for the endpoint (use_{prefix}), and the session names none: give "
                f"its SessionOptions the entries {names}"
            )


def _check_complete(prefix: str, said: Mapping[str, str]) -> None:
    missing = [f"{prefix}.{name}" for name in _REQUIRED if name not in said]
    if missing:
        there = ", ".join(f"{prefix}.{name}" for name in said)
        raise ConfigurationError(
            f"session entries {', '.join(missing)} are missing; the session has {there}"
        )


def _triton(value: str, where: str) -> str:
    if value != "triton":
        raise ConfigurationError(
            f"{where} is {value[:20]!r}, and can only be 'triton': a Triton server, as Azure "
            "Machine Learning deploys it. The 'openai' of onnxruntime 1.15 was a preview for "
            "speech; use the openai package for that"
        )
    return value


def _flag(value: str, where: str) -> bool:
    return bool(parse_use_azure(value, where))


def _text(value: str, where: str) -> str:  # noqa: ARG001 - a reader as the others
    return value


def _number(value: str, where: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ConfigurationError(f"{where} is a number such as '30', not {value[:20]!r}") from None


def _count(value: str, where: str) -> int:
    if not value.isdecimal() or len(value) > 18:
        raise ConfigurationError(f"{where} is a whole number such as '3', not {value[:20]!r}")
    return int(value)


_READERS: Mapping[str, Callable[[str, str], Any]] = {
    "endpoint_type": _triton,
    "uri": _text,
    "model_name": _text,
    "model_version": _text,
    "verbose": _flag,
    "allow_http": _flag,
    "timeout_s": _number,
    "max_attempts": _count,
}
"""Every entry, and how it is read; the last three are not the original's."""
