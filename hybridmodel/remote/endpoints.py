"""One endpoint or an ordered list of them: the kinds that there are, and how models keep them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hybridmodel.checks import shown
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.remote.embeddings.endpoint import EmbeddingsEndpoint
from hybridmodel.remote.endpoint import TritonEndpoint
from hybridmodel.remote.endpoint_base import Endpoint

KINDS: Mapping[str, type[Endpoint]] = {
    kind.kind: kind for kind in (TritonEndpoint, EmbeddingsEndpoint)
}
"""The classes of endpoints by the name that a saved model gives them."""

MOST_ENDPOINTS = 16
"""A longer list is refused: a call that asks them all would leave each of them no time."""

Stored = Mapping[str, Any] | tuple[Mapping[str, Any], ...] | None
"""Endpoints as a saved model keeps them: one Triton endpoint, or a list that says their kinds."""


def as_endpoints(given: Any) -> tuple[Endpoint, ...]:
    """Return the endpoints that a caller gave as one, as a list, or as None.

    Raises `ConfigurationError` for anything else, an empty list, one with an endpoint twice, and
    one with several kinds or widths.
    """
    if given is None:
        return ()
    is_list = isinstance(given, (list, tuple))
    listed: tuple[Any, ...] = tuple(given) if is_list else (given,)
    for place, item in enumerate(listed):
        if not isinstance(item, tuple(KINDS.values())):
            where = f"endpoint[{place}]" if is_list else "endpoint"
            known = " or ".join(kind.__name__ for kind in KINDS.values())
            raise ConfigurationError(f"{where} is a {known}, not a {type(item).__name__}")
        if item in listed[:place]:
            first = listed.index(item)
            raise ConfigurationError(f"endpoint[{place}] is the same as endpoint[{first}]")
    check_number(len(listed))
    check_kinds([item.kind for item in listed])
    _check_widths(listed)
    return listed


def check_number(count: int) -> None:
    """Raise `ConfigurationError` unless a list may have so many endpoints."""
    if not 1 <= count <= MOST_ENDPOINTS:
        raise ConfigurationError(
            f"a list of endpoints has 1 to {MOST_ENDPOINTS} of them, this one has {count}"
        )


def check_kinds(kinds: Sequence[str]) -> None:
    """Raise `ConfigurationError` unless endpoints of these kinds may stand in one list."""
    if len(set(kinds)) > 1:
        found = ", ".join(sorted(set(kinds)))
        raise ConfigurationError(f"the endpoints of a list are of one kind, not {found}")


def _check_widths(listed: Sequence[Endpoint]) -> None:
    """Refuse a list whose embeddings would have another width, depending on who answers."""
    widths = {item.dimensions for item in listed if isinstance(item, EmbeddingsEndpoint)} - {None}
    if len(widths) > 1:
        found = " and ".join(map(str, sorted(width for width in widths if width)))
        raise ConfigurationError(f"the endpoints of a list have the same dimensions, not {found}")


def to_stored(endpoints: tuple[Endpoint, ...]) -> Stored:
    """Return endpoints in JSON's types: a list that says their kinds, unless it is one Triton."""
    if not endpoints:
        return None
    if len(endpoints) == 1 and isinstance(endpoints[0], TritonEndpoint):
        return endpoints[0].to_dict()
    return tuple({"kind": item.kind, **item.to_dict()} for item in endpoints)


def kind_of(stored: Mapping[str, Any]) -> type[Endpoint]:
    """Return the class of an endpoint as it is stored, Triton's where it says no kind.

    Raises `ConfigurationError` for a kind that is not known.
    """
    kind = stored.get("kind", TritonEndpoint.kind)
    if not isinstance(kind, str) or kind not in KINDS:
        raise ConfigurationError(
            f"an endpoint of the kind {shown(kind)} is not known here; known are {', '.join(KINDS)}"
        )
    return KINDS[kind]
