"""Keys with which servers that this process started let it share memory; never stored or shown."""

from __future__ import annotations

from collections.abc import Mapping

from hybridmodel.remote.address import Place

_headers: dict[Place, Mapping[str, str]] = {}
"""What their owner handed over; a forked process inherits it, a pickled endpoint does not."""


def hand_over(place: Place, headers: Mapping[str, str]) -> None:
    """Let endpoints at a place share memory with the server there, by these headers."""
    _headers[place] = headers


def take_back(place: Place) -> None:
    """Forget them: the server has ended."""
    _headers.pop(place, None)


def headers_for(place: Place) -> Mapping[str, str] | None:
    """Return the headers for orders to the server at a place, None where nobody has handed any."""
    return _headers.get(place)
