"""What the caller wants of an endpoint, checked before anything is written."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from hybridmodel.checks import check_count, check_seconds, shown
from hybridmodel.deploy.azure.limits import (
    AUTH_MODES,
    COMPUTES,
    KUBERNETES,
    MOST_INSTANCES,
    MOST_REQUEST_TIMEOUT_S,
    checked_name,
)
from hybridmodel.exceptions import ConfigurationError

_MOST_CONCURRENCY = 1000
_INSTANCE_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{1,63}")
_SECRET = re.compile(r"\$\{\{(?:azureml://connections/|keyvault:https://)[\w./:-]+\}\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An endpoint as the caller wants it.

    Attributes
    ----------
    endpoint : str
        Its name, which nobody else in the region of Azure may have.
    compute : str, default="managed"
        Or ``"kubernetes"``.
    compute_name : str, optional
        The cluster that is attached to the workspace, for Kubernetes.
    auth_mode : str, default="key"
        How callers prove who they are: ``"key"``, ``"aml_token"`` or ``"aad_token"``.
    instance_type : str, optional
        The size of the machines; default fits a small model.
    instance_count : int, default=1
        Machines of each deployment.
    request_timeout_s : float, default=60
        Time of a request in seconds, after which the gateway answers 408.
    concurrency : int, optional
        Requests that a machine runs at a time; default fits the queue of the model.
    key_secret : str, optional
        Where Azure finds the key of the endpoint that a hybrid model asks: a reference such as
        ``${{azureml://connections/NAME/credentials/KEY}}``, never the key.

    Raises
    ------
    ConfigurationError
        If Azure would refuse one of them, at once or after minutes.
    """

    endpoint: str
    compute: str = "managed"
    compute_name: str | None = None
    auth_mode: str = "key"
    instance_type: str | None = None
    instance_count: int = 1
    request_timeout_s: float = 60.0
    concurrency: int | None = None
    key_secret: str | None = None

    def __post_init__(self) -> None:
        checked_name("endpoint", self.endpoint)
        if self.compute not in COMPUTES:
            raise ConfigurationError(
                f"compute is {' or '.join(COMPUTES)}, not {shown(self.compute)}"
            )
        self._check_cluster()
        modes = AUTH_MODES[self.compute]
        if self.auth_mode not in modes:
            raise ConfigurationError(
                f"auth_mode of a {self.compute} endpoint is one of {', '.join(modes)}, not "
                f"{shown(self.auth_mode)}"
            )
        check_count("instance_count", self.instance_count, 1, MOST_INSTANCES)
        if self.concurrency is not None:
            check_count("concurrency", self.concurrency, 1, _MOST_CONCURRENCY)
        self._check_time()
        if self.instance_type is not None and not _INSTANCE_TYPE.fullmatch(self.instance_type):
            raise ConfigurationError(
                f"instance_type is a size such as Standard_DS3_v2, not {shown(self.instance_type)}"
            )
        if self.key_secret is not None and not _SECRET.fullmatch(self.key_secret):
            # The value is not shown: it may be the key itself.
            raise ConfigurationError(
                "key_secret is a reference such as ${{azureml://connections/NAME/credentials/KEY}} "
                "or ${{keyvault:https://NAME.vault.azure.net/secrets/KEY}}, never a key"
            )

    def _check_cluster(self) -> None:
        if (self.compute == KUBERNETES) == (self.compute_name is None):
            raise ConfigurationError(
                "compute kubernetes needs compute_name, the cluster that is attached to the "
                "workspace; managed takes none"
            )
        if self.compute_name is not None:
            checked_name("compute_name", self.compute_name)

    def _check_time(self) -> None:
        most = MOST_REQUEST_TIMEOUT_S[self.compute]
        given = check_seconds("request_timeout_s", self.request_timeout_s)
        if given > most or math.floor(given * 1000) < 1:
            raise ConfigurationError(
                f"request_timeout_s of a {self.compute} endpoint is at least 0.001 and "
                f"at most {most:g}, not {shown(self.request_timeout_s)}"
            )
