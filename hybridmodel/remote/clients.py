"""The client for each kind of endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hybridmodel.remote.client import EndpointClient
from hybridmodel.remote.embeddings.endpoint import EmbeddingsEndpoint

if TYPE_CHECKING:
    from hybridmodel.data.tensors import ModelSpec
    from hybridmodel.remote.endpoint_base import Endpoint


def client_of(
    endpoint: Endpoint, spec: ModelSpec, credential: Any = None, **options: Any
) -> EndpointClient:
    """Make the client that speaks an endpoint's protocol; takes what `EndpointClient` does.

    Raises `ConfigurationError` for a local model that such an endpoint cannot stand in for.
    """
    if isinstance(endpoint, EmbeddingsEndpoint):
        from hybridmodel.remote.embeddings.client import EmbeddingsClient

        return EmbeddingsClient(endpoint, spec, credential, **options)
    return EndpointClient(endpoint, spec, credential, **options)
