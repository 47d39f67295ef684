"""Files for Azure Machine Learning: endpoints, deployments, clusters, programs and commands.

`write_triton` describes an endpoint that serves an exported repository; `write_hybrid` one that
runs the hybrid model itself, online or over files. `Wanted` says what the endpoint is to be, and
`WantedBatch` on which machines files are answered.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hybridmodel.deploy.azure.hybrid import write as write_hybrid
    from hybridmodel.deploy.azure.triton import write as write_triton
    from hybridmodel.deploy.azure.wanted import Wanted
    from hybridmodel.deploy.azure.wanted_batch import WantedBatch

_LATER = {
    "Wanted": ("hybridmodel.deploy.azure.wanted", "Wanted"),
    "WantedBatch": ("hybridmodel.deploy.azure.wanted_batch", "WantedBatch"),
    "write_hybrid": ("hybridmodel.deploy.azure.hybrid", "write"),
    "write_triton": ("hybridmodel.deploy.azure.triton", "write"),
}

__all__ = ["Wanted", "WantedBatch", "write_hybrid", "write_triton"]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        module, inner = _LATER[name]
        return getattr(import_module(module), inner)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
