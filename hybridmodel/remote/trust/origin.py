"""Who said what an endpoint is: this program, or a saved model that it loaded.

A saved model is data. A secret is known to be meant for a place only where the program
named both; an endpoint therefore remembers which of its values were stored, and this module what
the program itself has paired.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hybridmodel.remote.address import Place
from hybridmodel.remote.trust.grants import ENTRA, Grant

if TYPE_CHECKING:
    from hybridmodel.remote.endpoint_base import Endpoint

GUARDED = ("uri", "allow_http", "auth_key_env", "secondary_key_env", "entra_id", "ca_bundle")
"""Fields of an endpoint that decide what is sent where, and which certificates are accepted."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the values of an endpoint came from; part of it, and of its copies and pickles.

    `stored` has guarded fields with the values that a saved model gave them: a field with another
    value has it from the program. `allow` is what the program allows this endpoint, whoever named
    it. `unread` names fields that come from a saved model, before the endpoint has read their
    values. `instead` is for an endpoint to which the environment redirects: the variables of the
    only key that may be sent there without a grant of the environment.
    """

    stored: tuple[tuple[str, Any], ...] = ()
    allow: tuple[Grant, ...] = ()
    unread: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()

    def read(self, endpoint: Endpoint) -> Origin:
        """Return the origin with the values that the endpoint has made of what was stored."""
        return Origin(tuple((name, getattr(endpoint, name)) for name in self.unread), self.allow)

    def without(self, names: Collection[str]) -> Origin:
        """Return the origin of an endpoint in which the program gave these fields."""
        kept = tuple(item for item in self.stored if item[0] not in names)
        return Origin(kept, self.allow)


CODE = Origin()
"""For an endpoint whose values are all the program's own."""


def is_codes(endpoint: Endpoint, field: str) -> bool:
    """Tell whether the program gave a field its value."""
    stored = dict(endpoint.origin.stored)
    return field not in stored or stored[field] != getattr(endpoint, field)


def place_is_codes(endpoint: Endpoint) -> bool:
    """Tell whether the program said where the endpoint is, and that it need not be encrypted."""
    return is_codes(endpoint, "uri") and (
        not endpoint.place.is_plain or is_codes(endpoint, "allow_http")
    )


_paired: set[tuple[str | None, Place]] = set()
"""Secrets and places that this program has paired; a forked process inherits them."""

_trusted: set[tuple[str, Place]] = set()
"""Files of authorities that this program has named for a place."""


def pair(secret: str | None, place: Place) -> None:
    """Note that the program itself sends a secret, or data (None), to a place."""
    _paired.add((secret, place))


def is_paired(secret: str | None, place: Place) -> bool:
    """Tell whether the program itself has sent such a thing there, in this process."""
    return (secret, place) in _paired


def is_trusted(ca_bundle: str, place: Place) -> bool:
    """Tell whether the program itself has named these authorities for the place."""
    return (ca_bundle, place) in _trusted


def note_code(endpoint: Endpoint) -> None:
    """Remember what the program paired when it made an endpoint.

    A notebook that saves and loads its own model is asked nothing therefore.
    """
    if not place_is_codes(endpoint):
        return
    place = endpoint.place
    pair(None, place)
    for field in ("auth_key_env", "secondary_key_env", "entra_id"):
        if (value := getattr(endpoint, field)) and is_codes(endpoint, field):
            pair(ENTRA if value is True else value, place)
    if endpoint.ca_bundle is not None and is_codes(endpoint, "ca_bundle"):
        _trusted.add((endpoint.ca_bundle, place))
