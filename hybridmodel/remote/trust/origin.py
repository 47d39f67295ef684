"""Who said what an endpoint is: this program, or a saved model that it loaded.

A saved model is data. Which secret goes to which place is only known to be meant where the program
said both; an endpoint therefore remembers which of its values were stored, and this module what
the program itself has paired.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from hybridmodel.remote.address import Place
from hybridmodel.remote.trust.grants import ENTRA, Grant

GUARDED = ("uri", "allow_http", "auth_key_env", "secondary_key_env", "entra_id", "ca_bundle")
"""Fields of an endpoint that decide what is sent where, and who is believed to be there."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the values of an endpoint came from; part of it, and of its copies and pickles.

    Attributes
    ----------
    stored : tuple of (str, value)
        Guarded fields, with the value that a saved model gave them. A field that holds another
        value by now has it from the program.
    allow : tuple of Grant
        What the program allows this endpoint, whoever named it.
    unread : tuple of str
        Fields that come from a saved model, before the endpoint has read their values.
    """

    stored: tuple[tuple[str, Any], ...] = ()
    allow: tuple[Grant, ...] = ()
    unread: tuple[str, ...] = ()

    def read(self, endpoint: Any) -> Origin:
        """Return the origin with the values that the endpoint has made of what was stored."""
        return Origin(tuple((name, getattr(endpoint, name)) for name in self.unread), self.allow)

    def without(self, names: Any) -> Origin:
        """Return the origin of an endpoint in which the program gave these fields."""
        kept = tuple(item for item in self.stored if item[0] not in names)
        return Origin(kept, self.allow)


CODE = Origin()
"""Of an endpoint that is all the program's own."""


class Described(Protocol):
    """What is asked of an endpoint here."""

    @property
    def origin(self) -> Origin:
        """Where its values came from."""

    @property
    def place(self) -> Place:
        """Where it is."""


def is_codes(endpoint: Described, field: str) -> bool:
    """Tell whether the program gave a field its value."""
    stored = dict(endpoint.origin.stored)
    return field not in stored or stored[field] != getattr(endpoint, field)


def place_is_codes(endpoint: Described) -> bool:
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


def note_code(endpoint: Any) -> None:
    """Remember what the program paired when it made an endpoint.

    A notebook that saves and loads its own model is asked nothing therefore.
    """
    if not place_is_codes(endpoint):
        return
    pair(None, endpoint.place)
    for field in ("auth_key_env", "secondary_key_env"):
        name = getattr(endpoint, field)
        if name is not None and is_codes(endpoint, field):
            pair(name, endpoint.place)
    if endpoint.entra_id and is_codes(endpoint, "entra_id"):
        pair(ENTRA, endpoint.place)
    if endpoint.ca_bundle is not None and is_codes(endpoint, "ca_bundle"):
        _trusted.add((endpoint.ca_bundle, endpoint.place))
