"""One request over TLS, and what it leaves behind."""

from __future__ import annotations

import threading

from hybridmodel import (
    TritonEndpoint,
)
from hybridmodel.remote.client import EndpointClient
from tests.support.faulty import FEEDS, SPEC


def ask(uri: str, timeout_s: float = 20.0, **options: float) -> float:
    """Ask once and return the one number of the answer."""
    endpoint = TritonEndpoint(
        uri=uri, model_name="m", auth_key_env=None, binary=True, max_attempts=1, **options
    )
    client = EndpointClient(endpoint, SPEC)
    try:
        return float(client.infer(FEEDS, ("y",), rows=1, timeout_s=timeout_s).outputs["y"][0])
    finally:
        client.close()


def left_behind() -> list[str]:
    """Name the threads of ours that still run, but for those of servers."""
    names = (one.name for one in threading.enumerate())
    servers = ("hybridmodel-serve", "hybridmodel-infer")
    return [
        name for name in names if name.startswith("hybridmodel") and not name.startswith(servers)
    ]
