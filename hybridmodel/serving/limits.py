"""What the clients of an embedded server may use."""

from __future__ import annotations

from dataclasses import dataclass

from hybridmodel.exceptions import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one client, and all clients together, may use of an embedded server.

    Attributes
    ----------
    max_body_bytes : int
        Size of one request; a larger one gets 413 before it is read.
    max_json_bytes : int
        Size of a request's JSON, which takes up to 35 times as much memory to read; tensors may be
        larger as ``binary_data``.
    max_held_bytes : int
        Size of all requests that are read or computed at a time; one that exceeds it gets 503.
    max_connections : int
        Connections at a time; one more replaces an idle one, or gets 503.
    head_timeout_s : float
        Seconds for the head of a request to arrive.
    body_timeout_s : float
        Seconds for the body of a request to arrive.
    answer_timeout_s : float
        Seconds for a client to take its answer.

    Raises
    ------
    ConfigurationError
        If one of them is not above zero.
    """

    max_body_bytes: int = 2**26
    max_json_bytes: int = 2**24
    max_held_bytes: int = 2**28
    max_connections: int = 256
    head_timeout_s: float = 10.0
    body_timeout_s: float = 60.0
    answer_timeout_s: float = 60.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} is {getattr(self, name)!r}, not above zero")
