"""Endpoints on this machine.

`serve` starts one within this process, on any system, for demos, tests and laptops; `Limits` says
how much it takes from its clients.
`TritonServer` is a real Triton without Docker, on Linux x86-64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hybridmodel.serving.embedded import EmbeddedServer, serve
    from hybridmodel.serving.limits import Limits
    from hybridmodel.serving.triton import TritonServer

__all__ = ["EmbeddedServer", "Limits", "TritonServer", "serve"]


def __getattr__(name: str) -> Any:
    if name in ("EmbeddedServer", "serve"):
        from hybridmodel.serving import embedded

        return getattr(embedded, name)
    if name == "Limits":
        from hybridmodel.serving.limits import Limits

        return Limits
    if name == "TritonServer":
        from hybridmodel.serving.triton import TritonServer

        return TritonServer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
