"""Which input of a local model are texts, and which outputs vectors that an endpoint can answer."""

from __future__ import annotations

from hybridmodel.data.tensors import WILDCARD, ModelSpec, TensorSpec
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.remote.embeddings.endpoint import EmbeddingsEndpoint
from hybridmodel.remote.endpoint_base import Endpoint


def vectors_of(endpoint: Endpoint, spec: ModelSpec) -> tuple[str, ...]:
    """Return the outputs that are embeddings; none where the endpoint is of another kind.

    Raises `ConfigurationError` where an embeddings endpoint fits none of them.
    """
    if not isinstance(endpoint, EmbeddingsEndpoint):
        return ()
    return tuple(widths_of(spec, endpoint.dimensions))


def texts_of(spec: ModelSpec) -> TensorSpec:
    """Return the one input, which is texts."""
    if len(spec.inputs) == 1:
        (texts,) = spec.inputs
        if texts.datatype == "BYTES" and texts.batched and texts.shape[1:] in ((), (1,)):
            return texts
    raise ConfigurationError(
        "an embeddings endpoint takes texts, so the local model needs one input BYTES[?] or "
        f"BYTES[?, 1], with its tokeniser inside of the graph; it has "
        f"{', '.join(map(str, spec.inputs))}"
    )


def widths_of(spec: ModelSpec, dimensions: int | None) -> dict[str, int]:
    """Return the outputs that are vectors, with the width that both routes are held to."""
    vectors = {
        item.name: item.shape[1]
        for item in spec.outputs
        if item.datatype == "FP32" and item.batched and len(item.shape) == 2
    }
    if dimensions is not None:
        vectors = {name: dimensions for name, it in vectors.items() if it in (WILDCARD, dimensions)}
    known = {name: width for name, width in vectors.items() if width != WILDCARD}
    if known:
        return known
    wanted = "?" if dimensions is None else dimensions
    raise ConfigurationError(
        "an embeddings endpoint answers a vector for each text, so the local model needs an "
        f"output FP32[?, {wanted}]; it has {', '.join(map(str, spec.outputs))}"
        + ("; where the graph does not say how wide it is, pass dimensions" if vectors else "")
    )
