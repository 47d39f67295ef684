"""`Endpoint`: what every kind of endpoint says of itself, and how it is checked and stored."""

from __future__ import annotations

import os
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import MISSING, Field, fields, replace
from typing import Any, ClassVar, Self, TypeVar

from hybridmodel.checks import check_count, check_seconds, shown
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.remote.address import Place, read_address
from hybridmodel.remote.faults import AZURE_ML_SCOPE
from hybridmodel.remote.trust.grants import RESERVED, Grant
from hybridmodel.remote.trust.origin import GUARDED, Origin, is_codes, is_trusted, note_code

DEFAULT_KEY_ENV = "HYBRIDMODEL_API_KEY"

_COUNTS = {
    "max_attempts": (1, 10),
    "max_batch_size": (1, 2**31 - 1),
    "max_request_bytes": (1, 2**31 - 1),
    "max_in_flight": (1, 64),
    "coalesce_rows": (0, 65536),
    "breaker_failures": (1, 1000),
}
_OPTIONAL_COUNTS = ("max_batch_size", "breaker_failures")

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class Endpoint(ABC):
    """Where a model is served and how it is reached; each kind is a frozen dataclass below.

    Holds nothing secret, so it may be printed, saved and logged.

    Attributes
    ----------
    kind : str
        The word for the kind of endpoint in a saved model.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    kind: ClassVar[str]

    uri: str
    auth_key_env: str | None
    secondary_key_env: str | None
    entra_id: bool
    ca_bundle: str | None
    allow_http: bool
    timeout_s: float
    connect_timeout_s: float
    max_attempts: int
    max_batch_size: int | None
    max_request_bytes: int
    max_in_flight: int
    breaker_failures: int | None
    breaker_reset_s: float
    origin: Origin

    @property
    @abstractmethod
    def model_url(self) -> str:
        """URL of the model."""

    @property
    @abstractmethod
    def served_name(self) -> str:
        """Name of the model, where another server or a span needs one."""

    @property
    def served_version(self) -> str | None:
        """Version of the model on the server; None leaves it to the server."""
        return None

    @property
    def deployment(self) -> str | None:
        """The one deployment to ask; None for any."""
        return None

    @property
    def token_scope(self) -> str:
        """The scope of the Entra ID tokens that are sent there."""
        return AZURE_ML_SCOPE

    @property
    def headers(self) -> Mapping[str, str]:
        """HTTP headers of every request, besides the usual ones."""
        return {}

    @property
    def binary(self) -> bool | None:
        """Whether the server takes binary tensors; None where it is to be asked."""
        return True

    @property
    def coalesce_rows(self) -> int:
        """Most rows of several calls that go together in one request; 0 sends each by itself."""
        return 0

    @property
    def shared_memory(self) -> bool:
        """Whether large tensors may be handed to a server of this machine in shared memory."""
        return False

    @property
    def api_path(self) -> str:
        """The end of the address that the protocol asks for, and that is no part of the place."""
        return ""

    @property
    def place(self) -> Place:
        """What has to be granted before a saved model may send anything there."""
        return read_address(self.uri.removesuffix(self.api_path)).place

    def __repr__(self) -> str:
        told = [
            f"{item.name}={getattr(self, item.name)!r}"
            for item in fields(self)
            if item.repr and getattr(self, item.name) != _default(item)
        ]
        return f"{type(self).__name__}({', '.join(told)})"

    def key_headers(self, key: str) -> dict[str, str]:
        """Return the HTTP headers that carry a key or token."""
        return {"Authorization": f"Bearer {key}"}

    def with_overrides(self, **changes: Any) -> Self:
        """Return a copy with some fields changed.

        Raises
        ------
        ConfigurationError
            If a field is unknown or its new value cannot work.
        """
        for name in changes:
            if name not in self.field_names():
                raise ConfigurationError(
                    f"an endpoint has no field {name!r}; it has {', '.join(self.field_names())}"
                )
        return replace(self, **changes, origin=self.origin.without(changes))

    @classmethod
    def field_names(cls) -> tuple[str, ...]:
        """Return the fields that describe an endpoint, without where their values came from."""
        return tuple(item.name for item in fields(cls) if item.name != "origin")

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` takes, in JSON's types."""
        return {name: getattr(self, name) for name in self.field_names()}

    @classmethod
    def from_dict(
        cls,
        stored: Mapping[str, Any],
        *,
        given: Collection[str] = (),
        allow: tuple[Grant, ...] = (),
    ) -> Self:
        """Read what `to_dict` wrote; fields of a later minor version are ignored.

        What is read so is a suggestion: no secret is sent to where it says, unless the machine
        grants it (docs/routes.md).

        Parameters
        ----------
        stored : mapping
            The fields.
        given : collection of str
            Those of them that the program itself gave.
        allow : tuple of Grant
            What the program allows this endpoint.

        Raises
        ------
        ConfigurationError
            If a field is missing or its value cannot work.
        """
        known = {key: value for key, value in stored.items() if key in cls.field_names()}
        unread = tuple(name for name in GUARDED if name not in given)
        try:
            read = cls(**known, origin=Origin(allow=allow, unread=unread))  # type: ignore[call-arg]
        except TypeError as error:
            raise ConfigurationError(f"not the description of an endpoint: {error}") from error
        return _without_stored_authorities(read)

    def _settle(self) -> None:
        """Check the fields that all kinds have, and write them in their normal form."""
        _set(self, "uri", _normal_uri(self.uri, self.allow_http))
        for name in ("auth_key_env", "secondary_key_env"):
            _check_key_env(name, getattr(self, name))
        _set(self, "ca_bundle", _path(self.ca_bundle))
        for name in ("timeout_s", "connect_timeout_s", "breaker_reset_s"):
            _set(self, name, check_seconds(name, getattr(self, name)))
        for name in ("allow_http", "entra_id"):
            check_flag(name, getattr(self, name))
        for name, (low, high) in _COUNTS.items():
            if getattr(self, name) is not None or name not in _OPTIONAL_COUNTS:
                check_count(name, getattr(self, name), low, high)
        if not isinstance(self.origin, Origin):
            raise ConfigurationError("origin is kept by the endpoint itself; leave it out")
        if self.origin.unread:
            _set(self, "origin", self.origin.read(self))
        note_code(self)


