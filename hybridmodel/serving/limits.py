"""How much an embedded server takes from those who reach it."""

from __future__ import annotations

from dataclasses import dataclass

from hybridmodel.exceptions import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one client, and all of them together, may take from an embedded server.

    Attributes
    ----------
    max_body_bytes : int
        Of one request; a larger one gets 413 before it is read.
    max_json_bytes : int
        Of what a request says in JSON, which takes up to 35 times as much to read; tensors
        may be larger as ``binary_data``.
    max_held_bytes : int
        Of all requests that are read or computed at a time; one beyond it gets 503.
    max_connections : int
        At a time; one more takes the place of an idle one, or gets 503.
    head_timeout_s : float
        For the head of a request, in seconds.
    body_timeout_s : float
        For the body of a request, in seconds.
    answer_timeout_s : float
        Until a client has taken its answer, in seconds.

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
