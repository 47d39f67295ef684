"""Endpoints on this machine.

`serve` starts one in this process, on any system, for demos, tests and laptops; `Limits` bounds
what its clients may use. `TritonServer` is a real Triton without Docker, on Linux x86-64.
"""

from __future__ import annotations

from hybridmodel.serving.embedded import EmbeddedServer, serve
from hybridmodel.serving.limits import Limits
from hybridmodel.serving.triton import TritonServer

__all__ = ["EmbeddedServer", "Limits", "TritonServer", "serve"]
