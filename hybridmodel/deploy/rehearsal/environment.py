"""The variables that let an unchanged program ask a rehearsal."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from hybridmodel.remote.trust.permission import ALLOW_ENV
from hybridmodel.remote.trust.redirection import redirection_names

CA_NAMES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""Who looks at them: hybridmodel, requests, MLflow; curl; OpenSSL, and with it urllib and httpx."""

_REAL_IDENTITIES = (
    *("AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID", "AZURE_CLIENT_CERTIFICATE_PATH"),
    *("AZURE_FEDERATED_TOKEN_FILE", "AZURE_USERNAME", "AZURE_PASSWORD", "MSI_ENDPOINT"),
)
"""By these azure-identity would find a real identity, whose tokens are not a rehearsal's."""


def variables(
    hosts: Iterable[str],
    *,
    uri: str,
    key: str,
    bundle: Path,
    identity: tuple[str, str] | None = None,
) -> dict[str, str]:
    """Return what to add to an environment.

    Parameters
    ----------
    hosts : iterable of str
        The hosts that the program believes it asks.
    uri : str
        The rehearsal's address.
    key : str
        Its key; for an endpoint with tokens, one that is valid now.
    bundle : Path
        The authorities to trust.
    identity : tuple of str, optional
        Address and header of an identity whose tokens the rehearsal takes.
    """
    added = dict.fromkeys(CA_NAMES, str(bundle))
    for host in hosts:
        target, secret = redirection_names(host)
        added |= {target: uri, secret: key}
    if identity is not None:
        added |= {
            "IDENTITY_ENDPOINT": identity[0],
            "IDENTITY_HEADER": identity[1],
            "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
            ALLOW_ENV: _with_grants(uri, os.environ.get(ALLOW_ENV)),
        }
    return added


def without_identities(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which no real identity is found."""
    return {name: value for name, value in environment.items() if name not in _REAL_IDENTITIES}


def _with_grants(uri: str, known: str | None) -> str:
    return ", ".join(filter(None, (known, f"entra@{uri.removeprefix('https://')}")))
