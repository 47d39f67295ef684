"""`TritonEndpoint`: where a model is served and how it is reached, without any secret."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, get_args, get_type_hints
from urllib.parse import quote

from hybridmodel.checks import check_count, check_seconds, shown
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.remote.address import Place, read_address
from hybridmodel.remote.trust.grants import RESERVED, Grant
from hybridmodel.remote.trust.origin import CODE, GUARDED, Origin, is_codes, is_trusted, note_code
from hybridmodel.switch import parse_use_azure

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
_DEPLOYMENT = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class TritonEndpoint:
    """A model behind the Open Inference Protocol: Triton, Azure Machine Learning, any other.

    Holds nothing secret, so it may be printed, saved and logged.

    Parameters
    ----------
    uri : str
        Base address, or an Azure Machine Learning ``scoring_uri``: a query, a final ``/score`` and
        anything from ``/v2`` on are dropped, another path prefix is kept. ``https``, unless the
        host is this machine or `allow_http` is set. ``unix:///path`` is a socket of this machine.
    model_name : str
        Name on the server: for Triton, the folder in its model repository.
    model_version : str or None, default="1"
        None leaves the choice to the server.
    auth_key_env : str or None, default="HYBRIDMODEL_API_KEY"
        Name of the environment variable that holds the key. Never the key. Left out, the host's own
        variable counts first (``HYBRIDMODEL_KEY_<host>``, see docs/routes.md). None for a server
        that wants none.
    secondary_key_env : str or None, default=None
        Name of the variable with the other key, which is tried when the first is refused: so keys
        can be rotated while calls go on.
    entra_id : bool, default=False
        Ask azure-identity's ``DefaultAzureCredential`` for tokens, where no credential is given,
        instead of reading a variable (extra ``azure``).
    deployment : str or None, default=None
        The one deployment of an Azure Machine Learning endpoint to ask, whatever its share of the
        traffic is.
    ca_bundle : str or None, default=None
        File or folder of the certificate authorities to trust; None leaves it to the environment
        (``REQUESTS_CA_BUNDLE``). Read when connecting, on the machine that connects.
    allow_http : bool, default=False
        Accept an unencrypted address on another machine.
    timeout_s : float, default=30.0
        Total time for one call when the call does not say.
    connect_timeout_s : float, default=5.0
        Share of it that may be spent on connecting.
    binary : bool or None, default=None
        Whether the server speaks the binary tensor extension; None asks it once.
    max_attempts : int, default=3
        Requests for one call, within its time: more than one only when the endpoint could not be
        reached, or said that it cannot answer now.
    max_batch_size : int or None, default=None
        Most rows for one request. None asks the server when it refuses a request (Triton sets 4
        for models that come without a full configuration).
    max_request_bytes : int, default=67108864
        About how large one request may be; more rows are cut into several.
    max_in_flight : int, default=16
        Requests at a time from one process; fewer after the endpoint answered 429, until it
        answers again. Waiting for a turn counts towards the time of a call.
    coalesce_rows : int, default=0
        At the most so many rows of calls that wait at the same time go together in one request; 0
        sends each call by itself. For models that answer each row independently of the others.
    shared_memory : bool, default=True
        Hand large tensors to a server on a Unix socket, or one that this process started, in shared
        memory where it takes that.
    breaker_failures : int or None, default=5
        Requests that fail one after the other before the endpoint is left alone for a while; None
        always asks it.
    breaker_reset_s : float, default=10.0
        For how long.
    origin : Origin
        Kept by the endpoint itself: which of these come from a saved model.

    Raises
    ------
    ConfigurationError
        If a value cannot work; a value that might be a secret is not repeated in the message.
    """

    uri: str
    model_name: str
    model_version: str | None = "1"
    auth_key_env: str | None = DEFAULT_KEY_ENV
    secondary_key_env: str | None = None
    entra_id: bool = False
    deployment: str | None = None
    ca_bundle: str | None = None
    allow_http: bool = False
    timeout_s: float = 30.0
    connect_timeout_s: float = 5.0
    binary: bool | None = None
    max_attempts: int = 3
    max_batch_size: int | None = None
    max_request_bytes: int = 1 << 26
    max_in_flight: int = 16
    coalesce_rows: int = 0
    shared_memory: bool = True
    breaker_failures: int | None = 5
    breaker_reset_s: float = 10.0
    origin: Origin = field(default=CODE, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "uri", _normalise(self.uri, self.allow_http))
        _check_name(self.model_name)
        object.__setattr__(self, "model_version", _version(self.model_version))
        for name in ("auth_key_env", "secondary_key_env"):
            _check_key_env(name, getattr(self, name))
        _check_deployment(self.deployment)
        object.__setattr__(self, "ca_bundle", _path(self.ca_bundle))
        for name in ("timeout_s", "connect_timeout_s", "breaker_reset_s"):
            object.__setattr__(self, name, check_seconds(name, getattr(self, name)))
        for name in ("allow_http", "entra_id", "binary", "shared_memory"):
            _check_flag(name, getattr(self, name), optional=name == "binary")
        for name, (low, high) in _COUNTS.items():
            if getattr(self, name) is not None or name not in _OPTIONAL_COUNTS:
                check_count(name, getattr(self, name), low, high)
        if not isinstance(self.origin, Origin):
            raise ConfigurationError("origin is kept by the endpoint itself; leave it out")
        if self.origin.unread:
            object.__setattr__(self, "origin", self.origin.read(self))
        note_code(self)

    @property
    def place(self) -> Place:
        """What has to be granted before a saved model may send anything there."""
        return read_address(self.uri).place

    @property
    def model_url(self) -> str:
        """URL of the model's metadata; ``/infer``, ``/config`` and ``/ready`` lie below it."""
        url = f"{self.uri}/v2/models/{quote(self.model_name, safe='')}"
        return url if self.model_version is None else f"{url}/versions/{self.model_version}"

    def with_overrides(self, **changes: Any) -> TritonEndpoint:
        """Return a copy with some fields changed.

        Raises
        ------
        ConfigurationError
            If a field is unknown or its new value cannot work.
        """
        for name in changes:
            if name not in FIELDS:
                raise ConfigurationError(
                    f"an endpoint has no field {name!r}; it has {', '.join(FIELDS)}"
                )
        return replace(self, **changes, origin=self.origin.without(changes))

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` takes, in JSON's types."""
        return {name: getattr(self, name) for name in FIELDS}

    @classmethod
    def from_dict(
        cls,
        stored: Mapping[str, Any],
        *,
        given: Collection[str] = (),
        allow: tuple[Grant, ...] = (),
    ) -> TritonEndpoint:
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
        known = {key: value for key, value in stored.items() if key in FIELDS}
        unread = tuple(name for name in GUARDED if name not in given)
        try:
            read = cls(**known, origin=Origin(allow=allow, unread=unread))
        except TypeError as error:
            raise ConfigurationError(f"not the description of an endpoint: {error}") from error
        return _without_stored_authorities(read)


FIELDS = tuple(item.name for item in fields(TritonEndpoint) if item.name != "origin")
"""The fields that describe an endpoint, without where their values came from."""

_HINTS = get_type_hints(TritonEndpoint)
FIELD_TYPES: Mapping[str, Any] = {
    name: next(iter(get_args(_HINTS[name])), _HINTS[name]) for name in FIELDS
}
"""The type of each field; several may also be None."""

_NUMBERS = {int: "a whole number such as '3'", float: "a number such as '30'"}


def read_field(name: str, text: str, where: str) -> Any:
    """Read a field from text by its type; an error says `where` the text stands."""
    kind = FIELD_TYPES[name]
    if kind is bool:
        return parse_use_azure(text, where)
    try:
        return kind(text)
    except ValueError:
        raise ConfigurationError(f"{where} is {_NUMBERS[kind]}, not {text[:20]!r}") from None


def _without_stored_authorities(endpoint: TritonEndpoint) -> TritonEndpoint:
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


def check_timeout(timeout: Any) -> float | None:
    """Return the ``timeout`` of a call, None for not said; raises what `check_seconds` does."""
    return None if timeout is None else check_seconds("timeout", timeout)


def _normalise(uri: Any, allow_http: bool) -> str:
    address = read_address(uri)
    if address.place.is_plain and not allow_http:
        raise ConfigurationError(
            f"uri is http:// on {address.place.host}: keys and data would travel unencrypted; use "
            "https, or set allow_http=True"
        )
    return address.uri


def _check_name(name: Any) -> None:
    bad = not isinstance(name, str) or name in ("", ".", "..") or "/" in name
    if bad or not name.isprintable():
        raise ConfigurationError(
            f"model_name is the model's name on the server, without a slash; got {name!r}"
        )


def _version(version: Any) -> str | None:
    if version is None or version == "":
        return None
    text = shown(version) if isinstance(version, int) else str(version)
    if isinstance(version, bool) or not re.fullmatch(r"[0-9]{1,18}", text):
        raise ConfigurationError(
            f"model_version is a number such as '1', or None for the server's choice; "
            f"got {shown(version)}"
        )
    return text


def _check_key_env(field: str, name: Any) -> None:
    if name is not None and not (isinstance(name, str) and _ENV_NAME.fullmatch(name)):
        raise ConfigurationError(
            f"{field} is the NAME of an environment variable (letters, digits and "
            "underscores, at most 64), never a key; the value given is not such a name, and is "
            "not shown in case it is a key"
        )
    if name in RESERVED:
        raise ConfigurationError(f"{field}: {name!r} means something else in a grant; rename it")


def _check_deployment(name: Any) -> None:
    if name is not None and not (isinstance(name, str) and _DEPLOYMENT.fullmatch(name)):
        raise ConfigurationError(
            "deployment is the name of a deployment, of letters, digits and dashes, such as "
            f"'blue'; got {name!r}"
        )


def _path(path: Any) -> str | None:
    if path is None or path == "":
        return None
    if not isinstance(path, (str, os.PathLike)):
        raise ConfigurationError(
            f"ca_bundle is the path of a file or folder, not a {type(path).__name__}"
        )
    return os.fspath(path)


def _check_flag(name: str, value: Any, *, optional: bool) -> None:
    if not isinstance(value, bool) and not (optional and value is None):
        raise ConfigurationError(f"{name} is True or False, not {shown(value)}")
