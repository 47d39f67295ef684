"""`TritonEndpoint`: where a model is served and how it is reached, without any secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import quote

from hybridmodel.checks import check_seconds, shown
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.remote.endpoint_base import DEFAULT_KEY_ENV, Endpoint, check_flag
from hybridmodel.remote.trust.origin import CODE, Origin

DEPLOYMENT = "azureml-model-deployment"
"""Header that picks a deployment of an Azure Machine Learning endpoint."""

_DEPLOYMENT = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, kw_only=True, repr=False)
class TritonEndpoint(Endpoint):
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

    kind: ClassVar[str] = "triton"

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
        _check_name(self.model_name)
        object.__setattr__(self, "model_version", _version(self.model_version))
        check_deployment(self.deployment)
        check_flag("binary", self.binary, optional=True)
        check_flag("shared_memory", self.shared_memory)
        self._settle()

    @property
    def model_url(self) -> str:
        """URL of the model's metadata; ``/infer``, ``/config`` and ``/ready`` lie below it."""
        url = f"{self.uri}/v2/models/{quote(self.model_name, safe='')}"
        return url if self.model_version is None else f"{url}/versions/{self.model_version}"

    @property
    def served_name(self) -> str:
        """Name of the model on the server."""
        return self.model_name

    @property
    def served_version(self) -> str | None:
        """Version of the model on the server; None leaves it to the server."""
        return self.model_version

    @property
    def headers(self) -> Mapping[str, str]:
        """What picks the deployment."""
        return {} if self.deployment is None else {DEPLOYMENT: self.deployment}


FIELDS = TritonEndpoint.field_names()
"""The fields that describe an endpoint, without where their values came from."""


def check_timeout(timeout: Any) -> float | None:
    """Return the ``timeout`` of a call, None for not said; raises what `check_seconds` does."""
    return None if timeout is None else check_seconds("timeout", timeout)


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


def check_deployment(name: Any) -> None:
    """Raise `ConfigurationError` for what is no name of a deployment, and not None either."""
    if name is not None and not (isinstance(name, str) and _DEPLOYMENT.fullmatch(name)):
        raise ConfigurationError(
            "deployment is the name of a deployment, of letters, digits and dashes, such as "
            f"'blue'; got {name!r}"
        )