E = TypeVar("E", bound=Endpoint)


def _default(item: Field[Any]) -> Any:
    return item.default if item.default_factory is MISSING else item.default_factory()


def check_flag(name: str, value: Any, *, optional: bool = False) -> None:
    """Make sure that a field is true or false, or None where it is `optional`."""
    if not isinstance(value, bool) and not (optional and value is None):
        raise ConfigurationError(f"{name} is True or False, not {shown(value)}")


def _set(endpoint: Endpoint, name: str, value: Any) -> None:
    object.__setattr__(endpoint, name, value)  # The class is frozen.


def _without_stored_authorities(endpoint: E) -> E:
    """Drop the authorities that a saved model names: this machine decides whom to trust."""
    named = endpoint.ca_bundle
    if named is None or is_codes(endpoint, "ca_bundle") or is_trusted(named, endpoint.place):
        return endpoint
    warnings.warn(
        f"the ca_bundle of the saved model is not used: name {shown(named, 200)} in "
        "load_model(model_config={'ca_bundle': ...}), or in REQUESTS_CA_BUNDLE",
        stacklevel=3,
    )
    return endpoint.with_overrides(ca_bundle=None)


def _normal_uri(uri: Any, allow_http: bool) -> str:
    address = read_address(uri)
    if address.place.is_plain and not allow_http:
        raise ConfigurationError(
            f"uri is http:// on {address.place.host}: keys and data would travel unencrypted; use "
            "https, or set allow_http=True"
        )
    return address.uri


def _check_key_env(field: str, name: Any) -> None:
    if name is not None and not (isinstance(name, str) and _ENV_NAME.fullmatch(name)):
        raise ConfigurationError(
            f"{field} is the NAME of an environment variable (letters, digits and "
            "underscores, at most 64), never a key; the value given is not such a name, and is "
            "not shown in case it is a key"
        )
    if name in RESERVED:
        raise ConfigurationError(f"{field}: {name!r} means something else in a grant; rename it")


def _path(path: Any) -> str | None:
    if path is None or path == "":
        return None
    if not isinstance(path, (str, os.PathLike)):
        raise ConfigurationError(
            f"ca_bundle is the path of a file or folder, not a {type(path).__name__}"
        )
    return os.fspath(path)
