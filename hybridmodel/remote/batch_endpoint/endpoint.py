"""`BatchEndpoint`: where a batch endpoint is and how it is reached, without any secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from hybridmodel.remote.endpoint import DEPLOYMENT, check_deployment
from hybridmodel.remote.endpoint_base import Endpoint
from hybridmodel.remote.trust.origin import CODE, Origin

JOBS = "/jobs"
"""The end of the address that is called; a job's own address lies below it."""


def _unused(value: Any) -> Any:
    """Return a field of other kinds of endpoints, which nobody sets here."""
    return field(default=value, init=False, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class BatchEndpoint(Endpoint):
    """A batch endpoint of Azure Machine Learning, or the rehearsal of one.

    Parameters
    ----------
    uri : str
        Its address, or its ``scoring_uri``, which ends in ``/jobs``.
    deployment : str, optional
        The deployment that runs the jobs; default is the endpoint's own default.
    entra_id : bool, default=True
        Ask azure-identity's ``DefaultAzureCredential`` for tokens, if no credential is given (extra
        ``azure``). Azure's batch endpoints take nothing else.
    auth_key_env : str, optional
        Name of a variable with a token, which is read with ``entra_id=False``.
    ca_bundle : str, optional
        File or folder of the certificate authorities to trust.
    allow_http : bool, default=False
        Accept an unencrypted address on another machine.
    timeout_s : float, default=30
        Seconds for one request, within the time of the call that needs it.
    connect_timeout_s : float, default=5
        Share of it that may be spent on connecting.
    max_attempts : int, default=5
        Requests that submit a job; a further one is sent only when the job is not there.
    origin : Origin
        Kept by the endpoint itself.

    Raises
    ------
    ConfigurationError
        If a value cannot work; a value that might be a secret is not repeated in the message.
    """

    KIND: ClassVar[str] = "batch"

    uri: str
    deployment: str | None = None
    entra_id: bool = True
    auth_key_env: str | None = None
    secondary_key_env: str | None = None
    ca_bundle: str | None = None
    allow_http: bool = False
    timeout_s: float = 30.0
    connect_timeout_s: float = 5.0
    max_attempts: int = 5
    max_batch_size: int | None = _unused(None)
    max_request_bytes: int = _unused(1 << 20)
    max_in_flight: int = _unused(16)
    breaker_failures: int | None = _unused(None)
    breaker_reset_s: float = _unused(10.0)
    origin: Origin = field(default=CODE, compare=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.uri, str):
            base = self.uri.partition("?")[0].rstrip("/").removesuffix(JOBS)
            object.__setattr__(self, "uri", base)
        check_deployment(self.deployment)
        self._settle()

    @property
    def model_url(self) -> str:
        """URL that jobs are submitted to."""
        return f"{self.uri}{JOBS}"

    @property
    def served_name(self) -> str:
        """The model has no name here."""
        return ""

    @property
    def headers(self) -> Mapping[str, str]:
        """What picks the deployment."""
        return {} if self.deployment is None else {DEPLOYMENT: self.deployment}
